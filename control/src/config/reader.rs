//! Walks the tree and turns values into types, noting every problem instead of stopping at the first.
//!
//! A parser of a value is a function `(&mut Reader, &Node) -> Option<T>`; `None` means that it has noted a problem.
//! Maps with fixed keys go through [`Fields`], which knows which keys were asked for and names the others.

use std::collections::{BTreeMap, HashMap};

use super::problem::{Location, Problems};
use super::tree::{Key, Kind, Node, shorten};

/// Where we are, and what was wrong so far.
pub(crate) struct Reader {
    path: String,
    pub(crate) problems: Problems,
    /// Items left out of lists because they could not be read, by the path of the list.
    pub(crate) left_out: HashMap<String, Vec<usize>>,
}

impl Reader {
    pub(crate) fn new(problems: Problems) -> Self {
        Self { path: String::new(), problems, left_out: HashMap::new() }
    }

    /// Notes a problem with the value being read.
    pub(crate) fn problem(&mut self, at: Location, message: impl Into<String>, fix: impl Into<String>) {
        self.problems.add(at, self.path.clone(), message, fix);
    }

    /// Notes that the value is not what was expected; always `None`.
    pub(crate) fn unfit<T>(&mut self, node: &Node, expected: &str, fix: &str) -> Option<T> {
        let found = node.describe();
        let message = match node.kind {
            Kind::Scalar(_) => format!("{found} is not {expected}"),
            _ => format!("{found}, not {expected}"),
        };
        self.problem(node.at, message, fix);
        None
    }

    /// Runs `read` with `key` as part of the path.
    pub(crate) fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        match key.len() {
            0..64 => self.path.push_str(key),
            _ => self.path.push_str(&shorten(key)),
        }
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Every item of a list; a single value counts as a list of one.
    pub(crate) fn list<T>(
        &mut self,
        node: &Node,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        match &node.kind {
            Kind::Empty => Some(vec![]),
            Kind::List(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(i, item)| {
                        let length = self.path.len();
                        self.path.push_str(&format!("[{i}]"));
                        let value = read(self, item);
                        self.path.truncate(length);
                        if value.is_none() {
                            self.left_out.entry(self.path.clone()).or_default().push(i);
                        }
                        value
                    })
                    .collect(),
            ),
            Kind::Scalar(_) => Some(read(self, node).into_iter().collect()),
            Kind::Map(_) => self.unfit(node, "a list", "write [a, b] or one \"- item\" per line"),
        }
    }

    /// Every entry of a map whose keys are names; a key that comes twice is a problem.
    pub(crate) fn entries<K: Ord + Clone, T>(
        &mut self,
        node: &Node,
        mut key_of: impl FnMut(&mut Self, &str, Location) -> Option<K>,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<BTreeMap<K, T>> {
        let entries = match &node.kind {
            Kind::Empty => return Some(Default::default()),
            Kind::Map(entries) => entries,
            _ => {
                return self.unfit(
                    node,
                    "a map of names",
                    "write \"name: ...\" entries, indented, below this key",
                );
            }
        };
        let mut seen = BTreeMap::new();
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            self.within(&key.text, |r| {
                let Some(name) = key_of(r, &key.text, key.at) else { return };
                if let Some(first) = seen.insert(name.clone(), key.at.line) {
                    r.problem(
                        key.at,
                        format!("is already defined in line {first}"),
                        "rename or remove one of them",
                    );
                } else if let Some(value) = read(r, value) {
                    map.insert(name, value);
                }
            });
        }
        Some(map)
    }

    /// A map with fixed keys. Nothing written is an empty map.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node) -> Option<Fields<'n>> {
        let entries = match &node.kind {
            Kind::Empty => &[][..],
            Kind::Map(entries) => entries.as_slice(),
            _ => return self.unfit(node, "a map", "write \"key: value\" entries, indented, below this key"),
        };
        Some(Fields { at: node.at, entries, known: Vec::new() })
    }
}

/// The number that an item of a list has in the text, where some items before it may have been left out.
pub(crate) fn written_index(left_out: Option<&Vec<usize>>, index: usize) -> usize {
    left_out.into_iter().flatten().fold(index, |index, left_out| index + usize::from(*left_out <= index))
}

/// A map with fixed keys, being read.
pub(crate) struct Fields<'n> {
    at: Location,
    entries: &'n [(Key, Node)],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    fn find(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        let node = self.entries.iter().find(|(k, _)| *k.text == *key).map(|(_, node)| node)?;
        (!matches!(node.kind, Kind::Empty)).then_some(node)
    }

    /// A value that may be missing.
    pub(crate) fn optional<T>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        read: impl FnOnce(&mut Reader, &Node) -> Option<T>,
    ) -> Option<T> {
        let node = self.find(key)?;
        reader.within(key, |r| read(r, node))
    }

    /// A value with a default.
    pub(crate) fn or<T>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        default: T,
        read: impl FnOnce(&mut Reader, &Node) -> Option<T>,
    ) -> T {
        self.optional(reader, key, read).unwrap_or(default)
    }

    /// A value that must be there; `example` is shown when it is not.
    pub(crate) fn required<T>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&mut Reader, &Node) -> Option<T>,
    ) -> Option<T> {
        let Some(node) = self.find(key) else {
            let at = self.at;
            reader.within(key, |r| r.problem(at, "is missing", format!("add \"{key}: {example}\"")));
            return None;
        };
        reader.within(key, |r| read(r, node))
    }

    /// Names every key that nobody asked for, and every key that comes twice.
    pub(crate) fn finish(self, reader: &mut Reader) {
        for (i, (key, _)) in self.entries.iter().enumerate() {
            if self.known.contains(&&*key.text) {
                if let Some((first, _)) = self.entries[..i].iter().find(|(k, _)| k.text == key.text) {
                    let message = format!("is already set in line {}", first.at.line);
                    reader.within(&key.text, |r| r.problem(key.at, message, "remove one of them"));
                }
                continue;
            }
            let fix = if *key.text == *"<<" {
                "merge keys are not supported: repeat the keys".to_owned()
            } else {
                match closest(&key.text, &self.known) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("the keys here are: {}", self.known.join(", ")),
                }
            };
            let name = shorten(&key.text);
            reader.problem(key.at, format!("unknown key \"{name}\""), fix);
        }
    }
}

/// The known word nearest to a misspelt one, if any is near.
pub(crate) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect();
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&word.to_lowercase(), k), *k))
        .filter(|(distance, k)| *distance <= 1 + k.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}
