//! A bounds-checked reader of flattened device trees, in place over bytes that nobody vouches for.
//!
//! [`Tree::parse`] walks the whole structure once and checks every token, name and nesting; lookups afterwards walk the same
//! bytes again with the same checks. No recursion, no allocation, no panic on any input, and the work is linear in the size
//! of the structure block. It reads only what an image container needs; it does not interpret phandles, aliases or
//! addresses. Format: Devicetree Specification 0.4, chapter 5.

use super::error::BootError;

const MAGIC: u32 = 0xD00D_FEED;
const HEADER_BYTES: usize = 40;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;
/// Deepest nesting accepted: an image container needs four levels.
const DEEPEST: u32 = 8;
/// Longest node or property name accepted (the specification allows 31). The limit keeps the walk linear: without it every
/// property could name one and the same endless string.
const LONGEST_NAME: usize = 63;

/// A flattened device tree whose structure has been walked once.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    total: usize,
}

/// One token of the structure block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Begin(&'a [u8]),
    Property { name: &'a [u8], value: &'a [u8] },
    EndNode,
    End,
}

/// A position in the structure block.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    /// The structure block from here on.
    rest: &'a [u8],
    strings: &'a [u8],
}

/// A node: its contents begin at a position behind its name.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    contents: Cursor<'a>,
}

/// Bytes of the tree whose header starts with `start`, as it says.
///
/// # Errors
/// [`BootError::TreeMagic`] when no tree starts there.
pub fn total_size(start: &[u8; 8]) -> Result<u32, BootError> {
    let [magic, total] = start.as_chunks::<4>().0 else { return Err(BootError::TreeMagic) };
    if u32::from_be_bytes(*magic) != MAGIC {
        return Err(BootError::TreeMagic);
    }
    Ok(u32::from_be_bytes(*total))
}

/// The bytes before the first NUL; `None` when there is none among the first [`LONGEST_NAME`] + 1 bytes.
fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.iter().take(LONGEST_NAME + 1).position(|byte| *byte == 0)?;
    bytes.get(..length)
}

impl<'a> Tree<'a> {
    /// Reads the header and walks the structure of the tree at the start of `bytes`.
    ///
    /// # Errors
    /// One of the 0x01xx errors: the first thing found wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BootError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(BootError::TreeTooShort)?;
        let mut words = [0; HEADER_BYTES / 4];
        for (word, bytes) in words.iter_mut().zip(header.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        let [magic, total, structure_offset, strings_offset, _, version, compatible, _, strings_size, structure_size] =
            words;
        if magic != MAGIC {
            return Err(BootError::TreeMagic);
        }
        if version < 17 || compatible > 17 {
            return Err(BootError::TreeVersion);
        }
        let total = total as usize;
        let Some(tree) = bytes.get(..total).filter(|_| total >= HEADER_BYTES) else {
            return Err(BootError::TreeSize);
        };
        let block = |offset: u32, size: u32| {
            let end = (offset as usize).checked_add(size as usize)?;
            tree.get(offset as usize..end)
        };
        let structure = block(structure_offset, structure_size).ok_or(BootError::TreeBlock)?;
        let strings = block(strings_offset, strings_size).ok_or(BootError::TreeBlock)?;
        if structure_offset % 4 != 0 || structure_offset < HEADER_BYTES as u32 {
            return Err(BootError::TreeBlock);
        }
        let tree = Self { structure, strings, total };
        tree.walk()?;
        Ok(tree)
    }

    /// Bytes of the tree as its header says; never more than were given to [`Self::parse`].
    #[must_use]
    pub const fn total_size(&self) -> usize {
        self.total
    }

    /// The root node.
    ///
    /// # Errors
    /// Only when the tree was not made by [`Self::parse`].
    pub fn root(self) -> Result<Node<'a>, BootError> {
        let mut cursor = self.cursor();
        match cursor.next()? {
            Token::Begin(_) => Ok(Node { contents: cursor }),
            _ => Err(BootError::TreeNesting),
        }
    }

    const fn cursor(self) -> Cursor<'a> {
        Cursor { rest: self.structure, strings: self.strings }
    }

    fn walk(self) -> Result<(), BootError> {
        let mut cursor = self.cursor();
        let mut depth = 0u32;
        let mut rooted = false;
        loop {
            match cursor.next()? {
                Token::Begin(_) => {
                    if depth == 0 && rooted {
                        return Err(BootError::TreeTrailing);
                    }
                    rooted = true;
                    depth = depth.saturating_add(1);
                    if depth > DEEPEST {
                        return Err(BootError::TreeNesting);
                    }
                }
                Token::Property { .. } if depth == 0 => return Err(BootError::TreeNesting),
                Token::Property { .. } => {}
                Token::EndNode => depth = depth.checked_sub(1).ok_or(BootError::TreeNesting)?,
                Token::End if depth == 0 && rooted => return Ok(()),
                Token::End => return Err(BootError::TreeNesting),
            }
        }
    }
}

