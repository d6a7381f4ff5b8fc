//! Source filters: which inner sources a tunnel accepts.

use ipnet::IpNet;
use penstock_dataplane::ids::FilterId;
use penstock_dataplane::tables::fib::Prefix4;
use penstock_dataplane::tables::{self, Snapshot};

use super::error::CompileError;
use super::slots::Slots;
use super::table::{Routes, Table};
use crate::config::{SourceFilter, TenantConfig, Via};
use crate::health;

/// "Accepted", as a filter's table says it.
const ACCEPTED: u32 = 1;

/// The filter of a tenant, or of one tunnel with a list of its own.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// `None`: everything is accepted.
    id: Option<FilterId>,
    table: Table,
}

impl Filter {
    pub(super) fn id(&self) -> Option<FilterId> {
        self.id
    }

    /// Accepts exactly these prefixes; true when the number of the filter changed.
    pub(super) fn accept(
        &mut self,
        prefixes: &[IpNet],
        owner: &str,
        slots: &mut Slots,
        tables: &mut Snapshot,
        errors: &mut Vec<CompileError>,
    ) -> bool {
        let everything = |v4: bool| prefixes.iter().any(|p| p.prefix_len() == 0 && p.addr().is_ipv4() == v4);
        if everything(true) && everything(false) {
            return self.remove(slots, tables);
        }
        let before = self.id;
        if self.id.is_none() {
            let Some(slot) = slots.take() else {
                errors.push(CompileError::NoSlot { what: format!("the source filter of {owner}") });
                return false;
            };
            self.id = Some(FilterId(slot));
            // The table may be empty: then nothing is accepted, and that must be said, too.
            tables.set_filter(FilterId(slot), tables::SourceFilter::default());
            self.table = Table::default();
        }
        let mut routes = Routes::default();
        prefixes.iter().for_each(|prefix| routes.add_value(prefix.trunc(), ACCEPTED));
        match (self.table.update(routes), self.id) {
            (Ok(Some(table)), Some(id)) => {
                tables.set_filter(id, tables::SourceFilter::new(table, widest(prefixes)))
            }
            (Ok(_), _) => {}
            (Err(source), _) => errors.push(CompileError::Filter { owner: owner.to_owned(), source }),
        }
        self.id != before
    }

    /// Accepts everything from now on; true when it did not before.
    pub(super) fn remove(&mut self, slots: &mut Slots, tables: &mut Snapshot) -> bool {
        let Some(id) = self.id.take() else { return false };
        tables.set_filter(id, tables::SourceFilter::default());
        slots.release(id.0);
        self.table = Table::default();
        true
    }
}

/// The shortest IPv4 prefix.
fn widest(prefixes: &[IpNet]) -> Option<Prefix4> {
    let v4 = prefixes.iter().filter_map(|prefix| match prefix {
        IpNet::V4(net) => Some(net.trunc()),
        IpNet::V6(_) => None,
    });
    let shortest = v4.min_by_key(ipnet::Ipv4Net::prefix_len)?;
    Prefix4::new(shortest.network().into(), shortest.prefix_len()).ok()
}

/// The sources that may come out of a tenant's tunnels: its public prefixes, those that it has routes to through
/// tunnels, the tunnels' own links, and who answers their health probes.
pub(super) fn of_tenant(tenant: &TenantConfig) -> Vec<IpNet> {
    let mut prefixes: Vec<IpNet> = tenant.prefixes.clone();
    let routed = tenant.routes.iter().filter(|route| matches!(route.via, Via::Tunnel(_)));
    prefixes.extend(routed.map(|route| route.prefix));
    prefixes.extend(tenant.tunnels.values().flat_map(|tunnel| &tunnel.address).map(IpNet::trunc));
    prefixes.extend(tenant.tunnels.values().filter_map(health::target_inside).map(IpNet::from));
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

/// Whether any tunnel uses the tenant's filter.
pub(super) fn is_used(tenant: &TenantConfig) -> bool {
    tenant.tunnels.values().any(|tunnel| tunnel.source_filter == SourceFilter::Tenant)
}
