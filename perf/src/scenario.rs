//! What is measured: a case, the size of its packets and the size of its tables.

use std::str::FromStr;

use clap::ValueEnum;
use penstock_dataplane::esp::cipher::Backend;
use penstock_dataplane::esp::suite::Suite;

use crate::args::Hugepages;

/// What happens to each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Plain forwarding: route, TTL, layer 2 rewrite.
    Forward,
    /// From the Internet to a tenant's prefix, into its GRE tunnel.
    GreEncap,
    /// Out of a GRE tunnel, on to the Internet.
    GreDecap,
    /// As gre-encap, every packet a TCP SYN whose MSS is lowered.
    GreEncapSyn,
    /// Out of one GRE tunnel, into another.
    GreTransit,
    /// As gre-encap, but the tunnel is ESP.
    EspEncap,
    /// Out of an ESP tunnel, on to the Internet.
    EspDecap,
    /// Out of one ESP tunnel, into another.
    EspTransit,
}

impl Case {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 8] = [
        Self::Forward,
        Self::GreEncap,
        Self::GreDecap,
        Self::GreEncapSyn,
        Self::GreTransit,
        Self::EspEncap,
        Self::EspDecap,
        Self::EspTransit,
    ];

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::GreEncap => "gre-encap",
            Self::GreDecap => "gre-decap",
            Self::GreEncapSyn => "gre-encap-syn",
            Self::GreTransit => "gre-transit",
            Self::EspEncap => "esp-encap",
            Self::EspDecap => "esp-decap",
            Self::EspTransit => "esp-transit",
        }
    }

    /// One line for `list`.
    pub fn about(self) -> &'static str {
        match self {
            Self::Forward => "route, TTL, layer 2 rewrite",
            Self::GreEncap => "Internet to a tenant's prefix: two look-ups, into its tunnel",
            Self::GreDecap => "endpoint to the Internet: three look-ups, out of the tunnel, source filter",
            Self::GreEncapSyn => "gre-encap, every packet a TCP SYN whose MSS is lowered",
            Self::GreTransit => "out of one tunnel, into another",
            Self::EspEncap => "gre-encap, but the tunnel is ESP",
            Self::EspDecap => "gre-decap, but the tunnel is ESP",
            Self::EspTransit => "gre-transit, but both tunnels are ESP",
        }
    }

    /// The tunnels are ESP.
    pub fn is_esp(self) -> bool {
        matches!(self, Self::EspEncap | Self::EspDecap | Self::EspTransit)
    }

    /// Packets come in by a tunnel.
    pub fn comes_from_tunnel(self) -> bool {
        matches!(self, Self::GreDecap | Self::GreTransit | Self::EspDecap | Self::EspTransit)
    }

    /// Packets go out by a tunnel.
    pub fn into_tunnel(self) -> bool {
        !matches!(self, Self::Forward | Self::GreDecap | Self::EspDecap)
    }

    /// Packets come in by one tunnel and go out by another.
    pub fn is_transit(self) -> bool {
        self.comes_from_tunnel() && self.into_tunnel()
    }
}

/// Bytes of the inner IP packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All alike.
    Bytes(usize),
    /// Of twelve flows seven have 64 bytes, four 594, and one 1400.
    Imix,
}

/// A mix with the proportions that are known as the simple IMIX; the largest fits every tunnel.
const IMIX: [usize; 12] = [64, 594, 64, 64, 594, 64, 1400, 64, 594, 64, 594, 64];

impl Size {
    /// Bytes of a flow's packets.
    pub fn of(self, flow: usize) -> usize {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Imix => IMIX[flow % IMIX.len()],
        }
    }

    /// Bytes of a packet on average over so many flows.
    pub fn mean(self, flows: usize) -> f64 {
        (0..flows).map(|flow| self.of(flow)).sum::<usize>() as f64 / flows as f64
    }
}

impl FromStr for Size {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "imix" { Ok(Self::Imix) } else { text.parse().map(Self::Bytes) }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Imix => f.pad("imix"),
        }
    }
}

/// What an ESP case's tunnels have.
#[derive(Clone, Copy, Debug)]
pub struct Protection {
    /// Algorithms.
    pub suite: Suite,
    /// Who does the arithmetic.
    pub backend: Backend,
    /// Sequence numbers in the replay window: ours for packets that come in; that the peer has one makes the workers
    /// share a counter for what goes out.
    pub window: Option<u32>,
}

/// One measurement's parameters.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What happens to each packet.
    pub case: Case,
    /// Bytes of the inner IP packet.
    pub size: Size,
    /// Tunnels that packets come from or go to; transit has as many of each.
    pub tunnels: usize,
    /// Different flows; with fewer of them than tunnels, each flow is of a tunnel far from the next one's.
    pub flows: usize,
    /// Routes of the Internet's table; 1 is a default route.
    pub routes: usize,
    /// Tunnels accept only their tenant's sources.
    pub source_filter: bool,
    /// Used by ESP cases.
    pub protection: Protection,
}

impl Scenario {
    /// Tunnels in the tables.
    pub fn all_tunnels(&self) -> usize {
        match self.case {
            Case::Forward => 1,
            case if case.is_transit() => self.tunnels * 2,
            _ => self.tunnels,
        }
    }

    /// The tunnels that have an inbound association.
    pub fn inbound(&self) -> std::ops::Range<usize> {
        let is_used = self.case.is_esp() && self.case.comes_from_tunnel();
        0..if is_used { self.tunnels } else { 0 }
    }

    /// The tunnels that have an outbound association.
    pub fn outbound(&self) -> std::ops::Range<usize> {
        let all = self.all_tunnels();
        if self.case.is_esp() && self.case.into_tunnel() { self.inbound().end..all } else { all..all }
    }

    /// Packets that come in are checked for replays, so no packet may come in twice.
    pub fn checks_replays(&self) -> bool {
        self.protection.window.is_some() && !self.inbound().is_empty()
    }
}

/// Where it is measured.
#[derive(Clone, Debug)]
pub struct Machine {
    /// One core for each worker.
    pub cores: Vec<usize>,
    /// Hugepages, or plain memory.
    pub hugepages: Hugepages,
    /// Bytes of data in a packet buffer.
    pub mbuf_size: u16,
    /// Measured rounds.
    pub rounds: usize,
    /// Packets of a round.
    pub packets: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_seven_four_one() {
        let count = |bytes| (0..24).filter(|flow| Size::Imix.of(*flow) == bytes).count();
        assert_eq!([64, 594, 1400].map(count), [14, 8, 2]);
        assert_eq!(Size::Imix.mean(12), 352.0);
        assert_eq!("imix".parse(), Ok(Size::Imix));
        assert_eq!("512".parse(), Ok(Size::Bytes(512)));
        assert!("big".parse::<Size>().is_err());
    }
}
