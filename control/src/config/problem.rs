//! What is wrong with a configuration, said so that the operator can mend it: where, what, and the fix.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// More problems than this are counted, not listed.
pub(crate) const MAX_PROBLEMS: usize = 100;

/// A place in the text; lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Location {
    /// Line, from 1; 0 when the problem is with the file as a whole.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// One thing that is wrong, or (a warning) that will surprise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as it was named to us; empty for text that came from elsewhere.
    pub file: Arc<str>,
    /// Where in it.
    #[serde(flatten)]
    pub at: Location,
    /// The key, such as `tenants.acme.tunnels.dc1.remote`; empty when the whole file is meant.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file: &str = if self.file.is_empty() { "configuration" } else { &self.file };
        write!(f, "{file}")?;
        if self.at.line > 0 {
            write!(f, ":{}:{}", self.at.line, self.at.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}; {}", self.message, self.fix)
    }
}

impl std::error::Error for Problem {}

/// All problems of one text, in the order of finding, at most [`MAX_PROBLEMS`] of them.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    file: Arc<str>,
    list: Vec<Problem>,
    unlisted: usize,
}

impl Problems {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.into(), ..Self::default() }
    }

    pub(crate) fn add(
        &mut self,
        at: Location,
        path: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        if self.list.len() >= MAX_PROBLEMS {
            self.unlisted += 1;
            return;
        }
        let file = self.file.clone();
        self.list.push(Problem { file, at, path: path.into(), message: message.into(), fix: fix.into() });
    }

    /// Problems found elsewhere, as a list like all others: in the order of the text, and not without end.
    pub(crate) fn listed(found: Vec<Problem>) -> Vec<Problem> {
        let file = found.first().map(|first| first.file.clone()).unwrap_or_default();
        let unlisted = found.len().saturating_sub(MAX_PROBLEMS);
        let list = found.into_iter().take(MAX_PROBLEMS).collect();
        Self { file, list, unlisted }.into_list()
    }

    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        self.list.len() + self.unlisted
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The list in the order of the text.
    pub(crate) fn into_list(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|p| (p.at.line, p.at.column));
        if self.unlisted > 0 {
            self.list.push(Problem {
                file: self.file,
                at: Location::default(),
                path: String::new(),
                message: format!("there are {} more problems", self.unlisted),
                fix: "mend these first and check again".into(),
            });
        }
        self.list
    }
}
