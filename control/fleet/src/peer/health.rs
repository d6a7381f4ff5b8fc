//! Datagrams from node to node about tunnels' health: an answer to a probe of another node ([`Said::Answer`]), and which
//! tunnels a node finds sick ([`Said::States`]).
//!
//! They are as those of the parent module, with kinds of their own and a body between name and HMAC:
//!
//! | kind | the revision is | body |
//! |---|---|---|
//! | 4, answer | the probe's serial number | 4 bytes: the tunnel's number at the node that probed; 1 byte: 1 if it came out of a tunnel, else 0; 8 bytes: which tunnel that was, or 0 |
//! | 5, states | one more than that of the one before | 4 bytes: how many are sick in all; for each, the worst first: 8 bytes which tunnel, 1 byte 1 degraded or 2 down |
//!
//! A tunnel is named by a hash of its tenant's name and its own ([`TunnelTag`]). An answer that somebody sends again is
//! one to a probe that has been answered; old states are told by their number.

use sha2::{Digest, Sha256};

use super::{CODE, FIXED, Incarnation, MAGIC, MAX_NAME, PeerKeys, Refused, StoreTag, VERSION};
use crate::names::Name;

const ANSWER: u8 = 4;
const STATES: u8 = 5;
const ANSWER_LEN: usize = 13;
const TOTAL: usize = 4;
const STATE: usize = 9;

/// Tunnels of one datagram, so that it is never cut on its way.
pub const MAX_STATES: usize = 100;
/// Longest datagram, bytes.
pub const MAX_HEALTH_LEN: usize = FIXED + MAX_NAME + TOTAL + MAX_STATES * STATE + CODE;
const _: () = assert!(MAX_HEALTH_LEN <= 1200);

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

/// What a datagram says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
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

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthDatagram {
    /// Who sent it.
    pub node: Name,
    /// Which life of the sender.
    pub incarnation: Incarnation,
    /// The store that it follows.
    pub store: StoreTag,
    /// What it says.
    pub said: Said,
}

/// Whether a datagram, whatever it is, says that it is one of these.
pub fn is_about_health(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) && bytes.get(5).is_some_and(|kind| matches!(*kind, ANSWER | STATES))
}

