//! A new configuration against the running one: what is gone is taken off the wire, what is new gets its numbers, what
//! differs is marked to be made again. Nothing that is the same in both is touched.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use penstock_dataplane::ids::{EndpointId, InterfaceId, VrfId};
use penstock_dataplane::ike::IkeLimits;
use penstock_dataplane::tables::{Limits, RouteTable};

use super::error::CompileError;
use super::links::{self, Link};
use super::tenants::TenantEntry;
use super::tunnels::Place;
use super::{Compiler, filters};
use crate::config::{Name, TenantConfig, ValidConfig};
use crate::health;

impl Compiler {
    /// Takes a new configuration. What needs a restart must not differ: ask [`crate::config::Difference::live`].
    pub fn configure(&mut self, config: ValidConfig) {
        let old = std::mem::replace(&mut self.config, config);
        let config = self.config.clone();
        // 1. What is gone goes first.
        let removed =
            self.tunnels.retain(&mut self.next_hops, &mut self.filter_slots, &mut self.tables, |entry| {
                config
                    .tenants
                    .get(&entry.tenant)
                    .is_some_and(|tenant| tenant.tunnels.contains_key(&entry.name))
            });
        self.changed |= removed;
        self.remove_tenants(&config);
        // 2. Numbers for what is new; a number never changes while its thing is configured.
        self.add_tenants(&config);
        self.number_endpoints(&config);
        self.connect(&config);
        // 3. What differs is made again.
        for (name, tenant) in &config.tenants {
            let before = old.tenants.get(name);
            let Some(entry) = self.tenants.get_mut(name) else { continue };
            // Neither table depends on more of a tunnel than its name, its addresses and its kind of filter.
            let tunnels_differ = before.is_none_or(|old| {
                old.tunnels.len() != tenant.tunnels.len()
                    || old.tunnels.iter().zip(&tenant.tunnels).any(|((old_name, old), (name, tunnel))| {
                        old_name != name || old.address != tunnel.address
                    })
            });
            let routes_differ = before.is_none_or(|old| old.routes != tenant.routes);
            let filter_differs = before.is_none_or(|old| {
                health_targets(old).ne(health_targets(tenant))
                    || old.prefixes != tenant.prefixes
                    || filters::is_used(old) != filters::is_used(tenant)
            });
            entry.keep_penalties(&tenant.tunnels);
            entry.dirty |= tunnels_differ || routes_differ;
            entry.filter_dirty |= tunnels_differ || routes_differ || filter_differs;
        }
        self.set_tunnels(&config);
        let public = config
            .tenants
            .iter()
            .filter_map(|(name, tenant)| Some((tenant, self.tenants.get(name)?.vrf)))
            .flat_map(|(tenant, vrf)| tenant.prefixes.iter().map(move |prefix| (*prefix, vrf)))
            .collect();
        let endpoints = config
            .endpoints
            .iter()
            .filter_map(|(name, ip)| Some((*ip, *self.endpoints.get(name)?)))
            .collect();
        self.underlay.set_config(public, endpoints);
        let limits = Limits {
            icmp_rate: config.icmp.rate,
            icmp_burst: config.icmp.burst,
            ike: IkeLimits { rate: config.ike.rate, source_rate: config.ike.source_rate },
            ..Limits::default()
        };
        self.changed |= limits != self.tables.limits;
        self.tables.limits = limits;
    }

    fn remove_tenants(&mut self, config: &ValidConfig) {
        let gone: Vec<Name> =
            self.tenants.keys().filter(|name| !config.tenants.contains_key(*name)).cloned().collect();
        for name in gone {
            let Some(entry) = self.tenants.remove(&name) else { continue };
            self.vrf_slots.release(u32::from(entry.vrf.0));
            entry.remove(&mut self.next_hops, &mut self.filter_slots, &mut self.tables);
            self.changed = true;
        }
    }

    fn add_tenants(&mut self, config: &ValidConfig) {
        for name in config.tenants.keys() {
            if self.tenants.contains_key(name) {
                continue;
            }
            match self.vrf_slots.take() {
                Some(slot) => {
                    let vrf = VrfId(slot as u16);
                    self.tables.set_vrf(vrf, RouteTable::default());
                    self.tenants.insert(name.clone(), TenantEntry::new(vrf));
                }
                None => self.errors.push(CompileError::NoSlot { what: format!("tenant {name}") }),
            }
        }
    }

