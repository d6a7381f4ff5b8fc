//! Datagrams from node to node about tunnels' health: an answer to a probe of another node ([`HealthNews::Answer`]),
//! and which tunnels a node finds sick ([`HealthNews::States`]).
//!
//! The head is that of a [`Datagram`](super::Datagram); then:
//!
//! | kind | the revision is | what follows |
//! |---|---|---|
//! | 5, answer | the probe's serial number | 4 bytes: the tunnel's number at the node that probed; 1 byte: 1 if it came out of a tunnel, else 0; 8 bytes: which tunnel that was, or 0 |
//! | 6, states | one more than that of the one before | 4 bytes: how many are sick in all; for each, the worst first: 8 bytes which tunnel, 1 byte 1 degraded or 2 down |
//!
//! A tunnel is named by a hash of its tenant's name and its own ([`TunnelTag`]). An answer that somebody sends again is
//! one to a probe that has been answered; old states are told by their number.

use sha2::{Digest, Sha256};

use super::report::MAX_SAS_LEN;
use super::{Bytes, Incarnation, PeerKeys, StoreTag, head};
use crate::names::Name;

const ANSWER: u8 = 5;
const STATES: u8 = 6;
const ANSWER_LEN: usize = 13;
const TOTAL: usize = 4;
const STATE: usize = 9;

/// Most tunnels in one datagram: so it is no longer than the longest report.
pub const MAX_STATES: usize = 90;
const _: () = assert!(TOTAL + MAX_STATES * STATE <= MAX_SAS_LEN);

/// Which tunnel, on every node: a hash of two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelTag(pub u64);

impl TunnelTag {
    /// Of a tenant's tunnel.
    pub fn of(tenant: &str, tunnel: &str) -> Self {
        let hash = Sha256::new()
            .chain_update(b"penstock tunnel\0")
            .chain_update(tenant)
            .chain_update(b"\0")
            .chain_update(tunnel)
            .finalize();
        let mut tag = [0; 8];
        tag.copy_from_slice(&hash[..8]);
        Self(u64::from_be_bytes(tag))
    }
}

/// How sick a tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sick {
    /// It loses packets.
    Degraded = 1,
    /// It carries none.
    Down = 2,
}

/// What a datagram says of tunnels' health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthNews {
    /// A probe of the receiver was answered, and the answer came to the sender.
    Answer {
        /// The probe's serial number.
        serial: u64,
        /// The tunnel that was probed, as the receiver numbers it.
        tunnel: u32,
        /// The tunnel that it came out of; `None`: it came plain.
        via: Option<TunnelTag>,
    },
    /// What the sender finds sick.
    States {
        /// One more than that of the one before.
        number: u64,
        /// How many there are in all.
        total: u32,
        /// The worst of them, at most [`MAX_STATES`].
        sick: Vec<(TunnelTag, Sick)>,
    },
}

/// One datagram about tunnels' health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthDatagram {
    /// Who sent it.
    pub node: Name,
    /// Which life of the sender.
    pub incarnation: Incarnation,
    /// Which store it follows.
    pub store: StoreTag,
    /// What it says.
    pub news: HealthNews,
}

impl HealthDatagram {
    /// The bytes to send, with an HMAC by the first of the keys. Tunnels beyond [`MAX_STATES`] are left out.
    pub fn seal(&self, keys: &PeerKeys) -> Bytes {
        let (kind, number) = match &self.news {
            HealthNews::Answer { serial, .. } => (ANSWER, *serial),
            HealthNews::States { number, .. } => (STATES, *number),
        };
        let mut out = head(kind, &self.node, self.incarnation, self.store, number);
        match &self.news {
            HealthNews::Answer { tunnel, via, .. } => {
                out.push(&tunnel.to_be_bytes());
                out.push(&[u8::from(via.is_some())]);
                out.push(&via.map_or(0, |via| via.0).to_be_bytes());
            }
            HealthNews::States { total, sick, .. } => {
                out.push(&total.to_be_bytes());
                for (tunnel, how) in sick.iter().take(MAX_STATES) {
                    out.push(&tunnel.0.to_be_bytes());
                    out.push(&[*how as u8]);
                }
            }
        }
        out.sign(keys)
    }
}

impl HealthNews {
    /// What follows the head, if the datagram is of one of these kinds.
    pub(super) fn read(kind: u8, number: u64, rest: &[u8]) -> Option<Self> {
        match kind {
            ANSWER => answer(number, rest),
            STATES => states(number, rest),
            _ => None,
        }
    }
}

