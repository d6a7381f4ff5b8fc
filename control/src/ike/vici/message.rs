//! The messages of vici: trees of sections, values and lists, encoded as `vici/README.md` of strongSwan describes.
//!
//! What we send is written straight into its encoding, in memory that is wiped: it may hold secrets. What we receive
//! never does. Reading is bounded, and takes values as bytes: peers choose some of them, and need not choose UTF-8.

use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

const SECTION_START: u8 = 1;
const SECTION_END: u8 = 2;
const KEY_VALUE: u8 = 3;
const LIST_START: u8 = 4;
const LIST_ITEM: u8 = 5;
const LIST_END: u8 = 6;

/// Sections within sections that are followed. charon's own messages have five.
const MAX_DEPTH: usize = 16;

/// What does not fit into a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// Names have one byte for their length.
    #[error("a name of {0} bytes is longer than 255")]
    Name(usize),
    /// Values have two.
    #[error("a value of {0} bytes is longer than 65535")]
    Value(usize),
}

/// What charon sent makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// It ends in the middle of an element.
    #[error("cut off at byte {0}")]
    CutOff(usize),
    /// An element of a kind that does not exist or does not belong here.
    #[error("an unexpected element at byte {0}")]
    Unexpected(usize),
    /// Sections within sections, too many.
    #[error("more than {MAX_DEPTH} sections within each other")]
    TooDeep,
}

/// A message to charon, in its encoding. Wiped when dropped, and never printed: it may hold a secret.
///
/// Too long a name or value is remembered and told by [`Message::encoded`], so that a message can be built in one go.
#[derive(Clone, Default)]
pub struct Message {
    bytes: Zeroizing<Vec<u8>>,
    error: Option<EncodeError>,
}

impl Message {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value.
    #[must_use]
    pub fn value(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.name(KEY_VALUE, name);
        self.content(value.as_ref());
        self
    }

    /// Adds a list of values.
    #[must_use]
    pub fn list<T: AsRef<[u8]>>(mut self, name: &str, items: impl IntoIterator<Item = T>) -> Self {
        self.name(LIST_START, name);
        for item in items {
            self.put(&[LIST_ITEM]);
            self.content(item.as_ref());
        }
        self.put(&[LIST_END]);
        self
    }

    /// Adds a section that holds what `inner` holds.
    #[must_use]
    pub fn section(mut self, name: &str, inner: &Self) -> Self {
        self.name(SECTION_START, name);
        self.put(&inner.bytes);
        self.put(&[SECTION_END]);
        self.error = self.error.or(inner.error);
        self
    }

    /// The encoding.
    ///
    /// # Errors
    /// When a name or a value is too long.
    pub fn encoded(&self) -> Result<&[u8], EncodeError> {
        self.error.map_or(Ok(&*self.bytes), Err)
    }

    fn name(&mut self, element: u8, name: &str) {
        let length = u8::try_from(name.len()).unwrap_or_else(|_| {
            self.error = self.error.or(Some(EncodeError::Name(name.len())));
            0
        });
        self.put(&[element, length]);
        self.put(name.as_bytes());
    }

    fn content(&mut self, value: &[u8]) {
        let length = u16::try_from(value.len()).unwrap_or_else(|_| {
            self.error = self.error.or(Some(EncodeError::Value(value.len())));
            0
        });
        self.put(&length.to_be_bytes());
        self.put(value);
    }

    /// Grows by hand: a vector that grows by itself leaves copies of a secret behind.
    fn put(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two().max(256)));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(bytes);
    }
}

/// In constant time: some hold secrets.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.error == other.error && bool::from(self.bytes.as_slice().ct_eq(other.bytes.as_slice()))
    }
}

impl Eq for Message {}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.bytes.len())
    }
}

/// A section of a message from charon: its elements in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section(Vec<(String, Element)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    Value(String),
    List(Vec<String>),
    Section(Section),
}

