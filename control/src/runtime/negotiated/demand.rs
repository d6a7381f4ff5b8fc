//! What charon brings, in our terms; what we cannot do is refused in words that an operator can act on.

use penstock_dataplane::esp::replay::ReplayWindow;
use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::esp::selector::{Selectors, TrafficSelector};

use super::super::associations::specs::Agreed;
use super::super::backends::Backends;
use super::IkeTunnel;
use crate::ike::protocol::{
    AddSa, Direction, ErrorCode, PolicyAction, PolicySpec, Refused, TrafficSelectorSpec,
};

/// What an SA works with.
pub(super) fn agreed(sa: &AddSa, tunnel: Option<&IkeTunnel>, backends: &Backends) -> Result<Agreed, Refused> {
    let refused = |reason: String| Refused::new(ErrorCode::Refused, reason);
    let Some(tunnel) = tunnel else {
        return Err(refused(format!("no tunnel of the configuration has reqid {}", sa.reqid)));
    };
    let (tenant, name) = &tunnel.name;
    let of_tunnel = |reason: &dyn std::fmt::Display| refused(format!("tunnel {tenant}/{name}: {reason}"));
    let keys = sa.keys().map_err(|error| of_tunnel(&error))?;
    if sa.flags.esn && !tunnel.esn {
        return Err(of_tunnel(&"extended sequence numbers were negotiated, which it does not offer"));
    }
    let window = if sa.flags.inbound { tunnel.replay_window } else { tunnel.peer_replay_window };
    if sa.flags.esn && window == 0 {
        return Err(of_tunnel(
            &"extended sequence numbers need replay_window and peer_replay_window of 64 or more",
        ));
    }
    let selectors = selectors(sa).map_err(|reason| of_tunnel(&reason))?;
    if sa.flags.inbound && window > 0 {
        ReplayWindow::new(window, sa.flags.esn).map_err(|error| of_tunnel(&error))?;
    }
    Agreed::new(&keys, backends.of(keys.suite()), window, sa.flags.esn, selectors)
        .map_err(|error| Refused::new(ErrorCode::Internal, format!("tunnel {tenant}/{name}: {error}")))
}

/// What an SA of another node works with, whose tunnel may not be configured here yet. Nobody checks sequence numbers of an
/// SA that several nodes send under.
pub(super) fn shared(sa: &AddSa, backends: &Backends) -> Result<Agreed, Refused> {
    if sa.flags.esn || sa.replay_window > 0 {
        return Err(Refused::new(ErrorCode::Refused, "an SA with a replay window cannot be shared"));
    }
    let keys = sa.keys().map_err(|error| Refused::new(ErrorCode::Refused, error.to_string()))?;
    let selectors = selectors(sa).map_err(|reason| Refused::new(ErrorCode::Refused, reason))?;
    Agreed::new(&keys, backends.of(keys.suite()), 0, false, selectors)
        .map_err(|error| Refused::new(ErrorCode::Internal, error.to_string()))
}

/// charon names source and destination; we know our side and the customer's.
fn selectors(sa: &AddSa) -> Result<Selectors, String> {
    let (local, remote) = if sa.flags.inbound { (&sa.dst_ts, &sa.src_ts) } else { (&sa.src_ts, &sa.dst_ts) };
    let side = |side: &[TrafficSelectorSpec]| side.iter().map(selector).collect::<Result<Vec<_>, _>>();
    let (local, remote) = (side(local)?, side(remote)?);
    let (of_local, of_remote) = (local.len(), remote.len());
    Selectors::new(local, remote).ok_or_else(|| {
        format!(
            "{of_local} and {of_remote} traffic selectors were agreed on, the limit is {} a side: write larger prefixes \
             into its selectors",
            Selectors::MAX
        )
    })
}

fn selector(spec: &TrafficSelectorSpec) -> Result<TrafficSelector, String> {
    if spec.from_port > spec.to_port {
        return Err(
            "the peer insists on a traffic selector with opaque ports (RFC 7296 section 3.13.1)".into()
        );
    }
    Ok(TrafficSelector {
        first: spec.first,
        last: spec.last,
        protocol: (spec.protocol != 0).then_some(spec.protocol),
        ports: spec.from_port..=spec.to_port,
    })
}

/// The SPI that a policy has packets sent under. Other policies change nothing: what comes in is held to its SA's
/// selectors, and what has no SA is dropped.
pub(super) fn chosen(policy: &PolicySpec) -> Option<Spi> {
    let outbound = policy.direction == Direction::Out && policy.action == PolicyAction::Ipsec;
    policy.spi.filter(|_| outbound)
}
