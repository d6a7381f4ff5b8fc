//! What the store holds: the newest slot, and who has lately taken which.
//!
//! A claim is there for its owner to find again: what has become of the others is in `newest`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rule::{LEAD, SKEW, Slot, USE_WITHIN};

/// Version of the text.
const SCHEMA: u32 = 1;
/// Most claims at a time: so the record stays below 32 KiB. A claim lives for 17 s, so 30 nodes a second can make one.
const MOST_CLAIMS: usize = 512;
/// No text of ours is longer.
const MOST_BYTES: usize = 64 * 1024;

/// Slots that a node has taken and may not use yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    /// Random, so nobody else has it.
    pub(super) id: u64,
    /// The newest of the slots.
    last: u64,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Senders {
    schema: u32,
    newest: u64,
    claims: Vec<Claim>,
}

impl Senders {
    /// Of a store in which nothing was taken, or that has forgotten it.
    pub(super) fn empty() -> Self {
        Self { schema: SCHEMA, newest: 0, claims: Vec::new() }
    }

    /// Reads the text.
    ///
    /// # Errors
    /// When it is none of ours, in words for the operator.
    pub(super) fn decode(text: &[u8]) -> Result<Self, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("it has {} bytes", text.len()));
        }
        let senders: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        if senders.schema != SCHEMA {
            return Err(format!("it has schema {}, and this Penstock knows schema {SCHEMA}", senders.schema));
        }
        Ok(senders)
    }

    /// Writes the text.
    ///
    /// # Errors
    /// Never, by what it is made of.
    pub(super) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// The newest slot that was taken.
    pub(super) fn newest(&self) -> Slot {
        Slot(self.newest)
    }

    /// Whether this claim is still there.
    pub(super) fn has(&self, id: u64) -> bool {
        self.claims.iter().any(|claim| claim.id == id)
    }

    /// The record with one more claim, on all slots up to `last`; claims that nobody needs any more are left out. `None`:
    /// too many are left.
    pub(super) fn with(&self, id: u64, last: Slot, now: Duration) -> Option<Self> {
        // By the clock that is furthest behind it can be used until then.
        let is_needed = |claim: &&Claim| {
            let ends = Slot(claim.last).begins().saturating_add(USE_WITHIN + SKEW);
            ends >= now && ends <= now + LEAD + USE_WITHIN + 2 * SKEW
        };
        let mut claims: Vec<_> = self.claims.iter().filter(is_needed).copied().collect();
        if claims.len() >= MOST_CLAIMS {
            return None;
        }
        claims.push(Claim { id, last: last.0 });
        Some(Self { schema: SCHEMA, newest: last.0, claims })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn claimed(count: u64) -> Option<Senders> {
        let last = |id: u64| Slot(Slot::at(NOW + SKEW).0 + id);
        (1..=count).try_fold(Senders::empty(), |senders, id| senders.with(id, last(id), NOW))
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let senders = claimed(2).unwrap();
        let text = senders.encode().unwrap();
        assert_eq!(Senders::decode(&text), Ok(senders));
        let expected = "{\"schema\":1,\"newest\":230400000258,\"claims\":[{\"id\":1,\"last\":230400000257},\
                        {\"id\":2,\"last\":230400000258}]}";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        for end in 0..expected.len() {
            assert!(Senders::decode(&expected.as_bytes()[..end]).is_err());
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for text in [
            "",
            "{}",
            "7",
            "{\"schema\":2,\"newest\":1,\"claims\":[]}",
            "{\"schema\":1,\"newest\":-1,\"claims\":[]}",
        ] {
            assert!(Senders::decode(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Senders::decode(b"{\"schema\":1,\"newest\":1,\"claims\":[],\"more\":0}").is_err());
        assert!(Senders::decode(&b" ".repeat(MOST_BYTES + 1)).is_err());
    }

    #[test]
    fn claims_stay_as_long_as_somebody_may_need_them() {
        let senders = claimed(1).unwrap();
        let last = senders.newest().begins();
        let later = |time| senders.with(9, Slot::at(time), time).unwrap();
        assert!(later(last + USE_WITHIN + SKEW).has(1));
        assert!(!later(last + USE_WITHIN + SKEW + Duration::from_millis(1)).has(1));
        assert!(later(last + Duration::from_secs(60)).has(9));
    }

    #[test]
    fn a_record_has_an_end() {
        let full = claimed(MOST_CLAIMS as u64).unwrap();
        assert!(full.encode().unwrap().len() < 32 * 1024);
        assert_eq!(claimed(MOST_CLAIMS as u64 + 1), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_record_or_none(
            text in prop_oneof![
                "\\PC{0,80}",
                "\\{\"schema\":1,\"newest\":[0-9]{1,22},\"claims\":\\[(\\{\"id\":[0-9]{1,3},\"last\":[0-9]{1,21}\\})?\\]\\}",
            ],
            count in 1..300u64,
        ) {
            if let Ok(senders) = Senders::decode(text.as_bytes()) {
                prop_assert_eq!(Senders::decode(&senders.encode().unwrap()), Ok(senders.clone()));
                // Whatever it says, it can be gone on from.
                let last = Slot(Slot::at(NOW + SKEW).0 + count);
                let next = senders.with(7, last, NOW).unwrap();
                prop_assert!(next.has(7) && next.newest() == last);
            }
        }
    }
}
