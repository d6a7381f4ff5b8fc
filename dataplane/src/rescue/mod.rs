//! Packets that belong to another node of the fleet, one hop to that node and no further.
//!
//! Every node answers for the endpoints, and may get what only one of them can handle: ESP under an association that it
//! has not heard of yet, IKE of a negotiation that another node's daemon leads. Whose it is says the SPI. The packet
//! travels in UDP from data address to data address, unchanged from its IP header on, TTL included: the owner handles it
//! as if it had come by its own wire, and answers the customer directly.
//!
//! What shows that a packet comes from a node is its source address, and a token in the clear: enough against whoever
//! cannot see the fleet's traffic, and what could be forged with it, a packet to an endpoint, anybody may send anyway.
//!
//! A packet is never handed on twice, so nodes that disagree about an owner cannot make a loop. `locate` decides what
//! comes here; a packet that finds its association never does.

mod receive;
mod send;

pub(crate) use receive::{receive, terminate};
pub(crate) use send::RescueBudget;
