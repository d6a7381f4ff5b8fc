//! What is measured: a case, the size of its packets and the size of its tables.

use clap::ValueEnum;

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
}

impl Case {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 5] =
        [Self::Forward, Self::GreEncap, Self::GreDecap, Self::GreEncapSyn, Self::GreTransit];

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::GreEncap => "gre-encap",
            Self::GreDecap => "gre-decap",
            Self::GreEncapSyn => "gre-encap-syn",
            Self::GreTransit => "gre-transit",
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
        }
    }

    /// Packets come in by a tunnel.
    pub fn comes_from_tunnel(self) -> bool {
        matches!(self, Self::GreDecap | Self::GreTransit)
    }

    /// Packets go out by a tunnel.
    pub fn into_tunnel(self) -> bool {
        matches!(self, Self::GreEncap | Self::GreEncapSyn | Self::GreTransit)
    }
}

/// One measurement's parameters.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What happens to each packet.
    pub case: Case,
    /// Bytes of the inner IP packet.
    pub size: usize,
    /// Tunnels that packets come from or go to; transit has as many of each.
    pub tunnels: usize,
    /// Different flows; with fewer of them than tunnels, each flow is of a tunnel far from the next one's.
    pub flows: usize,
    /// Routes of the Internet's table; 1 is a default route.
    pub routes: usize,
    /// Tunnels accept only their tenant's sources.
    pub source_filter: bool,
}

impl Scenario {
    /// Inbound security associations.
    pub fn associations(&self) -> usize {
        0
    }

    /// Tunnels in the tables.
    pub fn all_tunnels(&self) -> usize {
        match self.case {
            Case::Forward => 1,
            Case::GreTransit => self.tunnels * 2,
            _ => self.tunnels,
        }
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
