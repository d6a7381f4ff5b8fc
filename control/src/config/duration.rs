//! Spans of time as the operator writes them: `30s`, `10m`, `4h`, `7d`.

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

#[cfg(test)]
mod tests {
    use super::Period;

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
