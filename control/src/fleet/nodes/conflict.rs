//! Why this node cannot be one of the fleet beside another.

use std::net::IpAddr;

use penstock_fleet::names::{Name, NodeNumber};
use penstock_fleet::peer::Incarnation;

use super::node_record::NodeRecord;

/// Another node has what is ours, or is where we cannot reach it. While we start it may be our own former life, whose record
/// the store keeps for `liveness`; later one of the two has to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Our name.
    #[error(
        "another process runs as node {name} (at {address}, incarnation {incarnation}): stop it, or give this node another \
         node.name"
    )]
    Name {
        /// It.
        name: Name,
        /// Where the other one is.
        address: IpAddr,
        /// Which one.
        incarnation: Incarnation,
    },
    /// Our number.
    #[error("node {other} (at {address}) has the number {number}, too: give this node another node.number")]
    Number {
        /// It.
        number: NodeNumber,
        /// Who has it.
        other: Name,
        /// Where that is.
        address: IpAddr,
    },
    /// An address of the other family: nothing goes from there to us.
    #[error(
        "node {other} is at {theirs} and this one at {ours}: nodes reach one another by one family of addresses only, so write a \
         fleet.address of the same family on all nodes"
    )]
    Family {
        /// Who has it.
        other: Name,
        /// Where that is.
        theirs: IpAddr,
        /// Where we are.
        ours: IpAddr,
    },
}

impl Conflict {
    /// The first of other nodes whose address is of another family than ours.
    pub fn of_families(ours: &NodeRecord, others: impl IntoIterator<Item = NodeRecord>) -> Option<Self> {
        let is_other =
            |other: &NodeRecord| other.name != ours.name && other.address.is_ipv4() != ours.address.is_ipv4();
        let other = others.into_iter().find(is_other)?;
        Some(Self::Family { other: other.name, theirs: other.address, ours: ours.address })
    }
}
