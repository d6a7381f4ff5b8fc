//! The rows of `show sas` and `show crypto`, read from the handles of what is installed. No key comes near.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use penstock_dataplane::esp::cipher::Backend;
use penstock_dataplane::esp::feed::SaHandle;
use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::esp::selector::{Selectors, TrafficSelector};

use super::super::associations::specs::Agreed;
use super::super::associations::{Inbound, Numbers, OfTunnel, Outbound};
use super::super::clock;
use super::super::negotiated::{Numbered, Real, idle};
use super::super::state::State;
use super::super::workers::RunningWorker;
use crate::api::{
    Crypto, CryptoBackend, Page, SaBudget, SaCore, SaDirection, SaFilter, SaLeft, SaNumbering, SaRow,
    SaState, Sender,
};
use crate::config::CryptoBackend as Configured;
use crate::fleet::record::Date;
use crate::fleet::{Arbitrated, ForeignSa, Held, Stage};
use crate::ike::protocol::Limit;
use crate::ike::sad::{self, Direction, Moment, Sa};
use crate::static_sas::{TunnelName, WARNING};

enum Association<'a> {
    Inbound(u32, &'a Inbound),
    Outbound(&'a Outbound),
    Negotiated(&'a Sa<Arbitrated<Real>>, sad::State),
    Foreign(&'a ForeignSa<Real>, bool),
}

pub(super) fn sas(state: &State, filter: &SaFilter) -> Page<SaRow> {
    let by_hand = state.associations.tunnels().map(|(name, _)| name);
    let mut names: Vec<&TunnelName> = by_hand.chain(state.negotiated.tunnels()).collect();
    names.retain(|name| filter.selects(&name.0, &name.1));
    names.sort_unstable();
    let all = names.into_iter().flat_map(|name| {
        let there = state.associations.tunnel(name).into_iter().flat_map(of_file);
        let negotiated = state.negotiated.sas(name).map(|(sa, state)| Association::Negotiated(sa, state));
        let foreign = state.negotiated.foreign_sas(name);
        let foreign = foreign.map(|(sa, is_sent_under)| Association::Foreign(sa, is_sent_under));
        there.chain(negotiated).chain(foreign).map(move |sa| (name, sa))
    });
    let (workers, now) = (&state.dataplane.workers, clock::moment());
    Page::take(all, filter.limit, |(name, sa)| match sa {
        Association::Inbound(spi, sa) => {
            row(name, SaDirection::Inbound, spi, &sa.agreed, Some(&sa.handle), None, workers)
        }
        Association::Outbound(sa) => {
            let numbered = Numbered {
                by: sa.sending.numbers,
                soft_limit: sa.sending.soft_limit,
                hard_limit: sa.sending.hard_limit,
            };
            let handle = Some(&sa.sending.handle);
            row(name, SaDirection::Outbound, sa.spi, &sa.agreed, handle, Some(numbered), workers)
        }
        Association::Negotiated(sa, in_state) => negotiated(name, sa, in_state, workers, now),
        Association::Foreign(sa, is_sent_under) => foreign(name, sa, is_sent_under, workers, now),
    })
}

fn of_file(there: &OfTunnel) -> impl Iterator<Item = Association<'_>> {
    let inbound = there.inbound.iter().map(|(spi, sa)| Association::Inbound(*spi, sa));
    inbound.chain(there.outbound.iter().map(Association::Outbound))
}

fn negotiated(
    name: &TunnelName,
    sa: &Sa<Arbitrated<Real>>,
    state: sad::State,
    workers: &[RunningWorker],
    now: Moment,
) -> SaRow {
    let direction = match sa.direction {
        Direction::Inbound => SaDirection::Inbound,
        Direction::Outbound => SaDirection::Outbound,
    };
    let installed = sa.handle.as_ref().and_then(Held::installed);
    let numbered = installed.as_ref().and_then(|installed| installed.sending);
    let handle = installed.as_ref().map(|installed| &installed.handle);
    let row = row(name, direction, sa.id.spi.0, &sa.key, handle, numbered, workers);
    let before = sa.before();
    let (packets, bytes) = (row.packets + before.packets, row.bytes + before.bytes);
    let (rekey, end) = sa.time_left(now);
    let left = |limit: Limit, used: u64| {
        let left = |limit: NonZeroU64| limit.get().saturating_sub(used);
        SaLeft { rekey: limit.soft.map(left), end: limit.hard.map(left) }
    };
    SaRow {
        state: match state {
            sad::State::Current => SaState::Current,
            sad::State::Pending => SaState::Pending,
            sad::State::Retiring => SaState::Retiring,
            sad::State::Stopped => SaState::Stopped,
            sad::State::Orphan => SaState::Orphan,
        },
        peer: Some(sa.peer().to_string()),
        node: (sa.direction == Direction::Inbound).then(|| node(sa.id.spi)),
        age_s: Some(now.since(sa.born).as_secs()),
        budget: Some(SaBudget {
            seconds: SaLeft { rekey: rekey.map(|left| left.as_secs()), end: Some(end.as_secs()) },
            bytes: left(sa.lifetimes.bytes, bytes),
            packets: left(sa.lifetimes.packets, packets),
        }),
        packets,
        bytes,
        ..row
    }
}

/// An SA of another node.
fn foreign(
    name: &TunnelName,
    sa: &ForeignSa<Real>,
    is_sent_under: bool,
    workers: &[RunningWorker],
    now: Moment,
) -> SaRow {
    let direction = match sa.direction() {
        Direction::Inbound => SaDirection::Inbound,
        Direction::Outbound => SaDirection::Outbound,
    };
    let numbered = sa.handle.as_ref().and_then(|installed| installed.sending);
    let handle = sa.handle.as_ref().map(|installed| &installed.handle);
    let date = Date::from(now.date);
    SaRow {
        state: match (sa.stage, sa.direction()) {
            (Stage::Ended { .. }, _) => SaState::Stopped,
            (Stage::Retiring { .. }, _) => SaState::Retiring,
            (Stage::Live, Direction::Inbound) => SaState::Current,
            (Stage::Live, Direction::Outbound) if is_sent_under => SaState::Current,
            (Stage::Live, Direction::Outbound) => SaState::Pending,
        },
        peer: Some(sa.peer().to_string()),
        node: Some(sa.owner.number),
        age_s: Some(date.since(sa.born).as_secs()),
        budget: Some(SaBudget {
            seconds: SaLeft { rekey: None, end: Some(sa.hard_end.since(date).as_secs()) },
            ..SaBudget::default()
        }),
        ..row(name, direction, sa.id.spi.0, &sa.key, handle, numbered, workers)
    }
}

/// The node that gave out an SPI.
fn node(spi: Spi) -> u16 {
    (spi.0 >> 22) as u16
}

fn row(
    name: &TunnelName,
    direction: SaDirection,
    spi: u32,
    agreed: &Agreed,
    handle: Option<&SaHandle>,
    numbered: Option<Numbered>,
    workers: &[RunningWorker],
) -> SaRow {
    let counters = handle.into_iter().flat_map(SaHandle::counters);
    let per_core = workers.iter().zip(counters).map(|(worker, counters)| SaCore {
        core: u32::from(worker.core),
        packets: counters.packets.get(),
        bytes: counters.bytes.get(),
        drops: counters.refused.get(),
    });
    let per_core: Vec<SaCore> = per_core.filter(|core| core.packets + core.drops > 0).collect();
    let sequence = handle.map_or(0, SaHandle::newest_sequence);
    let (numbering, pinned) = match numbered.map(|numbered| numbered.by) {
        Some(Numbers::PerCore) => (Some(SaNumbering::PerCore), None),
        Some(Numbers::Shared) => (Some(SaNumbering::Shared), None),
        Some(Numbers::Pinned(worker)) => (Some(SaNumbering::Pinned), Some(worker)),
        None => (None, None),
    };
    let core = pinned.and_then(|worker| workers.get(usize::from(worker)));
    let window = (direction == SaDirection::Inbound && agreed.window > 0).then_some(agreed.window);
    let sum = |of: fn(&SaCore) -> u64| per_core.iter().map(of).sum();
    SaRow {
        tenant: name.0.to_string(),
        tunnel: name.1.to_string(),
        direction,
        state: SaState::Current,
        spi: Spi(spi).to_string(),
        cipher: agreed.suite().to_string(),
        peer: None,
        node: None,
        age_s: None,
        budget: None,
        backend: agreed.backend().to_string(),
        esn: agreed.esn,
        replay_window: window,
        numbering,
        pinned_core: core.map(|worker| u32::from(worker.core)),
        // The shared counter runs on when the numbers are used up.
        sequence: numbered.map_or(sequence, |numbered| sequence.min(numbered.hard_limit)),
        sequence_left: numbered.map(|numbered| numbered.hard_limit.saturating_sub(sequence)),
        soft_limit: numbered.map(|numbered| numbered.soft_limit),
        local: words(&agreed.selectors, Selectors::local),
        remote: words(&agreed.selectors, Selectors::remote),
        packets: sum(|core| core.packets),
        bytes: sum(|core| core.bytes),
        drops: sum(|core| core.drops),
        last_used_s: handle.and_then(idle).map(|idle| idle.as_secs()),
        per_core,
    }
}

fn words(selectors: &Selectors, side: impl Fn(&Selectors) -> &[TrafficSelector]) -> Vec<String> {
    side(selectors).iter().map(selector).collect()
}

/// `10.1.0.0/16`, `10.0.0.1-10.0.0.9`, `10.1.0.0/16 17 53` with protocol and port.
fn selector(selector: &TrafficSelector) -> String {
    let mut words = addresses(selector.first, selector.last);
    let (from, to) = (*selector.ports.start(), *selector.ports.end());
    match selector.protocol {
        Some(protocol) => words.push_str(&format!(" {protocol}")),
        None if (from, to) != (0, u16::MAX) => words.push_str(" any"),
        None => {}
    }
    match (from, to) {
        (0, u16::MAX) => {}
        (from, to) if from == to => words.push_str(&format!(" {from}")),
        (from, to) => words.push_str(&format!(" {from}-{to}")),
    }
    words
}

fn addresses(first: IpAddr, last: IpAddr) -> String {
    let prefix: Option<IpNet> = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let mut nets = Ipv4Subnets::new(first, last, 0);
            nets.next().filter(|net: &Ipv4Net| net.broadcast() == last).map(IpNet::from)
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let mut nets = Ipv6Subnets::new(first, last, 0);
            nets.next().filter(|net: &Ipv6Net| net.broadcast() == last).map(IpNet::from)
        }
        _ => None,
    };
    prefix.map_or_else(|| format!("{first}-{last}"), |prefix| prefix.to_string())
}

