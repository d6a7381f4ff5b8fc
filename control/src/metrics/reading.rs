//! One look at everything, and how it is written.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::format::Format;
use super::table::{Catalogue, Described, PREFIX, Visitor, Writer};
use super::{fleet, gateway, ike, ports, sas, tunnels, workers};
use crate::api::{CoreRole, CoreRow, Fleet, Gateway, IkeStatus, PortRow, SaFilter, TunnelFilter, TunnelRow};

/// All rows, as of one moment, or of one after the other: the lock is not held in between.
#[derive(Debug, Default)]
pub struct Reading {
    build: Vec<gateway::Build>,
    whole: Vec<gateway::Whole>,
    ports: Vec<PortRow>,
    workers: Vec<workers::WorkerRow>,
    drops: Vec<workers::DropOfCore>,
    pools: Vec<workers::Pool>,
    tunnels: Vec<TunnelRow>,
    infos: Vec<tunnels::Info>,
    sas: Vec<sas::Direction>,
    ike: Vec<IkeStatus>,
    ike_events: Vec<ike::Event>,
    fleet: Vec<Fleet>,
    fleet_sas: Vec<fleet::Sas>,
    propagation: Option<fleet::Propagation>,
}

impl Reading {
    /// Reads. Takes a while where there are many tunnels; not for the control thread.
    pub fn take(gateway: &dyn Gateway) -> Self {
        let all_tunnels = TunnelFilter { tenant: None, tunnel: None, state: None, limit: 0 };
        let all_sas = SaFilter { tenant: None, tunnel: None, limit: 0 };
        let status = gateway.status();
        let (cores, crypto) = (gateway.cores(), gateway.crypto());
        let cores: Vec<CoreRow> = cores.into_iter().filter(|core| core.role == CoreRole::Worker).collect();
        let tunnels = gateway.tunnels(&all_tunnels).rows;
        let fleet = gateway.fleet_as_known();
        let is_fleet = fleet.name.is_some();
        Self {
            build: vec![gateway::Build::of(&status)],
            ports: gateway.ports(),
            drops: workers::drops(&cores, &gateway.drops()),
            pools: workers::pools(&cores),
            infos: tunnels.iter().map(tunnels::Info::of).collect(),
            sas: sas::directions(&tunnels, &gateway.sas(&all_sas).rows),
            ike_events: status.ike.iter().flat_map(|ike| ike::events(&ike.events)).collect(),
            ike: status.ike.clone().into_iter().collect(),
            fleet_sas: if is_fleet { fleet::sas(&fleet.sas).into() } else { Vec::new() },
            propagation: is_fleet.then(|| fleet::Propagation::of(&fleet.barrier.propagation)),
            fleet: if is_fleet { vec![fleet] } else { Vec::new() },
            whole: vec![gateway::Whole::of(status, gateway.ready().ready, &cores)],
            workers: workers::rows(cores, &crypto.senders),
            tunnels,
        }
    }

    /// Writes it down.
    pub fn written(self, format: Format) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &registry);
        format.of_open_metrics(text)
    }

    fn visit(&self, visitor: &mut impl Visitor) -> fmt::Result {
        visitor.table(gateway::BUILD, &self.build)?;
        visitor.table(gateway::WHOLE, &self.whole)?;
        visitor.table(ports::PORTS, &self.ports)?;
        visitor.table(workers::WORKERS, &self.workers)?;
        visitor.table(workers::DROPS, &self.drops)?;
        visitor.table(workers::POOLS, &self.pools)?;
        visitor.table(tunnels::INFO, &self.infos)?;
        visitor.table(tunnels::TUNNELS, &self.tunnels)?;
        visitor.table(sas::DIRECTIONS, &self.sas)?;
        visitor.table(ike::IKE, &self.ike)?;
        visitor.table(ike::EVENTS, &self.ike_events)?;
        visitor.table(fleet::FLEET, &self.fleet)?;
        visitor.table(fleet::SAS, &self.fleet_sas)?;
        let propagation = self.propagation.as_ref();
        visitor.histogram(
            fleet::PROPAGATION.0,
            fleet::PROPAGATION.1,
            propagation.map(fleet::Propagation::read),
        )
    }
}

impl Collector for Reading {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.visit(&mut Writer(encoder))
    }
}

pub(super) fn catalogue() -> Vec<Described> {
    let mut catalogue = Catalogue(Vec::new());
    // A list of words cannot fail to grow.
    let _ = Reading::default().visit(&mut catalogue);
    catalogue.0
}
