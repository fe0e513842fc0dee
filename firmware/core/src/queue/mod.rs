//! Queue managers.
