//! What would happen to a packet: it is made up, and the pipeline runs over the workers' present tables for it alone.
//!
//! No worker notices. Associations are stood in for by others of the same form with keys of their own, so that no sequence
//! number is used up and nothing is ever encrypted under a key of a customer.

mod esp;
mod packet;
mod verdict;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use dpdk::ip_frag::Limits;
use dpdk::{Mempool, Reassembler};
use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::frame::dpdk::{Dpdk, IpFrag};
use penstock_dataplane::ids::{InterfaceId, PortId, TunnelId, VrfId};
use penstock_dataplane::rehearse::{Stage, rehearse};
use penstock_dataplane::tables::{Interface, Snapshot};
use penstock_dataplane::watch::{End, Journey};

use super::state::State;
use super::view::tunnel_problem;
use super::watching::{Around, bad_request};
use crate::api::{ApiError, ErrorCode, WhyAnswer, WhyRequest};
use crate::config::Name;
use crate::static_sas::TunnelName;
use crate::watch::{Describer, Prefixes};
use esp::Understudies;

/// Datagrams that the rehearsal may put together.
const REASSEMBLIES: u32 = 16;

/// What the rehearsal takes from the running gateway; gathered under its lock, worked with outside.
struct Scene {
    tables: Arc<Snapshot>,
    pool: Mempool,
    port: PortId,
    interface: Interface,
    /// The tunnel that the packet comes out of.
    from: Option<Emergence>,
    understudies: Understudies,
    tenant: Name,
    vrf: VrfId,
}

/// A tunnel that the packet comes out of.
struct Emergence {
    local: IpAddr,
    remote: IpAddr,
    around: packet::Around,
}

/// Answers.
pub(super) fn why(state: &Arc<Mutex<State>>, request: &WhyRequest) -> Result<WhyAnswer, ApiError> {
    let inner = packet::packet(request)?;
    let mut scene = {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        Scene::new(&state, request)?
    };
    let mut journeys = scene.play(&inner)?;
    // The tunnel that it goes into is known only now.
    if let Some(tunnel) = missing_association(&journeys) {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        scene.understudies.add_outbound(&state, tunnel)?;
        drop(state);
        journeys = scene.play(&inner)?;
    }
    let around = Around::new(Arc::clone(state), None);
    Ok(scene.answer(request, &journeys, &around))
}

/// The tunnel that a packet could not be sealed for.
fn missing_association(journeys: &[Journey]) -> Option<TunnelId> {
    let died = |j: &&Journey| j.end == End::Dropped(DropReason::EspNoSa);
    journeys.iter().find(died).and_then(verdict::tunnel_looked_up)
}

impl Scene {
    fn new(state: &State, request: &WhyRequest) -> Result<Self, ApiError> {
        let compiler = &state.compiler;
        let tenant = compiler.config().tenants.keys().find(|name| name.as_str() == request.tenant);
        let tenant = tenant.cloned().ok_or_else(|| {
            let all: Vec<_> = compiler.config().tenants.keys().map(Name::as_str).collect();
            bad_request(format!("there is no tenant {}; there are: {}", request.tenant, all.join(", ")))
        })?;
        let vrf = compiler.vrf(&tenant).unwrap_or_default();
        let tables = Arc::clone(state.dataplane.publisher.latest());
        let mut understudies = Understudies::new(state)?;
        let from = match &request.from_tunnel {
            Some(name) => Some(from_tunnel(state, &tenant, name, &mut understudies)?),
            None => None,
        };
        // What the tenant has on a link of its own comes by it, unless it comes out of a tunnel.
        let of = |vrf: VrfId| tables.interfaces.iter().find(|(_, interface)| interface.vrf == vrf);
        let link = of(vrf).filter(|_| from.is_none()).or_else(|| of(VrfId::INTERNET));
        let (_, interface): (InterfaceId, _) = link.ok_or_else(|| {
            ApiError::new(ErrorCode::Conflict, "no port has an interface yet: see `penstock show ports`")
        })?;
        let interface = interface.clone();
        let pool = state.dataplane.workers.first().map(|worker| worker.pool.clone());
        let pool = pool.ok_or_else(|| ApiError::new(ErrorCode::Internal, "there is no worker"))?;
        Ok(Self { pool, port: interface.port, interface, from, understudies, tenant, vrf, tables })
    }

