//! Associations that stand in for the live ones: the same SPI, algorithms and selectors, another key, made at random for one
//! rehearsal and gone with it. So nothing that happens here can use up a number or an initialization vector.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use penstock_dataplane::esp::EspParts;
use penstock_dataplane::esp::cipher::{Cipher, Engine, SealJob};
use penstock_dataplane::esp::feed::SaFeed;
use penstock_dataplane::esp::iv::{Lease, LeaseStore, Sender, SenderId};
use penstock_dataplane::esp::key::KeyMaterial;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec, Spi};
use penstock_dataplane::ids::{EndpointId, TunnelId};
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::wire::protocol;
use zeroize::Zeroizing;

use super::super::associations::specs::Agreed;
use super::super::backends::Backends;
use super::super::state::State;
use super::packet;
use crate::api::{ApiError, ErrorCode};
use crate::compile::TunnelView;
use crate::fleet::Stage;
use crate::ike::sad::{self, Direction};
use crate::static_sas::TunnelName;

/// One association's stand-in.
struct Understudy {
    spi: u32,
    tunnel: TunnelId,
    incarnation: u32,
    endpoint: EndpointId,
    remote: IpAddr,
    agreed: Agreed,
    cipher: Arc<Cipher>,
}

/// All of one rehearsal.
pub(super) struct Understudies {
    backends: Backends,
    /// The workers may encrypt.
    may_seal: bool,
    inbound: Option<Understudy>,
    outbound: Option<Understudy>,
}

/// Leases for keys that live as long as one rehearsal, and that nobody else has: any number will do.
struct OnlyHere;

impl LeaseStore for OnlyHere {
    type Error = Infallible;

    fn next_sender(&mut self) -> Result<SenderId, Infallible> {
        Ok(SenderId::from_low_bits(0))
    }
}

fn lease() -> Lease {
    let Ok(lease) = Lease::take(&mut OnlyHere);
    lease
}

impl Understudies {
    /// None yet.
    pub(super) fn new(state: &State) -> Result<Self, ApiError> {
        let may_seal = state.dataplane.workers.iter().all(|worker| worker.stats.sender_id.get() != 0);
        Ok(Self { backends: state.dataplane.backends.clone(), may_seal, inbound: None, outbound: None })
    }

    /// One for what the tunnel's peer sends under; returns the SPI.
    pub(super) fn add_inbound(
        &mut self,
        state: &State,
        name: &TunnelName,
        tunnel: &TunnelView<'_>,
    ) -> Result<u32, ApiError> {
        let (spi, agreed) = inbound_of(state, name).ok_or_else(|| {
            let message = format!(
                "tunnel {}/{} has no inbound security association, so nothing can come out of it; \
                 see `penstock show sas`",
                name.0, name.1
            );
            ApiError::new(ErrorCode::Conflict, message)
        })?;
        self.inbound = Some(self.make(spi, agreed, tunnel)?);
        Ok(spi)
    }

    /// One for what goes into a tunnel, if there is something to stand in for.
    pub(super) fn add_outbound(&mut self, state: &State, id: TunnelId) -> Result<(), ApiError> {
        let Some(tunnel) = state.compiler.tunnels().find(|tunnel| tunnel.id == id) else { return Ok(()) };
        let name = (tunnel.tenant.clone(), tunnel.name.clone());
        if let Some((spi, agreed)) = outbound_of(state, &name) {
            self.outbound = Some(self.make(spi, agreed, &tunnel)?);
        }
        Ok(())
    }

    fn make(&self, spi: u32, agreed: Agreed, tunnel: &TunnelView<'_>) -> Result<Understudy, ApiError> {
        let suite = agreed.suite();
        let random = |len: usize| {
            let mut bytes = Zeroizing::new(vec![0; len]);
            getrandom::fill(&mut bytes).map(|()| bytes).map_err(|error| internal(&error))
        };
        let encryption = random(suite.encryption_key_len() + suite.salt_len())?;
        let integrity = random(suite.integrity_key_len())?;
        let keys = KeyMaterial::new(suite, &encryption, &integrity).map_err(|error| internal(&error))?;
        let cipher = Cipher::new(suite, &keys, self.backends.of(suite)).map_err(|error| internal(&error))?;
        Ok(Understudy {
            spi,
            tunnel: tunnel.id,
            incarnation: tunnel.incarnation as u32,
            endpoint: tunnel.endpoint,
            remote: tunnel.remote.unwrap_or(tunnel.local),
            agreed,
            cipher: Arc::new(cipher),
        })
    }

