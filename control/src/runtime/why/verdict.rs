//! What became of the packet that was made up, in sentences, and what to do about it.

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::ids::{TunnelId, VrfId};
use penstock_dataplane::tables::HopKind;
use penstock_dataplane::watch::{End, Journey, Origin, Step};

use crate::api::{WhyOutcome, WhyRequest};
use crate::compile::Names;
use crate::config::Name;

/// The answer in short.
pub(super) struct Verdict {
    pub(super) outcome: WhyOutcome,
    pub(super) text: String,
    pub(super) reason: Option<DropReason>,
    pub(super) fix: Option<String>,
}

/// The tunnel that a packet's last look-up led to.
pub(super) fn tunnel_looked_up(journey: &Journey) -> Option<TunnelId> {
    journey.steps.iter().rev().find_map(|step| match step {
        Step::LookedUp { hop, .. } => (hop.kind() == HopKind::Tunnel).then_some(TunnelId(hop.slot())),
        _ => None,
    })
}

/// The table of a packet's last look-up.
fn last_table(journey: &Journey) -> Option<VrfId> {
    journey.steps.iter().rev().find_map(|step| match step {
        Step::LookedUp { vrf, behind, .. } => Some(behind.unwrap_or(*vrf)),
        _ => None,
    })
}

/// Judges all packets that came of one; the first is that one itself.
pub(super) fn verdict(
    journeys: &[Journey],
    names: &Names,
    ports: &[String],
    request: &WhyRequest,
    tenant: &Name,
) -> Verdict {
    let ours = |journey: &&Journey| journey.origin != Origin::IcmpError;
    let dropped = journeys.iter().filter(ours).find(|journey| matches!(journey.end, End::Dropped(_)));
    if let Some(journey) = dropped
        && let End::Dropped(reason) = journey.end
    {
        let mut text = format!("Dropped as {}. {}", reason.name(), reason.help());
        let told = journeys.iter().find(|journey| journey.origin == Origin::IcmpError);
        if told.is_some_and(|told| matches!(told.end, End::Sent { .. })) {
            text.push_str(" The sender gets an ICMP error.");
        }
        let fix = fix(reason, journey, names, request, tenant);
        return Verdict { outcome: WhyOutcome::Dropped, text, reason: Some(reason), fix };
    }
    let sent = journeys.iter().filter(ours).filter(|journey| matches!(journey.end, End::Sent { .. })).count();
    let punted = journeys.iter().find_map(|journey| match journey.end {
        End::Punted { interface } => Some(interface),
        _ => None,
    });
    let is_sent = |journey: &&Journey| matches!(journey.end, End::Sent { .. });
    let (outcome, text) = match journeys.iter().filter(ours).find(is_sent) {
        Some(journey) => {
            let way =
                into(journeys, names).map(|words| format!("goes into {words} and ")).unwrap_or_default();
            let cut = if sent > 1 { format!(" It is cut into {sent} pieces.") } else { String::new() };
            let (from, by) = (out_of(journeys, names), by(journey, ports));
            (WhyOutcome::Forwarded, format!("Forwarded: it {from}{way}leaves{by}.{cut}"))
        }
        None => {
            let twin = punted.map(|interface| names.interface(interface)).unwrap_or_default();
            if is_through_kernel(journeys) {
                let why = "the next hop's MAC address is not known yet";
                let text =
                    format!("Forwarded through the kernel: {why}, and the twin of {twin} asks for it.");
                (WhyOutcome::Forwarded, text)
            } else {
                (WhyOutcome::Delivered, format!("Delivered: the kernel's twin of {twin} gets it."))
            }
        }
    };
    Verdict { outcome, text, reason: None, fix: None }
}

/// Whether a packet was on its way to a neighbour that is not resolved.
fn is_through_kernel(journeys: &[Journey]) -> bool {
    journeys.iter().filter(|journey| matches!(journey.end, End::Punted { .. })).any(|journey| {
        journey.steps.iter().any(|step| {
            matches!(step, Step::Forwarded { .. } | Step::Encapsulated { .. } | Step::Sealed { .. })
        })
    })
}

