//! SAs as charon would bring them: AES-128-GCM with chance for a key, any packet selected.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use penstock_control::fleet::record::{Date, Owner, SaRecord, State};
use penstock_control::ike::protocol::{AddSa, Lifetimes, Limit, Mode, SaFlags, SaId, TrafficSelectorSpec};
use penstock_control::secret::Secret;
use penstock_dataplane::esp::sa::Spi;
use penstock_fleet::names::KeyName;
use zeroize::Zeroizing;

use crate::fleet::Tunnel;

/// IKEv2's number of AES-GCM with an ICV of 16 bytes (RFC 5282).
const AES_GCM_16: u16 = 20;
/// A key of 16 bytes and its salt of 4 (RFC 4106).
const KEY_LEN: usize = 20;
/// Bits of an SPI below the node's number.
const RANDOM_BITS: u32 = 22;

/// Makes them, as one node: each inbound one has an SPI of its own.
pub struct Negotiator {
    owner: Owner,
    life: Duration,
    given: HashSet<Spi>,
}

impl Negotiator {
    pub fn new(owner: Owner, life: Duration) -> Self {
        Self { owner, life, given: HashSet::new() }
    }

    /// Both SAs of a tunnel, inbound first.
    pub fn pair(&mut self, tunnel: &Tunnel) -> Result<[SaRecord; 2]> {
        let inbound = self.inbound(tunnel)?;
        let outbound = record(tunnel, self.owner, self.life, false, spi(None)?)?;
        let (of_inbound, of_outbound) = (inbound.sa.id.spi, outbound.sa.id.spi);
        Ok([
            SaRecord { paired: Some(of_outbound), ..inbound },
            SaRecord { paired: Some(of_inbound), ..outbound },
        ])
    }

    /// The inbound one alone: what is first told of a negotiation.
    pub fn inbound(&mut self, tunnel: &Tunnel) -> Result<SaRecord> {
        loop {
            let spi = spi(Some(self.owner.number))?;
            if self.given.insert(spi) {
                return record(tunnel, self.owner, self.life, true, spi);
            }
        }
    }
}

/// The key of a record in the store.
pub fn key(record: &SaRecord) -> String {
    KeyName::Sa(record.name()).to_string()
}

fn record(tunnel: &Tunnel, owner: Owner, life: Duration, inbound: bool, spi: Spi) -> Result<SaRecord> {
    let mut key = Zeroizing::new(vec![0; KEY_LEN].into_boxed_slice());
    getrandom::fill(&mut key)?;
    let (ours, theirs) = (SocketAddr::new(tunnel.endpoint, 0), SocketAddr::new(tunnel.remote, 0));
    let (src, dst) = if inbound { (theirs, ours) } else { (ours, theirs) };
    let now = Date::from(SystemTime::now());
    let hard = Limit { hard: NonZeroU64::new(life.as_secs()), soft: None };
    Ok(SaRecord {
        owner,
        tunnel: tunnel.name.clone(),
        state: State::Current,
        choice: None,
        paired: None,
        born: now,
        hard_end: now.after(life),
        sa: AddSa {
            id: SaId { src, dst, spi },
            flags: SaFlags { inbound, update: inbound, ..SaFlags::default() },
            reqid: 1,
            mode: Mode::Tunnel,
            encryption: AES_GCM_16,
            key: Secret::new(key),
            integrity: 0,
            auth_key: Secret::default(),
            replay_window: 0,
            lifetimes: Lifetimes { seconds: hard, ..Lifetimes::default() },
            tfc: 0,
            ipcomp: 0,
            src_ts: everything(),
            dst_ts: everything(),
        },
    })
}

fn everything() -> Vec<TrafficSelectorSpec> {
    let range = |first: IpAddr, last: IpAddr| TrafficSelectorSpec {
        protocol: 0,
        from_port: 0,
        to_port: u16::MAX,
        first,
        last,
    };
    vec![
        range(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()),
        range(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from([0xff; 16]).into()),
    ]
}

/// One that begins with a node's number, or one that a router chose.
fn spi(node: Option<u16>) -> Result<Spi> {
    loop {
        let chance = getrandom::u32()?;
        let spi = match node {
            Some(number) => u32::from(number) << RANDOM_BITS | chance >> (u32::BITS - RANDOM_BITS),
            None => chance,
        };
        // The first ones are reserved (RFC 4303 section 2.1).
        if spi >= Spi::FIRST.0 {
            return Ok(Spi(spi));
        }
    }
}
