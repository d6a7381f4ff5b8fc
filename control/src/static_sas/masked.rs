//! Takes the keys out of the text before a parser sees it.
//!
//! A parser copies what it reads, and a problem quotes it. So whatever may be a key is moved out first, by its place,
//! and crossed out in the text, which keeps every line and column. A key that is written where it does not belong is
//! then not shown either.

use std::collections::HashMap;

use zeroize::Zeroizing;

use crate::config::Location;
use crate::config::tree::{Kind, Node};

/// Characters from which on a word may be a key: the hexadecimal digits of 16 bytes, the shortest key there is.
const SHORTEST: usize = 32;
/// What takes the place of a key.
const CROSS: u8 = b'x';

/// The keys of a text, by where they stood. Wiped when dropped.
pub(super) struct Keys {
    words: HashMap<(u32, u32), Zeroizing<Box<[u8]>>>,
}

impl Keys {
    /// The word that stood where this value stands; the value itself where it is too short to be a key. `None`: it is
    /// no single word.
    pub(super) fn word<'k>(&'k self, node: &'k Node) -> Option<&'k [u8]> {
        let Kind::Scalar(text) = &node.kind else { return None };
        let at = |quote: u32| self.words.get(&(node.at.line, node.at.column + quote));
        match at(0).or_else(|| at(1)) {
            Some(word) => Some(word),
            None => (text.len() < SHORTEST).then_some(text.as_bytes()),
        }
    }
}

/// Moves every word that may be a key out of the text and crosses it out. `None`: the text is not UTF-8.
pub(super) fn take_keys(text: &mut [u8]) -> Option<(&str, Keys)> {
    std::str::from_utf8(text).ok()?;
    let mut words = HashMap::new();
    let mut at = Location { line: 1, column: 1 };
    let mut start = 0;
    while start < text.len() {
        let length = word_len(&text[start..]);
        let word = &mut text[start..start + length];
        if is_secret(word) {
            words.insert((at.line, at.column), Zeroizing::new(Box::from(&*word)));
            word.fill(CROSS);
        }
        at.column += length as u32;
        start += length;
        let Some(after) = text.get(start) else { break };
        match after {
            b'\n' => at = Location { line: at.line + 1, column: 1 },
            // The further bytes of a character are no columns of their own.
            0x80..=0xbf => {}
            _ => at.column += 1,
        }
        start += 1;
    }
    Some((std::str::from_utf8(text).ok()?, Keys { words }))
}

/// Bytes of the word that the text starts with. A name of a tunnel is one word with its slash.
fn word_len(text: &[u8]) -> usize {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-');
    text.iter().position(|byte| !inside(byte)).unwrap_or(text.len())
}

/// Marked as hexadecimal, or with as many such digits in a row as a key has; names of tunnels are told by their slash.
/// Mistyped keys are secret too.
fn is_secret(word: &[u8]) -> bool {
    if word.starts_with(b"0x") || word.starts_with(b"0X") {
        return word.len() >= SHORTEST;
    }
    let longest = word.split(|byte| !byte.is_ascii_hexdigit()).map(<[u8]>::len).max();
    longest >= Some(SHORTEST) && !word.contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Problems;
    use crate::config::tree;

    const KEY: &str = "0x00112233445566778899aabbccddeeff01020304";

    #[test]
    fn keys_leave_the_text_and_are_found_by_their_place() {
        let source = format!("# ä {KEY}\nä: [{KEY}, \"{KEY}\", '{}', 0x1001]\n", &KEY[2..]);
        let mut bytes = source.clone().into_bytes();
        let (text, keys) = take_keys(&mut bytes).unwrap();
        assert_eq!(text.chars().count(), source.chars().count());
        assert!(!text.contains("0011"), "{text}");
        let root = tree::parse(text, &mut Problems::new("")).unwrap();
        let Kind::Map(entries) = root.kind else { unreachable!() };
        let Kind::List(items) = &entries[0].1.kind else { unreachable!() };
        let words: Vec<_> = items.iter().map(|item| keys.word(item).unwrap()).collect();
        assert_eq!(words, [KEY.as_bytes(), KEY.as_bytes(), &KEY.as_bytes()[2..], b"0x1001"]);
    }

    #[test]
    fn names_stay_and_mistyped_keys_do_not() {
        let names = "acme/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff: a\n";
        let mut bytes = names.as_bytes().to_vec();
        assert_eq!(take_keys(&mut bytes).unwrap().0, names);
        for key in [
            "0x00112233445566778899aabbccddeefg",
            "-00112233445566778899aabbccddeeff",
            "0x00112233445566/8899aabbccddeeff",
        ] {
            let mut bytes = key.as_bytes().to_vec();
            assert!(take_keys(&mut bytes).unwrap().0.bytes().all(|byte| byte == b'x'), "{key}");
        }
        assert!(take_keys(&mut [0xff]).is_none());
    }
}