pub(super) fn crypto(state: &State) -> Crypto {
    let configured = match state.compiler.config().crypto.backend {
        Configured::Auto => "auto",
        Configured::IpsecMb => Backend::IpsecMb.name(),
        Configured::Vaes => Backend::Vaes.name(),
        Configured::RustCrypto => Backend::RustCrypto.name(),
    };
    let used = state.associations.backends();
    let backends = Backend::available().into_iter().map(|known| CryptoBackend {
        name: known.backend.to_string(),
        suites: used.suites_of(known.backend).map(|suite| suite.to_string()).collect(),
        available: known.state.is_ok(),
        detail: known.state.unwrap_or_else(|why| why),
    });
    let senders = state.dataplane.workers.iter().map(|worker| {
        let stats = Arc::as_ref(&worker.stats);
        let number = stats.sender_id.get().checked_sub(1);
        let sender_id = number.and_then(|number| u32::try_from(number).ok());
        let ivs_left = sender_id.map(|_| stats.ivs_left.get());
        Sender { core: u32::from(worker.core), sender_id, ivs_left }
    });
    Crypto {
        configured: configured.to_owned(),
        backends: backends.collect(),
        senders: senders.collect(),
        no_lease: state.no_lease.clone(),
        no_renewal: state.no_renewal.clone(),
        static_sas: state.static_sas.len() as u64,
        warning: (!state.static_sas.is_empty()).then(|| WARNING.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_as_people_write_them() {
        let of = |first: &str, last: &str, protocol, ports| {
            let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
            selector(&TrafficSelector { first, last, protocol, ports })
        };
        let all = 0..=u16::MAX;
        assert_eq!(of("0.0.0.0", "255.255.255.255", None, all.clone()), "0.0.0.0/0");
        assert_eq!(of("10.1.0.0", "10.1.255.255", Some(17), 53..=53), "10.1.0.0/16 17 53");
        assert_eq!(of("10.1.0.1", "10.1.0.1", Some(6), all.clone()), "10.1.0.1/32 6");
        assert_eq!(of("10.0.0.1", "10.0.0.9", None, 1..=2), "10.0.0.1-10.0.0.9 any 1-2");
        assert_eq!(of("2001:db8::", "2001:db8::ffff", None, all), "2001:db8::/112");
    }
}
