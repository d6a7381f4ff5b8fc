//! Equal-cost next hops: a bucket array indexed by flow hash.
//!
//! Each bucket is given by weighted rendezvous hashing (highest random weight): a bucket belongs to
//! the member with the largest `weight / -ln(u)` where `u` is a uniform hash of bucket and member.
//! When a member goes, only its own buckets move, each to its second choice, so only the flows of the
//! lost next hop are moved. Control builds the array; a worker only indexes it.

use std::sync::Arc;

use super::hop::Hop;

/// Buckets of a group: 1/512 is the finest share, a cache line holds 16 buckets.
pub const BUCKETS: usize = 512;

/// One next hop of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where its flows go.
    pub hop: Hop,
    /// Share, 1 to 256.
    pub weight: u16,
    /// A number that names the next hop for as long as it is configured and does not depend on the
    /// other members (a hash of its name or address).
    pub identity: u64,
}

/// A group of next hops.
#[derive(Clone, Debug, Default)]
pub struct Group {
    buckets: Option<Arc<[Hop; BUCKETS]>>,
}

impl Group {
    /// Shares the buckets among the members. No members: every flow gets [`Hop::NO_ROUTE`].
    pub fn new(members: &[Member]) -> Self {
        let choose = |bucket: usize| {
            members
                .iter()
                .max_by(|a, b| {
                    score(bucket, a).total_cmp(&score(bucket, b)).then(a.identity.cmp(&b.identity))
                })
                .map_or(Hop::NO_ROUTE, |m| m.hop)
        };
        Self { buckets: Some(Arc::new(std::array::from_fn(choose))) }
    }

    /// The next hop of a flow.
    #[inline(always)]
    pub fn pick(&self, flow_hash: u32) -> Hop {
        match &self.buckets {
            Some(buckets) => buckets[flow_hash as usize % BUCKETS],
            None => Hop::NO_ROUTE,
        }
    }

    /// The buckets, for `show` and tests.
    pub fn buckets(&self) -> &[Hop] {
        self.buckets.as_ref().map_or(&[], |b| b.as_slice())
    }
}

fn score(bucket: usize, member: &Member) -> f64 {
    let hash = mix(member.identity ^ mix(bucket as u64 + 1));
    // 53 uniform bits in (0, 1).
    let uniform = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(member.weight) / -uniform.ln()
}

/// The finaliser of splitmix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TunnelId;

    fn member(id: u32, weight: u16) -> Member {
        Member { hop: Hop::tunnel(TunnelId(id)), weight, identity: mix(u64::from(id) + 77) }
    }

    #[test]
    fn losing_a_member_moves_only_its_own_flows() {
        let all: Vec<_> = (0..7).map(|i| member(i, 1 + (i as u16 % 3))).collect();
        let before = Group::new(&all);
        for lost in &all {
            let left: Vec<_> = all.iter().copied().filter(|m| m.hop != lost.hop).collect();
            let after = Group::new(&left);
            for (old, new) in before.buckets().iter().zip(after.buckets()) {
                assert_ne!(*new, lost.hop);
                if *old != lost.hop {
                    assert_eq!(old, new);
                }
            }
        }
    }

    #[test]
    fn shares_follow_weights() {
        let group = Group::new(&[member(1, 1), member(2, 3)]);
        let second = group.buckets().iter().filter(|h| h.slot() == 2).count() as f64;
        assert!((second / BUCKETS as f64 - 0.75).abs() < 0.06, "{second}");
    }
}
