//! The rows of `show routes`, and the states of neighbours.

use crate::api::{HopKind, HopRow, NeighborState, RouteRow, RouteSource};
use crate::compile::{self, RouteView, WayKind, WayView};
use crate::kernel::state::NeighbourState;

pub(super) fn route_row(tenant: String, route: RouteView) -> RouteRow {
    RouteRow {
        tenant,
        prefix: route.prefix,
        source: match route.source {
            compile::RouteSource::Config => RouteSource::Config,
            compile::RouteSource::Kernel => RouteSource::Kernel,
            compile::RouteSource::Neighbour => RouteSource::Neighbor,
            compile::RouteSource::Local => RouteSource::Local,
            compile::RouteSource::Endpoint => RouteSource::Endpoint,
        },
        hops: route.ways.into_iter().map(hop_row).collect(),
    }
}

fn hop_row(way: WayView) -> HopRow {
    HopRow {
        kind: match way.kind {
            WayKind::Tunnel => HopKind::Tunnel,
            WayKind::Adjacency => HopKind::Adjacency,
            WayKind::Unresolved => HopKind::Unresolved,
            WayKind::Endpoint => HopKind::Endpoint,
            WayKind::Local => HopKind::Local,
            WayKind::Table => HopKind::Table,
            WayKind::Link => HopKind::Link,
            WayKind::Blackhole => HopKind::Blackhole,
            WayKind::Unreachable => HopKind::Unreachable,
            WayKind::NoRoute => HopKind::None,
        },
        via: way.via,
        priority: way.priority,
        penalty: way.penalty,
        weight: u32::from(way.weight),
        active: way.active,
        reason: (!way.active).then(|| match way.penalty {
            0 => "another way has a lower priority number".to_owned(),
            penalty => format!("the tunnel is not healthy: {penalty} is added to its priority"),
        }),
    }
}

pub(super) fn neighbor_state(state: NeighbourState) -> NeighborState {
    match state {
        NeighbourState::Incomplete => NeighborState::Incomplete,
        NeighbourState::Reachable => NeighborState::Reachable,
        NeighbourState::Stale => NeighborState::Stale,
        NeighbourState::Delay => NeighborState::Delay,
        NeighbourState::Probe => NeighborState::Probe,
        NeighbourState::Failed => NeighborState::Failed,
        NeighbourState::Permanent => NeighborState::Permanent,
    }
}
