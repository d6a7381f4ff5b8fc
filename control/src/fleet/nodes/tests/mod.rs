//! Who lives, who has applied what, and how it is heard: without a store, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod barrier;
mod members;
mod model;
mod sockets;

use std::net::IpAddr;

use penstock_fleet::names::{Name, NodeNumber};
use penstock_fleet::peer::Incarnation;

use super::node_record::NodeRecord;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A node's record; its incarnation is its number's thousandfold.
fn record(node: &str, number: u16) -> NodeRecord {
    NodeRecord {
        name: name(node),
        number: NodeNumber(number),
        incarnation: Incarnation(u64::from(number) * 1000),
        address: IpAddr::from([127, 0, 0, number as u8]),
        port: 4790,
        started: 1_800_000_000_000,
        clock: 1_800_000_000_000,
        version: "0.1.0".into(),
        ready: true,
        applied: 0,
    }
}
