//! One routing table: the routes it was last built from, so that it is built again only when they differ, and each
//! family alone.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use penstock_dataplane::tables::fib::{Address, Fib, FibError, Prefix, Prefix4, Prefix6};
use penstock_dataplane::tables::{Hop, RouteTable};

/// Routes in the order of rising precedence: the last of equal prefixes wins.
#[derive(Debug, Default)]
pub(super) struct Routes {
    v4: Vec<(Prefix4, u32)>,
    v6: Vec<(Prefix6, u32)>,
}

impl Routes {
    pub(super) fn add(&mut self, prefix: IpNet, hop: Hop) {
        self.add_value(prefix, hop.bits());
    }

    pub(super) fn add_value(&mut self, prefix: IpNet, value: u32) {
        match prefix {
            IpNet::V4(net) => {
                self.v4.extend(Prefix4::v4(net.network(), net.prefix_len()).map(|p| (p, value)))
            }
            IpNet::V6(net) => {
                self.v6.extend(Prefix6::v6(net.network(), net.prefix_len()).map(|p| (p, value)))
            }
        }
    }

    pub(super) fn add_host(&mut self, ip: IpAddr, hop: Hop) {
        self.add(IpNet::from(ip), hop);
    }
}

/// A table and what it was built from.
#[derive(Debug, Default)]
pub(super) struct Table {
    v4: Family<u32>,
    v6: Family<u128>,
}

#[derive(Debug, Default)]
struct Family<A: Address> {
    routes: Vec<(Prefix<A>, u32)>,
    fib: Arc<Fib<A>>,
}

impl<A: Address> Family<A> {
    /// Builds the table again if the routes are others; true when it did.
    fn update(&mut self, mut routes: Vec<(Prefix<A>, u32)>) -> Result<bool, FibError> {
        // Stable: of equal prefixes the last one stays the last.
        routes.sort_by_key(|(prefix, _)| *prefix);
        routes.reverse();
        routes.dedup_by_key(|(prefix, _)| *prefix);
        if routes == self.routes {
            return Ok(false);
        }
        self.fib = Arc::new(Fib::build(&routes)?);
        self.routes = routes;
        Ok(true)
    }
}

impl Table {
    /// Takes new routes; the table to publish when it changed.
    pub(super) fn update(&mut self, routes: Routes) -> Result<Option<RouteTable>, FibError> {
        let v4 = self.v4.update(routes.v4)?;
        let v6 = self.v6.update(routes.v6)?;
        let changed = v4 || v6;
        Ok(changed.then(|| RouteTable { v4: Arc::clone(&self.v4.fib), v6: Arc::clone(&self.v6.fib) }))
    }
}
