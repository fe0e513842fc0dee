//! Memory files shared between the card and the two machines.
