//! YAML text as a tree in which every value knows its line and column.
//!
//! The text is not trusted: its size, its depth, the number of values and what aliases may copy are bounded, so that
//! no text can make the gateway use more than a few times its own size in memory. Scalars stay text here; what a
//! scalar means is decided by the key that it stands under, so `no`, `1e3` or `12:30:45` never turn into something
//! else on the way.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::problem::{Location, Problems};

/// Largest text: 131 072 tunnels and a million routes fit.
pub const MAX_TEXT_BYTES: usize = 256 << 20;
/// Deepest nesting; the schema needs 6.
const MAX_DEPTH: usize = 24;
/// Most values of one file, keys included.
const MAX_NODES: usize = 32_000_000;
/// Most values that all aliases together may copy.
const MAX_ALIASED_NODES: usize = 1_000_000;

/// A value.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Location,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Nothing was written (or `null`, `~`).
    Empty,
    Scalar(Box<str>),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The name of an entry of a map.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) at: Location,
    pub(crate) text: Box<str>,
}

impl Node {
    /// What the value is, for a sentence.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Empty => "nothing is written here".into(),
            Kind::Scalar(text) => format!("\"{}\"", shorten(text)),
            Kind::List(_) => "a list is written here".into(),
            Kind::Map(_) => "a map is written here".into(),
        }
    }

    /// The place that a path like `tenants.acme.routes[2].via` names, or of its last part that exists.
    pub(crate) fn locate(&self, path: &str) -> Location {
        let mut here = self;
        let mut at = self.at;
        for part in path.split(['.', '[']) {
            let found = match &here.kind {
                Kind::Map(entries) => {
                    entries.iter().find(|(key, _)| *key.text == *part).map(|(key, node)| (key.at, node))
                }
                Kind::List(items) => part
                    .trim_end_matches(']')
                    .parse()
                    .ok()
                    .and_then(|i: usize| items.get(i))
                    .map(|n| (n.at, n)),
                Kind::Empty | Kind::Scalar(_) => None,
            };
            let Some((place, node)) = found else { return at };
            here = node;
            // A scalar is shown itself, a whole map by its key.
            at = if matches!(node.kind, Kind::Scalar(_)) { node.at } else { place };
        }
        at
    }

    fn count(&self) -> usize {
        1 + match &self.kind {
            Kind::Empty | Kind::Scalar(_) => 0,
            Kind::List(items) => items.iter().map(Self::count).sum(),
            Kind::Map(entries) => entries.iter().map(|(_, node)| 1 + node.count()).sum(),
        }
    }
}

/// At most 60 characters of a text, for a message, without control characters.
pub(crate) fn shorten(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(60).map(clean).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

fn location(mark: Marker) -> Location {
    Location { line: mark.line() as u32, column: mark.col() as u32 + 1 }
}

/// A list or map that is being read.
struct Open {
    at: Location,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map(Vec<(Key, Node)>, Option<Key>),
}

struct Builder<'a> {
    problems: &'a mut Problems,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    aliased: usize,
    root: Option<Node>,
}

/// Reads a text. `None`: it is not YAML, or beyond a limit; the problem is then in `problems`.
pub(crate) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the file has {} bytes, the limit is {MAX_TEXT_BYTES}", text.len());
        problems.add(Location::default(), "", message, "remove what is not needed");
        return None;
    }
    let mut builder =
        Builder { problems, open: vec![], anchors: HashMap::new(), nodes: 0, aliased: 0, root: None };
    for event in Parser::new_from_str(text) {
        let (event, at) = match event {
            Ok((event, span)) => (event, location(span.start)),
            Err(error) => {
                let fix = "mend the YAML syntax here (indentation, quotes, brackets, a colon and a space after a key)";
                builder.problems.add(
                    location(*error.marker()),
                    "",
                    format!("not YAML: {}", error.info()),
                    fix,
                );
                return None;
            }
        };
        builder.event(event, at)?;
    }
    let at = Location { line: 1, column: 1 };
    Some(builder.root.unwrap_or(Node { at, kind: Kind::Empty }))
}

impl Builder<'_> {
    /// `None` stops the reading; the reason is then in the problems.
    fn event(&mut self, event: Event<'_>, at: Location) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let empty = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let kind = if empty { Kind::Empty } else { Kind::Scalar(text.into()) };
                self.add(Node { at, kind }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.start(Open { at, anchor, items: Items::List(vec![]) }),
            Event::MappingStart(anchor, _) => {
                self.start(Open { at, anchor, items: Items::Map(vec![], None) })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(done) = self.open.pop() else { return Some(()) };
                let kind = match done.items {
                    Items::List(items) => Kind::List(items),
                    Items::Map(entries, _) => Kind::Map(entries),
                };
                self.add(Node { at: done.at, kind }, done.anchor)
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::DocumentStart(_) if self.root.is_some() => {
                self.stop(at, "a second YAML document starts here", "keep one document in a file")
            }
            _ => Some(()),
        }
    }

    fn start(&mut self, open: Open) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            return self.stop(
                open.at,
                &format!("nested deeper than {MAX_DEPTH} levels"),
                "check the indentation",
            );
        }
        self.open.push(open);
        Some(())
    }

    fn alias(&mut self, anchor: usize, at: Location) -> Option<()> {
        let Some(node) = self.anchors.get(&anchor) else {
            return self.stop(at, "the alias names a value that contains it", "write the value out");
        };
        self.aliased += node.count();
        if self.aliased > MAX_ALIASED_NODES {
            let message = format!("aliases copy more than {MAX_ALIASED_NODES} values");
            return self.stop(at, &message, "write the values out instead of aliasing aliases");
        }
        let mut copy = node.clone();
        copy.at = at;
        self.add(copy, 0)
    }

    /// Puts a finished value into what is open.
    fn add(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.stop(
                node.at,
                &format!("the file has more than {MAX_NODES} values"),
                "split the fleet",
            );
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map(entries, pending)) => match pending.take() {
                Some(key) => entries.push((key, node)),
                None => match node.kind {
                    Kind::Scalar(text) => *pending = Some(Key { at: node.at, text }),
                    Kind::Empty => *pending = Some(Key { at: node.at, text: "".into() }),
                    Kind::List(_) | Kind::Map(_) => {
                        let at = node.at;
                        return self.stop(
                            at,
                            "a list or a map is used as a key",
                            "write a name, a colon, a value",
                        );
                    }
                },
            },
        }
        Some(())
    }

    fn stop(&mut self, at: Location, message: &str, fix: &str) -> Option<()> {
        self.problems.add(at, "", message, fix);
        None
    }
}
