//! A packet's way in words: one line for each stage that decided something.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use penstock_dataplane::ids::{AdjacencyId, EndpointId, InterfaceId, TunnelId, VrfId};
use penstock_dataplane::tables::{Hop, HopKind};
use penstock_dataplane::watch::{End, Journey, Origin, Step};

use super::Clock;
use super::summary::summary;
use crate::api::{TraceRow, TraceStep};
use crate::compile::Names;

/// Routes that were asked for: the table and the address, and the prefix that covers it.
pub type Prefixes = HashMap<(VrfId, IpAddr), Option<IpNet>>;

/// What it takes to put a packet's way into words.
pub struct Describer<'a> {
    /// What numbers mean.
    pub names: &'a Names,
    /// The ports, by number.
    pub ports: &'a [String],
    /// The cores, by worker.
    pub cores: &'a [u16],
    /// What routes matched, as far as known.
    pub prefixes: &'a Prefixes,
    /// When cycles were.
    pub clock: Clock,
}

impl Describer<'_> {
    /// The look-ups of a packet's way whose prefixes it takes to describe it.
    pub fn lookups(journey: &Journey) -> impl Iterator<Item = (VrfId, IpAddr)> {
        let found = journey.steps.iter().map(|step| match *step {
            Step::LookedUp { vrf, behind, dst, v6, .. } => {
                let address = address(dst, v6);
                [Some((vrf, address)), behind.map(|behind| (behind, address))]
            }
            _ => [None, None],
        });
        found.flatten().flatten()
    }

    /// One packet's way.
    pub fn row(&self, journey: &Journey) -> TraceRow {
        let mut steps = vec![step("came", self.origin(journey.origin))];
        steps.extend(journey.steps.iter().map(|step| self.step(step)));
        let (end, text) = self.end(journey.end);
        steps.push(step(end, text));
        let is_frame = matches!(
            journey.origin,
            Origin::Received { .. } | Origin::Injected { .. } | Origin::Queued { .. }
        );
        let core = self.cores.get(usize::from(journey.worker)).copied().unwrap_or_default();
        let arrived = &journey.arrived;
        TraceRow {
            core,
            packet: journey.number,
            time_ns: self.clock.date(journey.begun).as_nanos() as u64,
            summary: summary(arrived.bytes(), is_frame, arrived.total_len()),
            steps,
            end: end.to_owned(),
            reason: match journey.end {
                End::Dropped(reason) => Some(reason.name().to_owned()),
                _ => None,
            },
            tunnel_in: journey.tunnel_in.map(|tunnel| self.names.tunnel(tunnel)),
            tunnel_out: journey.tunnel_out.map(|tunnel| self.names.tunnel(tunnel)),
        }
    }

    fn port(&self, number: usize) -> String {
        self.ports.get(number).cloned().unwrap_or_else(|| format!("port {number}"))
    }

    fn origin(&self, origin: Origin) -> String {
        match origin {
            Origin::Received { port, queue } => {
                format!("received by {}, queue {queue}", self.port(port.index()))
            }
            Origin::Injected { port } => format!("sent by the kernel's twin of {}", self.port(port.index())),
            Origin::HandedIn { worker } => match self.cores.get(usize::from(worker)) {
                Some(core) => format!("handed over by core {core}"),
                None => "handed over by another core".to_owned(),
            },
            Origin::IcmpError => "an ICMP error, made here".to_owned(),
            Origin::Probe => "a health probe, made here".to_owned(),
            Origin::Piece => "a piece of a packet that was cut here".to_owned(),
            Origin::Queued { port } => format!("waited for {}", self.port(port.index())),
            Origin::Fragment => "a fragment that waited for the rest of its packet".to_owned(),
        }
    }

    fn step(&self, of: &Step) -> TraceStep {
        let names = self.names;
        match *of {
            Step::Classified { interface, vrf } => step(
                "classify",
                format!("interface {}, table {}", names.interface(interface), names.table(vrf)),
            ),
            Step::LookedUp { vrf, behind, dst, v6, hop, of_group } => {
                let dst = address(dst, v6);
                let behind =
                    behind.map(|behind| format!(" → {}", self.route(behind, dst))).unwrap_or_default();
                let shared = if of_group { ", by its flow one of several ways" } else { "" };
                let text = format!("{dst}: {}{behind} → {}{shared}", self.route(vrf, dst), self.hop(hop));
                step("route", text)
            }
            Step::Reassembling => step("reassemble", "a fragment: waits for the rest of its packet"),
            Step::Reassembled => step("reassemble", "the rest had come before: whole from here on"),
            Step::Association { tunnel, spi, sequence } => step(
                "locate",
                format!("ESP of tunnel {}, SPI {spi:#010x}, number {sequence}", names.tunnel(tunnel)),
            ),
            Step::CameOut { tunnel, len } => {
                step("decap", format!("out of tunnel {}, {len} bytes inside", names.tunnel(tunnel)))
            }
            Step::KeepaliveAnswered => step("decap", "a GRE keepalive: what is inside goes back"),
            Step::PingAnswered => step("answer_ping", "a ping of our address: from here on the reply"),
            Step::RescuedIn => step("rescue", "handed over by another node: what is inside, from here on"),
            Step::RescuedOut { node } => step("rescue", format!("to node number {node}, whose it is")),
            Step::Forwarded { adjacency, mss } => {
                step("forward", format!("plain to {}{}", names.next_hop(adjacency), clamped(mss)))
            }
            Step::IntoTunnel { tunnel, mss } => {
                step("tunnel", format!("into {}{}", names.tunnel(tunnel), clamped(mss)))
            }
            Step::Encapsulated { adjacency, len } => {
                step("encap", format!("GRE, {len} bytes, to {}", names.next_hop(adjacency)))
            }
            Step::Sealed { adjacency, spi, sequence, len } => {
                let to = names.next_hop(adjacency);
                step("seal", format!("ESP, SPI {spi:#010x}, number {sequence}, {len} bytes, to {to}"))
            }
            Step::TooBig { mtu, into_tunnel } => {
                let of = if into_tunnel { "tunnel" } else { "link" };
                step("mtu", format!("larger than the {of}'s MTU of {mtu} bytes"))
            }
            Step::Expired => step("ttl", "no hop left"),
            Step::ForKernel => step("punt", "to an address of ours: the kernel's"),
        }
    }

    fn route(&self, vrf: VrfId, dst: IpAddr) -> String {
        let table = self.names.table(vrf);
        match self.prefixes.get(&(vrf, dst)) {
            Some(Some(prefix)) => format!("{table}: {prefix}"),
            _ => table,
        }
    }

    fn hop(&self, hop: Hop) -> String {
        let slot = hop.slot();
        match hop.kind() {
            HopKind::NoRoute => "no route".to_owned(),
            HopKind::Adjacency => self.names.next_hop(AdjacencyId(slot)),
            HopKind::Tunnel => format!("tunnel {}", self.names.tunnel(TunnelId(slot))),
            HopKind::Endpoint => format!("endpoint {}", self.names.endpoint(EndpointId(slot as u16))),
            HopKind::Local => "the kernel".to_owned(),
            HopKind::Blackhole => "blackhole".to_owned(),
            HopKind::Unreachable => "unreachable".to_owned(),
            HopKind::TunnelAddress => {
                format!("our address in tunnel {}", self.names.tunnel(TunnelId(slot)))
            }
            HopKind::Group => "a group of ways".to_owned(),
            HopKind::Vrf => format!("table {}", self.names.table(VrfId(slot as u16))),
        }
    }

    fn end(&self, end: End) -> (&'static str, String) {
        match end {
            End::Sent { port } => ("sent", format!("by {}", self.port(port.index()))),
            End::Punted { interface } => ("punted", self.twin(interface)),
            End::Dropped(reason) => ("dropped", format!("{}: {}", reason.name(), reason.help())),
            End::Merged => ("merged", "waits for the rest of its packet".to_owned()),
            End::ProbeAnswer => ("answer", "answers a health probe; control has been told".to_owned()),
            End::HandedOn { worker } => (
                "handed_on",
                match self.cores.get(usize::from(worker)) {
                    Some(core) => format!("to core {core}"),
                    None => "to another core".to_owned(),
                },
            ),
            End::Cut { pieces, mtu } => ("cut", format!("into {pieces} pieces of at most {mtu} bytes")),
        }
    }

    fn twin(&self, interface: InterfaceId) -> String {
        format!("to the kernel's twin of {}", self.names.interface(interface))
    }
}

fn step(stage: &str, text: impl Into<String>) -> TraceStep {
    TraceStep { stage: stage.to_owned(), text: text.into() }
}

fn clamped(mss: Option<(u16, u16)>) -> String {
    match mss {
        None => String::new(),
        Some((from, to)) if from == to => format!("; MSS {from} stays"),
        Some((from, to)) => format!("; MSS {from} becomes {to}"),
    }
}

fn address(bits: u128, v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::from_bits(bits).into() } else { Ipv4Addr::from_bits(bits as u32).into() }
}