fn out_of(journeys: &[Journey], names: &Names) -> String {
    let tunnel = journeys.iter().find_map(|journey| journey.tunnel_in);
    tunnel.map(|tunnel| format!("comes out of tunnel {}, ", names.tunnel(tunnel))).unwrap_or_default()
}

fn into(journeys: &[Journey], names: &Names) -> Option<String> {
    let journey = journeys.iter().find(|journey| journey.tunnel_out.is_some())?;
    let mut text = format!("tunnel {}", names.tunnel(journey.tunnel_out?));
    let mss = journey.steps.iter().find_map(|step| match step {
        Step::IntoTunnel { mss, .. } => *mss,
        _ => None,
    });
    if let Some((from, to)) = mss.filter(|(from, to)| from != to) {
        text.push_str(&format!(", its MSS lowered from {from} to {to},"));
    }
    Some(text)
}

fn by(journey: &Journey, ports: &[String]) -> String {
    let End::Sent { port } = journey.end else { return String::new() };
    let port = ports.get(port.index()).cloned().unwrap_or_default();
    format!(" by {port}, a frame of {} bytes", journey.left.total_len())
}

/// What to do, where that can be said.
fn fix(
    reason: DropReason,
    journey: &Journey,
    names: &Names,
    request: &WhyRequest,
    tenant: &Name,
) -> Option<String> {
    let tunnel = tunnel_looked_up(journey).or(journey.tunnel_in).map(|tunnel| names.tunnel(tunnel));
    let tunnel = tunnel.unwrap_or_default();
    let table = last_table(journey).map(|vrf| names.table(vrf)).unwrap_or_default();
    let (src, dst) = (request.src, request.dst);
    Some(match reason {
        DropReason::NoRoute if table == tenant.as_str() => {
            format!("add a route that covers {dst} to tenants.{tenant}.routes")
        }
        DropReason::NoRoute => format!("add a route that covers {dst} to routes, or have BGP bring one"),
        DropReason::Blackhole | DropReason::Unreachable => {
            format!("remove the route of table {table} that covers {dst}, or add a longer one")
        }
        DropReason::SourceFilter => format!(
            "add a prefix that covers {src} to tenants.{tenant}.prefixes, or set source_filter of tunnel {tunnel}"
        ),
        DropReason::SourceInvalid => format!("{src} is no host's address: send from another one"),
        DropReason::TooBig => {
            let mtu = journey.steps.iter().find_map(|step| match step {
                Step::TooBig { mtu, .. } => Some(*mtu),
                _ => None,
            });
            let mtu = mtu.map_or_else(String::new, |mtu| format!(" {mtu}"));
            format!("send at most{mtu} bytes, or allow it to be fragmented (without --df)")
        }
        DropReason::TunnelDown => {
            format!(
                "tunnel {tunnel} has no way to its remote end: add a route to it, see `penstock show tunnels`"
            )
        }
        DropReason::TunnelLoop => {
            format!("{dst} is the tunnel's own far end: mend the routes of the customer's router")
        }
        DropReason::TunnelNested => format!("{dst} is an endpoint of ours: no tunnel ends inside a tunnel"),
        DropReason::TunnelAddress => format!("{dst} is ours, and answers only pings: use --proto icmp"),
        DropReason::EspNoSa => format!(
            "tunnel {tunnel} has no security association: see `penstock show ike` and `penstock show sas`"
        ),
        DropReason::EspNoLease | DropReason::EspIvExhausted => {
            "see `penstock show crypto`: it says why the workers may not encrypt".to_owned()
        }
        DropReason::EspSelector => format!(
            "widen the traffic selectors of tunnel {tunnel} so that they cover {src} and {dst}, or mend the routes"
        ),
        DropReason::NeighborUnresolved => "see `penstock show neighbors`".to_owned(),
        DropReason::HeaderSplit | DropReason::EspSplit | DropReason::NoTailroom => {
            "raise memory.mbuf_size".to_owned()
        }
        _ => return None,
    })
}
