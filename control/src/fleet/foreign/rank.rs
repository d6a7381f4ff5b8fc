//! What a tunnel sends under where there are several: the newest choice, in the store's order. But what a node could not
//! tell the store for a while does not come before what a peer has negotiated with another node since.
//!
//! All nodes rank by what is in the store, so all that know the same of it agree. Only what a node knows alone, and has
//! not told the store yet, or has seen a peer do, comes before.

use std::time::Duration;

use penstock_dataplane::ids::TunnelId;

use super::Foreign;
use crate::fleet::record::{Date, Owner, SaName};
use crate::ike::sad::{Home, Kinds};
use crate::leases::fleet::CLOCKS_DIFFER;

/// By more than two clocks differ of which each may be a little wrong.
pub(super) const SURELY_LATER: Duration = CLOCKS_DIFFER.saturating_mul(2);

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

/// What this node has itself to send under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// How good it is.
    pub rank: Rank,
    /// When it was installed.
    pub born: Date,
}

/// A foreign one with where it is sent under.
pub(in crate::fleet) type Candidate<'a> = (Home, &'a SaName);

/// One of those that are ranked. `owner` and `what` are `None` for this node's own.
struct Contender<'a> {
    rank: Rank,
    revision: u64,
    born: Date,
    owner: Option<Owner>,
    what: Option<Candidate<'a>>,
}

impl Contender<'_> {
    /// Chosen and told late: the peer has negotiated with another node since. A node may have been cut off from the store
    /// meanwhile, so the store's order is not that of the choices; where clocks tell for sure, they do.
    fn is_overtaken(&self, all: &[Self]) -> bool {
        let is_chosen = |rank| rank > Rank::Default(u64::MAX);
        let later = |other: &Self| other.owner != self.owner && other.born.since(self.born) > SURELY_LATER;
        is_chosen(self.rank) && all.iter().any(|other| is_chosen(other.rank) && later(other))
    }
}

impl<K: Kinds> Foreign<K> {
    /// What is best for a tunnel to send under, and where: `None` for where is this node's own.
    pub(in crate::fleet) fn best(
        &self,
        tunnel: TunnelId,
        own: Option<Own>,
    ) -> Option<(Rank, Option<Candidate<'_>>)> {
        let known = self.by_number.get(&tunnel).and_then(|name| self.tunnels.get(name));
        let foreign = known.into_iter().flat_map(|known| &known.sas).filter_map(|name| {
            let sa = self.sas.get(name)?;
            let (rank, what) = (sa.rank()?, Some((sa.home?, name)));
            Some(Contender { rank, revision: sa.revision, born: sa.born, owner: Some(sa.owner), what })
        });
        // Of equals it is our own.
        let own = own.map(|Own { rank, born }| Contender {
            rank,
            revision: u64::MAX,
            born,
            owner: None,
            what: None,
        });
        let all: Vec<Contender<'_>> = foreign.chain(own).collect();
        let best =
            all.iter().filter(|one| !one.is_overtaken(&all)).max_by_key(|one| (one.rank, one.revision))?;
        Some((best.rank, best.what))
    }
}