impl Section {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is cut off, not well formed, or nested deeper than anything that charon says.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        reader.section(0)
    }

    /// A value. What is no UTF-8 in it has been replaced.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.element(name).and_then(|element| match element {
            Element::Value(value) => Some(value.as_str()),
            _ => None,
        })
    }

    /// A value that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    /// Whether a value is there and says yes.
    pub fn is(&self, name: &str) -> bool {
        self.value(name) == Some("yes")
    }

    /// The values of a list; none when it is not there.
    pub fn list(&self, name: &str) -> &[String] {
        match self.element(name) {
            Some(Element::List(items)) => items,
            _ => &[],
        }
    }

    /// A section in this one.
    pub fn section(&self, name: &str) -> Option<&Self> {
        self.sections().find_map(|(known, section)| (known == name).then_some(section))
    }

    /// All sections in this one, with their names.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, element)| match element {
            Element::Section(section) => Some((name.as_str(), section)),
            _ => None,
        })
    }

    fn element(&self, name: &str) -> Option<&Element> {
        self.0.iter().find_map(|(known, element)| (known == name).then_some(element))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// Reads up to the end of the section, or of the message at depth 0.
    fn section(&mut self, depth: usize) -> Result<Section, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        let mut elements = Vec::new();
        while depth > 0 || self.at < self.bytes.len() {
            let at = self.at;
            let element = match self.byte()? {
                SECTION_END if depth > 0 => break,
                SECTION_START => (self.name()?, Element::Section(self.section(depth + 1)?)),
                KEY_VALUE => (self.name()?, Element::Value(self.content()?)),
                LIST_START => (self.name()?, Element::List(self.items()?)),
                _ => return Err(DecodeError::Unexpected(at)),
            };
            elements.push(element);
        }
        Ok(Section(elements))
    }

    fn items(&mut self) -> Result<Vec<String>, DecodeError> {
        let mut items = Vec::new();
        loop {
            let at = self.at;
            match self.byte()? {
                LIST_ITEM => items.push(self.content()?),
                LIST_END => return Ok(items),
                _ => return Err(DecodeError::Unexpected(at)),
            }
        }
    }

    fn name(&mut self) -> Result<String, DecodeError> {
        let length = self.byte()?;
        self.text(usize::from(length))
    }

    fn content(&mut self) -> Result<String, DecodeError> {
        let length = u16::from_be_bytes([self.byte()?, self.byte()?]);
        self.text(usize::from(length))
    }

    fn text(&mut self, length: usize) -> Result<String, DecodeError> {
        let end = self.at + length;
        let bytes = self.bytes.get(self.at..end).ok_or(DecodeError::CutOff(self.at))?;
        self.at = end;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::CutOff(self.at))?;
        self.at += 1;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of strongSwan's description of the protocol.
    fn example() -> (Message, Vec<u8>) {
        let inner = Message::new()
            .section("sub-section", &Message::new().value("key2", "value2"))
            .list("list1", ["item1", "item2"]);
        let message = Message::new().value("key1", "value1").section("section1", &inner);
        let bytes = [
            &b"\x03\x04key1\x00\x06value1"[..],
            b"\x01\x08section1",
            b"\x01\x0bsub-section",
            b"\x03\x04key2\x00\x06value2",
            b"\x02",
            b"\x04\x05list1",
            b"\x05\x00\x05item1",
            b"\x05\x00\x05item2",
            b"\x06",
            b"\x02",
        ];
        (message, bytes.concat())
    }

    #[test]
    fn the_example_of_the_protocol() {
        let (message, bytes) = example();
        assert_eq!(message.encoded(), Ok(&*bytes));
        let read = Section::decode(&bytes).unwrap();
        assert_eq!(read.value("key1"), Some("value1"));
        let section = read.section("section1").unwrap();
        assert_eq!(section.section("sub-section").unwrap().value("key2"), Some("value2"));
        assert_eq!(section.list("list1"), ["item1", "item2"]);
        assert_eq!((read.value("nothing"), read.list("key1"), read.section("key1")), (None, &[][..], None));
    }

    #[test]
    fn cut_off_anywhere_it_is_refused_or_ends_between_elements() {
        let (_, bytes) = example();
        let whole = b"\x03\x04key1\x00\x06value1".len();
        for end in 1..bytes.len() {
            let read = Section::decode(&bytes[..end]);
            assert_eq!(read.is_ok(), end == whole, "{end}: {read:?}");
        }
    }

    #[test]
    fn nothing_is_nested_without_end() {
        assert_eq!(Section::decode(&b"\x01\x01a".repeat(100_000)), Err(DecodeError::TooDeep));
        assert_eq!(Section::decode(b"\x02"), Err(DecodeError::Unexpected(0)));
        assert_eq!(Section::decode(b"\x04\x01a\x03"), Err(DecodeError::Unexpected(3)));
    }

    #[test]
    fn what_is_too_long_is_refused_not_cut() {
        let long = "x".repeat(256);
        assert_eq!(Message::new().value(&long, "").encoded(), Err(EncodeError::Name(256)));
        let inner = Message::new().value("a", vec![0; 65_536]);
        assert_eq!(Message::new().section("s", &inner).encoded(), Err(EncodeError::Value(65_536)));
        assert!(Message::new().value("a", vec![0; 65_535]).encoded().is_ok());
    }

    #[test]
    fn a_secret_is_not_printed_and_compared_by_content() {
        let message = |secret| Message::new().value("data", secret);
        assert_eq!(format!("{:?}", message("hunter2")), "Message(15 bytes)");
        assert_eq!(message("hunter2"), message("hunter2"));
        assert_ne!(message("hunter2"), message("hunter3"));
    }

    #[test]
    fn a_peer_need_not_choose_utf8() {
        let message = Message::new().value("remote-id", [0xff, b'a']);
        let read = Section::decode(message.encoded().unwrap()).unwrap();
        assert_eq!(read.value("remote-id"), Some("\u{fffd}a"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(0_u8..9, 0..200)) {
            let _ = Section::decode(&bytes);
        }

        #[test]
        fn what_is_written_is_read(name in "[a-z/]{0,20}", value in ".{0,50}", items in proptest::collection::vec(".{0,9}", 0..5)) {
            let message = Message::new().value(&name, &value).section("s", &Message::new().list(&name, &items));
            let read = Section::decode(message.encoded().unwrap()).unwrap();
            prop_assert_eq!(read.value(&name), Some(value.as_str()));
            prop_assert_eq!(read.section("s").unwrap().list(&name), items);
        }
    }
}