impl<'a> Cursor<'a> {
    /// The token here; moves behind it.
    fn next(&mut self) -> Result<Token<'a>, BootError> {
        loop {
            match self.word()? {
                NOP => {}
                END => return Ok(Token::End),
                END_NODE => return Ok(Token::EndNode),
                BEGIN_NODE => {
                    let name = until_nul(self.rest).ok_or(BootError::TreeName)?;
                    // The name's NUL is at most `LONGEST_NAME` bytes away, so the sum is small.
                    self.skip(name.len().saturating_add(1));
                    return Ok(Token::Begin(name));
                }
                PROPERTY => {
                    let length = self.word()? as usize;
                    let name_offset = self.word()? as usize;
                    let value = self.rest.get(..length).ok_or(BootError::TreeToken)?;
                    let name = self.strings.get(name_offset..).and_then(until_nul).ok_or(BootError::TreeName)?;
                    self.skip(length);
                    return Ok(Token::Property { name, value });
                }
                _ => return Err(BootError::TreeToken),
            }
        }
    }

    fn word(&mut self) -> Result<u32, BootError> {
        let (word, rest) = self.rest.split_first_chunk::<4>().ok_or(BootError::TreeToken)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*word))
    }

    /// Moves `bytes` on and up to the next multiple of 4: tokens are aligned, and every token is a whole number of words.
    /// Beyond the end of the block there is nothing.
    fn skip(&mut self, bytes: usize) {
        let aligned = bytes.checked_next_multiple_of(4);
        self.rest = aligned.and_then(|bytes| self.rest.get(bytes..)).unwrap_or(&[]);
    }
}

/// What a node contains directly.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// A property.
    Property {
        /// Its name.
        name: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// A child.
    Child {
        /// Its name.
        name: &'a [u8],
        /// The node.
        node: Node<'a>,
    },
}

/// The properties and children of a node, in order.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    cursor: Cursor<'a>,
    depth: u32,
    ended: bool,
}

impl<'a> Items<'a> {
    fn advance(&mut self) -> Result<Option<Item<'a>>, BootError> {
        loop {
            match self.cursor.next()? {
                Token::Property { name, value } if self.depth == 0 => return Ok(Some(Item::Property { name, value })),
                Token::Property { .. } => {}
                Token::Begin(name) => {
                    self.depth = self.depth.saturating_add(1);
                    if self.depth == 1 {
                        return Ok(Some(Item::Child { name, node: Node { contents: self.cursor } }));
                    }
                }
                Token::EndNode if self.depth > 0 => self.depth -= 1,
                Token::EndNode | Token::End => return Ok(None),
            }
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, BootError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.advance();
        self.ended = !matches!(item, Ok(Some(_)));
        item.transpose()
    }
}

impl<'a> Node<'a> {
    /// The node's properties and children. An error (only for a damaged structure) ends the iteration.
    #[must_use]
    pub const fn items(&self) -> Items<'a> {
        Items { cursor: self.contents, depth: 0, ended: false }
    }

    /// The value of the node's property `name`; the first when there are several.
    ///
    /// # Errors
    /// Only when the structure is damaged.
    pub fn property(&self, name: &str) -> Result<Option<&'a [u8]>, BootError> {
        for item in self.items() {
            match item? {
                Item::Property { name: found, value } if found == name.as_bytes() => return Ok(Some(value)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The node's child `name`; the first when there are several.
    ///
    /// # Errors
    /// Only when the structure is damaged.
    pub fn child(&self, name: &[u8]) -> Result<Option<Self>, BootError> {
        for item in self.items() {
            match item? {
                Item::Child { name: found, node } if found == name => return Ok(Some(node)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The value of property `name` as text: bytes before one terminating NUL, and no other. `None` when it is missing or is
    /// not such text. Nobody vouches for the encoding.
    ///
    /// # Errors
    /// Only when the structure is damaged.
    pub fn text(&self, name: &str) -> Result<Option<&'a [u8]>, BootError> {
        let Some(value) = self.property(name)? else { return Ok(None) };
        let Some((0, text)) = value.split_last() else { return Ok(None) };
        if text.contains(&0) {
            return Ok(None);
        }
        Ok(Some(text))
    }

    /// The value of property `name`, exactly `N` bytes. `None` when it is missing or has another length.
    ///
    /// # Errors
    /// Only when the structure is damaged.
    pub fn bytes<const N: usize>(&self, name: &str) -> Result<Option<&'a [u8; N]>, BootError> {
        Ok(self.property(name)?.and_then(|value| value.try_into().ok()))
    }

    /// The value of property `name` as a number of one or two cells. `None` when it is missing or has another length.
    ///
    /// # Errors
    /// Only when the structure is damaged.
    pub fn number(&self, name: &str) -> Result<Option<u64>, BootError> {
        Ok(match self.property(name)? {
            Some(&[a, b, c, d]) => Some(u64::from(u32::from_be_bytes([a, b, c, d]))),
            Some(value) => <[u8; 8]>::try_from(value).ok().map(u64::from_be_bytes),
            None => None,
        })
    }
}