    fn number_endpoints(&mut self, config: &ValidConfig) {
        let slots = &mut self.endpoint_slots;
        self.endpoints.retain(|name, id| {
            let stays = config.endpoints.contains_key(name);
            if !stays {
                slots.release(u32::from(id.0));
            }
            stays
        });
        for name in config.endpoints.keys() {
            if self.endpoints.contains_key(name) {
                continue;
            }
            match slots.take() {
                Some(slot) => drop(self.endpoints.insert(name.clone(), EndpointId(slot as u16))),
                None => self.errors.push(CompileError::NoSlot { what: format!("endpoint {name}") }),
            }
        }
    }

    /// Takes ports and VLANs. If any differs, all that hangs on them is made again; that is rare.
    fn connect(&mut self, config: &ValidConfig) {
        let wanted: Vec<_> = links::wanted(config).collect();
        let names: HashSet<_> = wanted.iter().map(|w| w.name.clone()).collect();
        let gone = self.links.retain(|name| names.contains(name));
        let mut changed = !gone.is_empty();
        for (_, link) in gone {
            self.tables.set_vrf(link.neighbours, RouteTable::default());
            self.vrf_slots.release(u32::from(link.neighbours.0));
        }
        for wanted in wanted {
            let no_slot = CompileError::NoSlot { what: format!("interface {}", wanted.name) };
            let Some(id) = self.links.number(&wanted.name) else {
                self.errors.push(no_slot);
                continue;
            };
            let known = self.links.get(id).map(|link| link.neighbours);
            let Some(neighbours) = known.or_else(|| self.vrf_slots.take().map(|slot| VrfId(slot as u16)))
            else {
                self.errors.push(no_slot);
                continue;
            };
            let vrf =
                wanted.tenant.and_then(|name| self.tenants.get(name)).map_or(VrfId::INTERNET, |t| t.vrf);
            changed |= self.links.set(
                id,
                Link {
                    name: wanted.name,
                    port: wanted.port,
                    mac: self.macs.get(wanted.port.index()).copied().unwrap_or_default(),
                    mtu: wanted.mtu,
                    tenant: wanted.tenant.cloned(),
                    vrf,
                    neighbours,
                    addresses: wanted.addresses.to_vec(),
                },
            );
        }
        if changed {
            self.links.match_twins();
            self.relink();
        }
    }

    /// Interfaces changed: everything that leads to one is made again.
    pub(super) fn relink(&mut self) {
        self.tables.interfaces = Arc::new(self.links.table());
        self.underlay.clear(&mut self.next_hops, &mut self.tables);
        let ids: Vec<InterfaceId> = self.links.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.underlay.add_link(&self.links, &mut self.next_hops, &mut self.tables, id);
        }
        let neighbours: Vec<_> = self.links.kernel.neighbours.keys().copied().collect();
        for (interface, ip) in neighbours {
            if let Some(id) = self.links.id_of(interface) {
                self.underlay.neighbour(&self.links, &mut self.next_hops, &mut self.tables, id, ip);
            }
        }
        for (prefix, route) in &self.links.kernel.routes {
            self.underlay.route(&self.links, &mut self.next_hops, &mut self.tables, *prefix, Some(route));
        }
        self.next_hops.rewrite_all(&self.links, &mut self.tables);
        self.next_hops.wanted_changed = true;
        self.tunnels.touch_all();
        self.nodes.dirty = true;
        self.tenants.values_mut().for_each(|entry| entry.dirty = true);
        self.changed = true;
    }

    fn set_tunnels(&mut self, config: &ValidConfig) {
        for (tenant_name, tenant) in &config.tenants {
            let Some(vrf) = self.tenants.get(tenant_name).map(|entry| entry.vrf) else { continue };
            for (name, tunnel) in &tenant.tunnels {
                let local = config.endpoints.get(&tunnel.endpoint);
                let endpoint = self.endpoints.get(&tunnel.endpoint);
                let (Some(local), Some(endpoint)) = (local, endpoint) else { continue };
                let place = Place { local: *local, endpoint: *endpoint, vrf };
                if self.tunnels.set(&mut self.tables, tenant_name, name, tunnel, place).is_none() {
                    self.errors
                        .push(CompileError::NoSlot { what: format!("tunnel {name} of {tenant_name}") });
                }
            }
        }
        self.tunnels.bind(&mut self.tables);
    }
}

/// Whose answers to health probes come out of a tenant's tunnels.
fn health_targets(tenant: &TenantConfig) -> impl Iterator<Item = IpAddr> {
    tenant.tunnels.values().filter_map(health::target_inside)
}
