//! Ports: the devices' own counters.

use std::fmt;

use super::table::{Metric, Row, Value, counter, gauge, some};
use crate::api::PortRow;

/// Bytes a second of a megabit a second.
const BYTES_OF_MBPS: u64 = 1_000_000 / 8;

impl Row for PortRow {
    const LABELS: &'static [&'static str] = &["port"];

    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        with(&self.name)
    }
}

pub(super) const PORTS: &[Metric<PortRow>] = &[
    gauge("port_up", "1 while the link is up", |p| some(p.link.up)),
    gauge("port_speed_bytes_per_second", "Speed of the link, where the device knows it", |p| {
        p.link.speed_mbps.map(|mbps| Value::Whole(u64::from(mbps) * BYTES_OF_MBPS))
    }),
    counter("port_receive_packets", "Packets given to workers", |p| some(p.counters.rx_packets)),
    counter("port_receive_bytes", "Bytes of the packets given to workers", |p| some(p.counters.rx_bytes)),
    counter("port_receive_missed_packets", "Packets lost because the receive ring was full", |p| {
        some(p.counters.rx_missed)
    }),
    counter("port_receive_no_buffer_packets", "Packets lost because no packet buffer was free", |p| {
        some(p.counters.rx_no_buffer)
    }),
    counter("port_receive_errors", "Packets broken on the wire", |p| some(p.counters.rx_errors)),
    counter("port_transmit_packets", "Packets sent", |p| some(p.counters.tx_packets)),
    counter("port_transmit_bytes", "Bytes of the packets sent", |p| some(p.counters.tx_bytes)),
    counter("port_transmit_errors", "Packets that the device refused to send", |p| {
        some(p.counters.tx_errors)
    }),
];