impl HealthDatagram {
    /// The bytes to send, with an HMAC by the first of the keys. More than [`MAX_STATES`] are left out.
    pub fn seal(&self, keys: &PeerKeys) -> Vec<u8> {
        let (kind, number) = match &self.said {
            Said::Answer { serial, .. } => (ANSWER, *serial),
            Said::States { number, .. } => (STATES, *number),
        };
        let name = self.node.as_str().as_bytes();
        let mut out = Vec::with_capacity(MAX_HEALTH_LEN);
        out.extend_from_slice(&MAGIC);
        // A name has 63 bytes at most.
        out.extend_from_slice(&[VERSION, kind, name.len() as u8, 0]);
        out.extend_from_slice(&self.incarnation.0.to_be_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(name);
        match &self.said {
            Said::Answer { tunnel, via, .. } => {
                out.extend_from_slice(&tunnel.to_be_bytes());
                out.push(u8::from(via.is_some()));
                out.extend_from_slice(&via.map_or(0, |via| via.0).to_be_bytes());
            }
            Said::States { total, sick, .. } => {
                out.extend_from_slice(&total.to_be_bytes());
                for (tunnel, how) in sick.iter().take(MAX_STATES) {
                    out.extend_from_slice(&tunnel.0.to_be_bytes());
                    out.push(*how as u8);
                }
            }
        }
        let code = keys.code(&out);
        out.extend_from_slice(&code);
        out
    }

    /// What these bytes say, if a node of the fleet made them.
    ///
    /// # Errors
    /// Why they are not to be believed.
    pub fn open(bytes: &[u8], keys: &PeerKeys) -> Result<Self, Refused> {
        if !(FIXED + 1 + TOTAL + CODE..=MAX_HEALTH_LEN).contains(&bytes.len()) {
            return Err(Refused::Length);
        }
        let (said, code) = bytes.split_last_chunk::<CODE>().ok_or(Refused::Length)?;
        if !said.starts_with(&MAGIC) {
            return Err(Refused::Foreign);
        }
        if said.get(4) != Some(&VERSION) {
            return Err(Refused::Version);
        }
        if !keys.made(said, code) {
            return Err(Refused::Forged);
        }
        Self::read(said).ok_or(Refused::Malformed)
    }

    /// Authentic bytes without their HMAC.
    fn read(said: &[u8]) -> Option<Self> {
        let (head, rest) = said.split_first_chunk::<8>()?;
        let (incarnation, rest) = rest.split_first_chunk::<8>()?;
        let (store, rest) = rest.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let [.., kind, length, zero] = *head;
        let (name, body) = rest.split_at_checked(usize::from(length))?;
        if zero != 0 {
            return None;
        }
        let number = u64::from_be_bytes(*number);
        Some(Self {
            node: Name::new(std::str::from_utf8(name).ok()?)?,
            incarnation: Incarnation(u64::from_be_bytes(*incarnation)),
            store: StoreTag(*store),
            said: match kind {
                ANSWER => answer(number, body)?,
                STATES => states(number, body)?,
                _ => return None,
            },
        })
    }
}

fn answer(serial: u64, body: &[u8]) -> Option<Said> {
    let body: &[u8; ANSWER_LEN] = body.try_into().ok()?;
    let (tunnel, rest) = body.split_first_chunk::<4>()?;
    let (is_inside, via) = rest.split_first()?;
    let via = u64::from_be_bytes(via.try_into().ok()?);
    let via = match (is_inside, via) {
        (0, 0) => None,
        (1, via) => Some(TunnelTag(via)),
        _ => return None,
    };
    Some(Said::Answer { serial, tunnel: u32::from_be_bytes(*tunnel), via })
}

fn states(number: u64, body: &[u8]) -> Option<Said> {
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
    is_whole.then_some(Said::States { number, total, sick })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{FleetKey, TokenKind};
    use proptest::prelude::*;

    fn keys(seed: u8) -> PeerKeys {
        PeerKeys::new([FleetKey::from_bytes(&[seed; 32]).token(TokenKind::Control)]).unwrap()
    }

    fn said() -> impl Strategy<Value = Said> {
        let how = prop_oneof![Just(Sick::Degraded), Just(Sick::Down)];
        let sick = prop::collection::vec((any::<u64>().prop_map(TunnelTag), how), 0..=MAX_STATES);
        prop_oneof![
            (any::<u64>(), any::<u32>(), any::<Option<u64>>())
                .prop_map(|(serial, tunnel, via)| Said::Answer { serial, tunnel, via: via.map(TunnelTag) }),
            (any::<u64>(), sick).prop_map(|(number, sick)| Said::States {
                number,
                total: sick.len() as u32,
                sick
            }),
        ]
    }

    fn datagram(said: Said) -> HealthDatagram {
        HealthDatagram {
            node: Name::new("fra1-a").unwrap(),
            incarnation: Incarnation(7),
            store: StoreTag::of("one"),
            said,
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_nothing_else_does(said in said(), at: usize, flip in 1..=255u8) {
            let datagram = datagram(said);
            let bytes = datagram.seal(&keys(1));
            prop_assert!(bytes.len() <= MAX_HEALTH_LEN && is_about_health(&bytes));
            prop_assert_eq!(HealthDatagram::open(&bytes, &keys(1)).as_ref(), Ok(&datagram));
            prop_assert_eq!(HealthDatagram::open(&bytes, &keys(2)), Err(Refused::Forged));
            for cut in 0..bytes.len() {
                prop_assert!(HealthDatagram::open(&bytes[..cut], &keys(1)).is_err());
            }
            let mut changed = bytes.clone();
            let at = at % changed.len();
            changed[at] ^= flip;
            prop_assert!(HealthDatagram::open(&changed, &keys(1)).is_err());
        }

        #[test]
        fn any_signed_bytes_have_one_form_or_none(mut bytes in prop::collection::vec(any::<u8>(), 8..400), kind in 4..=5u8, name in 0..20u8) {
            bytes[..8].copy_from_slice(&[b'P', b'S', b'T', b'K', 1, kind, name, 0]);
            let code = keys(1).code(&bytes);
            bytes.extend_from_slice(&code);
            if let Ok(datagram) = HealthDatagram::open(&bytes, &keys(1)) {
                prop_assert_eq!(datagram.seal(&keys(1)), bytes);
            }
        }
    }

    #[test]
    fn of_more_than_fit_the_first_are_told_and_how_many_there_are() {
        let sick: Vec<_> = (0..150).map(|number| (TunnelTag(number), Sick::Down)).collect();
        let bytes = datagram(Said::States { number: 1, total: 150, sick: sick.clone() }).seal(&keys(1));
        assert_eq!(bytes.len(), 40 + 6 + 4 + 900 + 32);
        let told = Said::States { number: 1, total: 150, sick: sick[..MAX_STATES].to_vec() };
        assert_eq!(HealthDatagram::open(&bytes, &keys(1)).unwrap().said, told);
    }

    #[test]
    fn tunnels_are_told_apart() {
        assert_ne!(TunnelTag::of("a", "bc"), TunnelTag::of("ab", "c"));
        assert_eq!(TunnelTag::of("acme", "dc1"), TunnelTag::of("acme", "dc1"));
    }
}