fn answer(serial: u64, body: &[u8]) -> Option<HealthNews> {
    let body: &[u8; ANSWER_LEN] = body.try_into().ok()?;
    let (tunnel, rest) = body.split_first_chunk::<4>()?;
    let (is_inside, via) = rest.split_first()?;
    let via = u64::from_be_bytes(via.try_into().ok()?);
    let via = match (is_inside, via) {
        (0, 0) => None,
        (1, via) => Some(TunnelTag(via)),
        _ => return None,
    };
    Some(HealthNews::Answer { serial, tunnel: u32::from_be_bytes(*tunnel), via })
}

fn states(number: u64, body: &[u8]) -> Option<HealthNews> {
    let (total, rest) = body.split_first_chunk::<TOTAL>()?;
    let (entries, []) = rest.as_chunks::<STATE>() else { return None };
    let sick = entries.iter().map(|entry| {
        let (tunnel, how) = entry.split_first_chunk::<8>()?;
        let how = [Sick::Degraded, Sick::Down].into_iter().find(|one| [*one as u8] == *how)?;
        Some((TunnelTag(u64::from_be_bytes(*tunnel)), how))
    });
    let sick = sick.collect::<Option<Vec<_>>>()?;
    let total = u32::from_be_bytes(*total);
    // One form only: the rest are left out only where there is no room.
    let is_whole = sick.len() == (total as usize).min(MAX_STATES);
    is_whole.then_some(HealthNews::States { number, total, sick })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{Refused, Said};
    use crate::seal::{FleetKey, TokenKind};
    use proptest::prelude::*;

    fn keys(seed: u8) -> PeerKeys {
        PeerKeys::new([FleetKey::from_bytes(&[seed; 32]).token(TokenKind::Control)]).unwrap()
    }

    fn news() -> impl Strategy<Value = HealthNews> {
        let how = prop_oneof![Just(Sick::Degraded), Just(Sick::Down)];
        let sick = prop::collection::vec((any::<u64>().prop_map(TunnelTag), how), 0..=MAX_STATES);
        prop_oneof![
            (any::<u64>(), any::<u32>(), any::<Option<u64>>()).prop_map(|(serial, tunnel, via)| {
                HealthNews::Answer { serial, tunnel, via: via.map(TunnelTag) }
            }),
            (any::<u64>(), sick).prop_map(|(number, sick)| HealthNews::States {
                number,
                total: sick.len() as u32,
                sick
            }),
        ]
    }

    fn datagram(news: HealthNews) -> HealthDatagram {
        HealthDatagram {
            node: Name::new("fra1-a").unwrap(),
            incarnation: Incarnation(7),
            store: StoreTag::of("one"),
            news,
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_nothing_else_does(news in news(), at: prop::sample::Index, flip in 1..=255u8) {
            let datagram = datagram(news);
            let bytes = datagram.seal(&keys(1)).to_vec();
            prop_assert_eq!(Said::open(&bytes, &keys(1)), Ok(Said::Health(datagram)));
            prop_assert_eq!(Said::open(&bytes, &keys(2)), Err(Refused::Forged));
            for cut in 0..bytes.len() {
                prop_assert!(Said::open(&bytes[..cut], &keys(1)).is_err());
            }
            let mut changed = bytes.clone();
            changed[at.index(bytes.len())] ^= flip;
            prop_assert!(Said::open(&changed, &keys(1)).is_err());
        }

        #[test]
        fn any_signed_bytes_have_one_form_or_none(
            kind in ANSWER..=STATES, rest in prop::collection::vec(0..4u8, 0..100),
        ) {
            let head = head(kind, &Name::new("a").unwrap(), Incarnation(7), StoreTag([1; 16]), 3);
            let bytes = [&*head, &rest].concat();
            let bytes = [&bytes[..], &keys(1).code(&bytes)].concat();
            if let Ok(said) = Said::open(&bytes, &keys(1)) {
                prop_assert_eq!(&*said.seal(&keys(1)), &bytes[..]);
            }
        }
    }

    #[test]
    fn of_more_than_fit_the_first_are_told_and_how_many_there_are() {
        let sick: Vec<_> = (0..150).map(|number| (TunnelTag(number), Sick::Down)).collect();
        let bytes = datagram(HealthNews::States { number: 1, total: 150, sick: sick.clone() }).seal(&keys(1));
        assert_eq!(bytes.len(), 40 + 6 + 4 + 90 * 9 + 32);
        let told = HealthNews::States { number: 1, total: 150, sick: sick[..MAX_STATES].to_vec() };
        assert_eq!(Said::open(&bytes, &keys(1)), Ok(Said::Health(datagram(told))));
    }

    #[test]
    fn tunnels_are_told_apart() {
        assert_ne!(TunnelTag::of("a", "bc"), TunnelTag::of("ab", "c"));
        assert_eq!(TunnelTag::of("acme", "dc1"), TunnelTag::of("acme", "dc1"));
    }
}
