//! Spans of time as the operator writes them: `250ms`, `30s`, `10m`, `4h`, `7d`.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A span of whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    /// Seconds.
    pub seconds: u32,
}

/// The units, largest first.
const UNITS: [(char, u32); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl Period {
    /// So many seconds.
    pub const fn from_secs(seconds: u32) -> Self {
        Self { seconds }
    }

    /// The span that a text means; it needs its unit. `None`: it means none, or one of more than 136 years.
    pub fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().next_back()?;
        let (_, factor) = UNITS.iter().find(|(letter, _)| *letter == unit)?;
        let number = text.strip_suffix(unit)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let seconds = number.parse::<u32>().ok()?.checked_mul(*factor)?;
        Some(Self { seconds })
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        Self::from_secs(period.seconds.into())
    }
}

impl fmt::Display for Period {
    /// In the largest unit that it is a whole number of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole =
            UNITS.iter().find(|(_, factor)| self.seconds >= *factor && self.seconds.is_multiple_of(*factor));
        let (letter, factor) = whole.unwrap_or(&('s', 1));
        write!(f, "{}{letter}", self.seconds / factor)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A span of whole milliseconds, for what is too short for a [`Period`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wait {
    /// Milliseconds.
    pub milliseconds: u32,
}

impl Wait {
    /// So many milliseconds.
    pub const fn from_millis(milliseconds: u32) -> Self {
        Self { milliseconds }
    }

    /// The span that a text means: `250ms`, or what a [`Period`] may be. `None`: it means none, or more than 49 days.
    pub fn parse(text: &str) -> Option<Self> {
        let milliseconds = match text.strip_suffix("ms") {
            Some(number) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().ok()?
            }
            Some(_) => return None,
            None => Period::parse(text)?.seconds.checked_mul(1000)?,
        };
        Some(Self { milliseconds })
    }
}

impl From<Wait> for Duration {
    fn from(wait: Wait) -> Self {
        Self::from_millis(wait.milliseconds.into())
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.milliseconds.is_multiple_of(1000) {
            true => Period::from_secs(self.milliseconds / 1000).fmt(f),
            false => write!(f, "{}ms", self.milliseconds),
        }
    }
}

impl Serialize for Wait {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{Period, Wait};

    #[test]
    fn a_wait_may_be_shorter_than_a_second() {
        for (text, milliseconds, written) in [
            ("50ms", 50, "50ms"),
            ("1s", 1000, "1s"),
            ("1500ms", 1500, "1500ms"),
            ("2000ms", 2000, "2s"),
            ("1m", 60_000, "1m"),
        ] {
            let wait = Wait::parse(text).expect("a span of time");
            assert_eq!((wait.milliseconds, wait.to_string().as_str()), (milliseconds, written));
            assert_eq!(Wait::parse(written), Some(wait));
        }
        for text in ["", "ms", "1", "-1ms", "+1ms", "0.5s", "1 ms", "4294967296ms", "50d", "1us"] {
            assert_eq!(Wait::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for (text, seconds, written) in [
            ("30s", 30, "30s"),
            ("90s", 90, "90s"),
            ("60s", 60, "1m"),
            ("10m", 600, "10m"),
            ("4h", 14_400, "4h"),
            ("24h", 86_400, "1d"),
            ("7d", 604_800, "7d"),
            ("0s", 0, "0s"),
        ] {
            let period = Period::parse(text).expect("a span of time");
            assert_eq!((period.seconds, period.to_string().as_str()), (seconds, written));
            assert_eq!(Period::parse(written), Some(period));
        }
        for text in ["", "s", "30", "-1s", "+1s", "1.5h", "1 h", "1H", "1w", "4294967296s", "50000d", "ä"] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
    }
}
