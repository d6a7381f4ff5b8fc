//! What a tunnel sends under where there are several: the newest choice, in the store's order.
//!
//! All nodes rank by what is in the store, so all that know the same of it agree. Only what a node knows alone, and has
//! not told the store yet, or has seen a peer do, comes before.

use super::Foreign;
use crate::fleet::record::SaName;
use crate::ike::sad::{Home, Kinds};
use penstock_dataplane::ids::TunnelId;

/// How good an outbound SA is to send under; the greatest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Its owner sends under it for want of a better one. The revision of its record.
    Default(u64),
    /// It was chosen.
    Chosen {
        /// As the store has it.
        revision: u64,
        /// It was seen here that it is in use, when that was the newest revision: later than all before, earlier than all
        /// after. The peer has shown it; or a store that was restored does not know it any more.
        shown: bool,
    },
    /// This node has chosen it, and the store does not know that yet. Counted.
    Unpublished(u64),
}

impl<K: Kinds> Foreign<K> {
    /// The best candidate of a tunnel to send under, with where.
    pub(in crate::fleet) fn candidate(&self, tunnel: TunnelId) -> Option<(Rank, Home, &SaName)> {
        let known = self.tunnels.get(self.by_number.get(&tunnel)?)?;
        let ranked = known.sas.iter().filter_map(|name| {
            let sa = self.sas.get(name)?;
            Some(((sa.rank()?, sa.revision), name, sa.home?))
        });
        let best = ranked.max_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
        best.map(|((rank, _), name, home)| (rank, home, name))
    }
}
