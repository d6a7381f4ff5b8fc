//! What went through another node's security associations here: for their owner, which counts it towards their limits.
//!
//! The head is that of a [`Datagram`](super::Datagram), of kind 4 and with 0 for a revision. Then, for each association:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | SPI of the inbound one of its pair, which the receiver chose |
//! | 1 | 1: it is the outbound one; 2: its sequence numbers run out here; or both |
//! | 8 | inner bytes |
//! | 8 | packets |
//!
//! What it says is cumulative, since this life of the sender had the association.

use super::{Bytes, Incarnation, PeerKeys, StoreTag, head};
use crate::names::Name;

/// The kind of these datagrams.
pub(super) const KIND: u8 = 4;
/// Most associations in one: so it fits into any path's packets.
pub const MOST_SAS: usize = 40;
/// Of one association.
const SA_LEN: usize = 21;
/// Longest such datagram less what any datagram has, bytes.
pub(super) const MAX_SAS_LEN: usize = MOST_SAS * SA_LEN;

const OUTBOUND: u8 = 1;
const RUNS_OUT: u8 = 2;

/// What went through an association on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaUsage {
    /// SPI of the inbound one of its pair.
    pub spi: u32,
    /// It is the outbound one.
    pub outbound: bool,
    /// Its sequence numbers run out there.
    pub runs_out: bool,
    /// Inner bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

/// What went through some associations of the receiver on the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who sent it.
    pub node: Name,
    /// Which life of the sender.
    pub incarnation: Incarnation,
    /// Which store it follows.
    pub store: StoreTag,
    /// At most [`MOST_SAS`].
    pub sas: Vec<SaUsage>,
}

impl Report {
    /// The bytes to send, with an HMAC by the first of the keys. Associations beyond [`MOST_SAS`] are left out.
    pub fn seal(&self, keys: &PeerKeys) -> Bytes {
        let mut out = head(KIND, &self.node, self.incarnation, self.store, 0);
        for sa in self.sas.iter().take(MOST_SAS) {
            out.push(&sa.spi.to_be_bytes());
            out.push(&[u8::from(sa.outbound) * OUTBOUND + u8::from(sa.runs_out) * RUNS_OUT]);
            out.push(&sa.bytes.to_be_bytes());
            out.push(&sa.packets.to_be_bytes());
        }
        out.sign(keys)
    }

    /// What follows the head.
    pub(super) fn read_sas(rest: &[u8]) -> Option<Vec<SaUsage>> {
        let (sas, []) = rest.as_chunks::<SA_LEN>() else { return None };
        if sas.len() > MOST_SAS { None } else { sas.iter().map(read).collect() }
    }
}

fn read(bytes: &[u8; SA_LEN]) -> Option<SaUsage> {
    let (spi, rest) = bytes.split_first_chunk::<4>()?;
    let ([flags], rest) = rest.split_first_chunk::<1>()?;
    let (bytes, packets) = rest.split_first_chunk::<8>()?;
    let packets = packets.first_chunk::<8>()?;
    (*flags <= OUTBOUND + RUNS_OUT).then(|| SaUsage {
        spi: u32::from_be_bytes(*spi),
        outbound: flags & OUTBOUND != 0,
        runs_out: flags & RUNS_OUT != 0,
        bytes: u64::from_be_bytes(*bytes),
        packets: u64::from_be_bytes(*packets),
    })
}