    fn play(&self, inner: &[u8]) -> Result<Vec<Journey>, ApiError> {
        let outer = match &self.from {
            None => inner.to_vec(),
            Some(from) => {
                let payload = match &from.around {
                    packet::Around::Gre { key } => packet::gre(inner, *key),
                    packet::Around::Esp { spi, udp } => self.understudies.seal(*spi, inner, *udp)?,
                };
                packet::outer(from.local, from.remote, from.around.protocol(), &payload)
            }
        };
        let frame = packet::frame(&self.interface, &outer);
        let failed = |error: &dyn std::fmt::Display| ApiError::new(ErrorCode::Internal, error.to_string());
        let hz = dpdk::cycles::tsc_hz();
        let fragmentation = || {
            let limits = Limits { datagrams: REASSEMBLIES, timeout_cycles: hz, socket: self.pool.socket() };
            let reassembler = Reassembler::new(limits).map_err(|error| failed(&error))?;
            Ok::<_, ApiError>(IpFrag::new(reassembler, self.pool.clone()))
        };
        let stage = Stage::<Dpdk> {
            pool: self.pool.clone(),
            fragmentation: fragmentation()?,
            strangers: fragmentation()?,
            esp: self.understudies.parts()?,
            hz,
        };
        rehearse(stage, &self.tables, self.port, &frame).map_err(|error| failed(&error))
    }

    fn answer(&self, request: &WhyRequest, journeys: &[Journey], around: &Around) -> WhyAnswer {
        let mut prefixes = Prefixes::new();
        let mut notes = Vec::new();
        {
            let state = around.state();
            for looked_up in journeys.iter().flat_map(Describer::lookups) {
                let covering = state.compiler.covering(looked_up.0, looked_up.1);
                prefixes.insert(looked_up, covering);
            }
            let into = journeys.iter().find_map(|journey| journey.tunnel_out);
            let into = into.or_else(|| journeys.iter().find_map(verdict::tunnel_looked_up));
            if let Some(problem) = into.and_then(|tunnel| tunnel_problem(&state, tunnel)) {
                notes.push(problem);
            }
        }
        if !journeys.iter().flat_map(Describer::lookups).any(|(vrf, _)| vrf == self.vrf) {
            let tenant = &self.tenant;
            notes.push(format!(
                "the packet never comes to {tenant}'s table: {} is in none of the tenant's prefixes; add it to \
                 tenants.{tenant}.prefixes, or ask with --from-tunnel",
                request.dst
            ));
        }
        let describer = Describer {
            names: &around.names,
            ports: &around.ports,
            cores: &[],
            prefixes: &prefixes,
            clock: around.clock,
        };
        let verdict = verdict::verdict(journeys, &around.names, &around.ports, request, &self.tenant);
        WhyAnswer {
            outcome: verdict.outcome,
            text: verdict.text,
            reason: verdict.reason.map(|reason| reason.name().to_owned()),
            fix: verdict.fix,
            notes,
            packets: journeys.iter().map(|journey| describer.row(journey)).collect(),
        }
    }
}

/// How a packet comes out of a tunnel.
fn from_tunnel(
    state: &State,
    tenant: &Name,
    name: &str,
    understudies: &mut Understudies,
) -> Result<Emergence, ApiError> {
    let full = if name.contains('/') { name.to_owned() } else { format!("{tenant}/{name}") };
    let id = state.tunnel_of(&full)?;
    let tunnel = state.compiler.tunnels().find(|tunnel| tunnel.id == id);
    let tunnel = tunnel.ok_or_else(|| bad_request(format!("tunnel {full} has just gone")))?;
    if tunnel.tenant != tenant {
        return Err(bad_request(format!(
            "tunnel {full} is not {tenant}'s: --tenant says whose packet it is"
        )));
    }
    let remote = tunnel.remote.ok_or_else(|| {
        let text = "nobody has negotiated yet, so nothing can come out of it";
        ApiError::new(ErrorCode::Conflict, format!("tunnel {full}: {text}; see `penstock show ike`"))
    })?;
    let around = match tunnel.config.gre() {
        Some(gre) => packet::Around::Gre { key: gre.key },
        None => {
            let of: TunnelName = (tunnel.tenant.clone(), tunnel.name.clone());
            let spi = understudies.add_inbound(state, &of, &tunnel)?;
            let remote_port = tunnel.peer.map(|peer| peer.port);
            let udp = tunnel.esp.udp.map(|udp| (remote_port.unwrap_or(udp.remote), udp.local));
            packet::Around::Esp { spi, udp }
        }
    };
    Ok(Emergence { local: tunnel.local, remote, around })
}
