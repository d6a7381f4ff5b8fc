//! The twins, addresses and static routes that the kernel's side should have.

use super::Compiler;
use crate::config::{UnderlayRoute, UnderlayVia};
use crate::kernel::plan::{NextHopPlan, RouteAction, RoutePlan, TwinPlan};

impl Compiler {
    /// The plan for the kernel's side.
    pub fn twin_plan(&self) -> TwinPlan {
        TwinPlan {
            interfaces: self.links.plan(),
            local_addresses: self.config.endpoints.values().copied().collect(),
            routes: routes(&self.config.routes),
        }
    }
}

/// Routes with one prefix become one route with several next hops.
fn routes(configured: &[UnderlayRoute]) -> Vec<RoutePlan> {
    let mut sorted: Vec<&UnderlayRoute> = configured.iter().collect();
    sorted.sort_by_key(|route| route.prefix);
    let same_prefix = |a: &&UnderlayRoute, b: &&UnderlayRoute| a.prefix == b.prefix;
    sorted
        .chunk_by(same_prefix)
        .filter_map(|routes| {
            let prefix = routes.first()?.prefix;
            let discards = |via| routes.iter().any(|route| route.via == via);
            let action = if discards(UnderlayVia::Blackhole) {
                RouteAction::Blackhole
            } else if discards(UnderlayVia::Unreachable) {
                RouteAction::Unreachable
            } else {
                RouteAction::Forward(routes.iter().filter_map(|route| next_hop(route)).collect())
            };
            Some(RoutePlan { prefix, action, metric: None })
        })
        .collect()
}

fn next_hop(route: &UnderlayRoute) -> Option<NextHopPlan> {
    let UnderlayVia::Router(via) = route.via else { return None };
    let interface = route.interface.as_ref().map(ToString::to_string);
    Some(NextHopPlan { via: Some(via), interface, weight: route.weight })
}