    /// A worker's part of it.
    pub(super) fn parts(&self) -> Result<EspParts, ApiError> {
        let stats = Arc::new(WorkerStats::new(0, 0));
        let (mut feed, mut receivers) = SaFeed::new([stats], 1);
        let highest = self.outbound.iter().chain(&self.inbound).map(|sa| sa.tunnel.index() + 1).max();
        if let Some(sa) = &self.inbound {
            feed.add_inbound(&InboundSpec {
                spi: Spi(sa.spi),
                endpoint: sa.endpoint,
                tunnel: sa.tunnel,
                incarnation: sa.incarnation,
                cipher: Arc::clone(&sa.cipher),
                // The packet's number is chosen so that no window objects.
                esn: false,
                replay: None,
                selectors: Arc::clone(&sa.agreed.selectors),
            })
            .map_err(|error| internal(&error))?;
        }
        if let Some(sa) = &self.outbound {
            feed.set_outbound(&OutboundSpec {
                spi: Spi(sa.spi),
                tunnel: sa.tunnel,
                incarnation: sa.incarnation,
                cipher: Arc::clone(&sa.cipher),
                esn: sa.agreed.esn,
                numbering: Numbering::PerCore,
                first: 1,
                selectors: Arc::clone(&sa.agreed.selectors),
                remote: sa.remote,
                soft_limit: u64::MAX,
                hard_limit: u64::from(u32::MAX),
            });
        }
        if self.may_seal {
            feed.lease(0, lease());
        }
        Ok(EspParts {
            receiver: receivers.remove(0),
            engine: Engine::new(self.backends.engine()).map_err(|error| internal(&error))?,
            associations: 1,
            tunnels: highest.unwrap_or(0),
        })
    }

    /// A packet as the peer sends it, from the ESP header, or the UDP header, on.
    pub(super) fn seal(&self, spi: u32, inner: &[u8], udp: Option<(u16, u16)>) -> Result<Vec<u8>, ApiError> {
        let gone = || internal(&"the association's stand-in is gone");
        let sa = self.inbound.as_ref().filter(|sa| sa.spi == spi).ok_or_else(gone)?;
        let suite = sa.cipher.suite();
        let is_v6 = inner.first().is_some_and(|byte| byte >> 4 == 6);
        let pad = (inner.len() + 2).next_multiple_of(suite.block_len()) - inner.len() - 2;
        let mut esp = spi.to_be_bytes().to_vec();
        esp.extend_from_slice(&1u32.to_be_bytes());
        esp.resize(esp.len() + suite.iv_len(), 0);
        esp.extend_from_slice(inner);
        esp.extend((1u8..).take(pad));
        esp.extend_from_slice(&[pad as u8, if is_v6 { protocol::IPV6 } else { protocol::IPV4 }]);
        esp.resize(esp.len() + suite.icv_len(), 0);
        let mut engine = Engine::new(self.backends.engine()).map_err(|error| internal(&error))?;
        let iv = Sender::new(lease()).next_iv().ok_or_else(gone)?;
        let mut jobs = [SealJob::new(&sa.cipher, &mut esp, None, iv)];
        engine.seal(&mut jobs);
        Ok(match udp {
            Some(ports) => packet::in_udp(&esp, ports),
            None => esp,
        })
    }
}

/// What a tunnel's peer may send under.
fn inbound_of(state: &State, name: &TunnelName) -> Option<(u32, Agreed)> {
    let by_hand = state.associations.tunnel(name).and_then(|there| there.inbound.iter().next());
    let by_hand = by_hand.map(|(spi, sa)| (*spi, sa.agreed.clone()));
    let negotiated = state.negotiated.sas(name).find(|(sa, is)| {
        sa.direction == Direction::Inbound
            && matches!(is, sad::State::Current | sad::State::Pending | sad::State::Orphan)
    });
    let foreign = state.negotiated.foreign_sas(name);
    let foreign =
        foreign.map(|(sa, _)| sa).find(|sa| sa.direction() == Direction::Inbound && sa.stage == Stage::Live);
    by_hand
        .or_else(|| negotiated.map(|(sa, _)| (sa.id.spi.0, sa.key.clone())))
        .or_else(|| foreign.map(|sa| (sa.id.spi.0, sa.key.clone())))
}

/// What a tunnel sends under.
fn outbound_of(state: &State, name: &TunnelName) -> Option<(u32, Agreed)> {
    let there = state.associations.tunnel(name).filter(|_| !state.associations.is_stopped(name));
    let by_hand = there.and_then(|there| there.outbound.as_ref()).map(|sa| (sa.spi, sa.agreed.clone()));
    let negotiated = state.negotiated.sas(name).find(|(sa, is)| {
        sa.direction == Direction::Outbound && matches!(is, sad::State::Current | sad::State::Orphan)
    });
    let foreign = state.negotiated.foreign_sas(name).find(|(sa, is_sent_under)| {
        sa.direction() == Direction::Outbound && *is_sent_under && sa.stage == Stage::Live
    });
    by_hand
        .or_else(|| negotiated.map(|(sa, _)| (sa.id.spi.0, sa.key.clone())))
        .or_else(|| foreign.map(|(sa, _)| (sa.id.spi.0, sa.key.clone())))
}

fn internal(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Internal, format!("the packet could not be made up: {error}"))
}
