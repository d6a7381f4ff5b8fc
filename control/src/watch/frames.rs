//! The frames and packets of a captured file that one packet's way makes: as it came, as it came out of a tunnel, as it went
//! into one, as it left. Each carries in words what became of it.

use std::fmt::Write;

use penstock_dataplane::ids::{PortId, TunnelId};
use penstock_dataplane::watch::{End, Journey, Origin, Piece};

use crate::compile::Names;

/// Where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// At a port: an Ethernet frame.
    Port(PortId),
    /// In a tunnel: an IP packet.
    Tunnel(TunnelId),
    /// Inside, of something that never was on a wire: an IP packet.
    Inside,
}

impl Place {
    /// Whether it begins with an Ethernet header.
    pub fn has_frames(self) -> bool {
        matches!(self, Self::Port(_))
    }
}

/// One entry of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Where.
    pub place: Place,
    /// On its way to us, or away.
    pub inbound: bool,
    /// Its bytes, as many as were kept.
    pub bytes: Vec<u8>,
    /// Bytes that it had.
    pub len: usize,
    /// What is known of it.
    pub comment: String,
}

/// All entries of one packet, with the times when they were seen, in cycles. `core` is its worker's.
pub fn frames(journey: &Journey, names: &Names, core: u16) -> Vec<(u64, Caught)> {
    let mut found = Vec::new();
    let mut add = |piece: &Piece, place, inbound, layer, tunnel: Option<TunnelId>| {
        let comment = comment(journey, names, core, inbound, layer, tunnel);
        let caught =
            Caught { place, inbound, bytes: piece.bytes().to_vec(), len: piece.total_len(), comment };
        found.push((piece.at(), caught));
    };
    let either = journey.tunnel_in.or(journey.tunnel_out);
    let is_dropped = matches!(journey.end, End::Dropped(_));
    let wants_frames = journey.arrived.is_there() || journey.left.is_there();
    match journey.origin {
        Origin::Received { port, .. } if journey.arrived.is_there() => {
            add(&journey.arrived, Place::Port(port), true, "outer", either);
        }
        // It is seen when it leaves; what does not leave has been seen nowhere else.
        Origin::Injected { port } | Origin::Queued { port } if is_dropped && journey.arrived.is_there() => {
            add(&journey.arrived, Place::Port(port), false, "outer", either);
        }
        Origin::HandedIn { .. } | Origin::IcmpError | Origin::Piece | Origin::Probe
            if is_dropped && wants_frames =>
        {
            add(&journey.arrived, Place::Inside, false, "outer", either);
        }
        Origin::Fragment => {
            let at = journey.ended;
            let comment = comment(journey, names, core, true, "outer", None);
            let place = Place::Inside;
            return vec![(at, Caught { place, inbound: true, bytes: Vec::new(), len: 0, comment })];
        }
        _ => {}
    }
    if let Some(tunnel) = journey.tunnel_in.filter(|_| journey.came_out.is_there()) {
        add(&journey.came_out, Place::Tunnel(tunnel), true, "inner", Some(tunnel));
    }
    if let Some(tunnel) = journey.tunnel_out.filter(|_| journey.went_in.is_there()) {
        add(&journey.went_in, Place::Tunnel(tunnel), false, "inner", Some(tunnel));
    }
    if let End::Sent { port } = journey.end
        && journey.left.is_there()
    {
        let tunnel = journey.tunnel_out.or(journey.tunnel_in);
        add(&journey.left, Place::Port(port), false, "outer", tunnel);
    }
    found
}

/// Words that a display filter finds: `frame.comment contains "reason=no_route"`.
fn comment(
    journey: &Journey,
    names: &Names,
    core: u16,
    inbound: bool,
    layer: &str,
    tunnel: Option<TunnelId>,
) -> String {
    let mut text = String::new();
    if let Some(tunnel) = tunnel {
        // Writing to a string cannot fail.
        let _ = write!(text, "tunnel={} ", names.tunnel(tunnel));
    }
    let direction = if inbound { "in" } else { "out" };
    let _ = write!(text, "direction={direction} layer={layer} core={core} packet={}", journey.number);
    let _ = match journey.end {
        End::Sent { .. } => write!(text, " end=sent"),
        End::Punted { interface } => write!(text, " end=punted twin={}", names.interface(interface)),
        End::Dropped(reason) => write!(text, " end=dropped reason={}: {}", reason.name(), reason.help()),
        End::Merged => write!(text, " end=merged"),
        End::ProbeAnswer => write!(text, " end=probe_answer"),
        End::HandedOn { .. } => write!(text, " end=handed_on"),
        End::Cut { pieces, mtu } => write!(text, " end=cut pieces={pieces} mtu={mtu}"),
    };
    text
}
