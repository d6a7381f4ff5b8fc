//! Security associations and policies as fields.

use std::net::SocketAddr;
use std::num::NonZeroU64;

use penstock_dataplane::esp::sa::Spi;

use super::error::{DecodeError, EncodeError};
use super::sa::{
    AddSa, Direction, Lifetimes, Limit, Mode, PolicyAction, PolicySpec, SaFlags, SaId, TrafficSelectorSpec,
    UpdateSa,
};
use super::wire::{Reader, Writer};

/// IP protocol of ESP.
const ESP: u8 = 50;

const INBOUND: u8 = 1;
const INITIATOR: u8 = 2;
const ENCAP: u8 = 4;
const ESN: u8 = 8;
const UPDATE: u8 = 16;

impl SaId {
    /// Of the shortest, bytes.
    pub(super) const MIN_LEN: usize = 7 + 7 + 4 + 1;

    pub(crate) fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (src, dst) = ends(r, "an SA's addresses")?;
        let spi = r.u32("an SPI")?;
        let protocol = r.u8("an SA's protocol")?;
        is_esp(protocol)?;
        if spi < Spi::FIRST.0 {
            return Err(DecodeError::ReservedSpi(spi));
        }
        Ok(Self { src, dst, spi: Spi(spi) })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.address(self.src);
        w.address(self.dst);
        w.u32(self.spi.0);
        w.u8(ESP);
    }
}

pub(super) fn is_esp(protocol: u8) -> Result<(), DecodeError> {
    if protocol == ESP { Ok(()) } else { Err(DecodeError::Protocol(protocol)) }
}

pub(super) fn put_esp(w: &mut Writer) {
    w.u8(ESP);
}

/// Two addresses of one family.
pub(super) fn ends(r: &mut Reader<'_>, field: &'static str) -> Result<(SocketAddr, SocketAddr), DecodeError> {
    let (src, dst) = (r.address(field)?, r.address(field)?);
    if src.is_ipv4() == dst.is_ipv4() { Ok((src, dst)) } else { Err(DecodeError::MixedFamilies(field)) }
}

impl AddSa {
    pub(crate) fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: SaId::take(r)?,
            flags: SaFlags::take(r)?,
            reqid: r.u32("the reqid")?,
            mode: Mode::take(r)?,
            encryption: r.u16("the cipher")?,
            key: r.secret("the cipher's key")?,
            integrity: r.u16("the integrity algorithm")?,
            auth_key: r.secret("the integrity key")?,
            replay_window: r.u32("the replay window")?,
            lifetimes: Lifetimes::take(r)?,
            tfc: r.u32("the TFC padding")?,
            ipcomp: r.u16("the IPComp transform")?,
            src_ts: selectors(r, "the source selectors")?,
            dst_ts: selectors(r, "the destination selectors")?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer) -> Result<(), EncodeError> {
        self.id.put(w);
        self.flags.put(w);
        w.u32(self.reqid);
        w.u8(self.mode as u8);
        w.u16(self.encryption);
        w.secret(&self.key)?;
        w.u16(self.integrity);
        w.secret(&self.auth_key)?;
        w.u32(self.replay_window);
        self.lifetimes.put(w);
        w.u32(self.tfc);
        w.u16(self.ipcomp);
        for side in [&self.src_ts, &self.dst_ts] {
            w.u16(u16::try_from(side.len()).map_err(|_| EncodeError)?);
            side.iter().for_each(|selector| selector.put(w));
        }
        Ok(())
    }
}

fn selectors(r: &mut Reader<'_>, field: &'static str) -> Result<Vec<TrafficSelectorSpec>, DecodeError> {
    let count = r.u16(field)?;
    r.items(count.into(), TrafficSelectorSpec::MIN_LEN, field, TrafficSelectorSpec::take)
}

impl SaFlags {
    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let field = "an SA's flags";
        let bits = r.u8(field)?;
        if bits & !(INBOUND | INITIATOR | ENCAP | ESN | UPDATE) != 0 {
            return Err(DecodeError::Value { field, found: bits.into() });
        }
        let is_set = |bit| bits & bit != 0;
        Ok(Self {
            inbound: is_set(INBOUND),
            initiator: is_set(INITIATOR),
            encap: is_set(ENCAP),
            esn: is_set(ESN),
            update: is_set(UPDATE),
        })
    }

    fn put(self, w: &mut Writer) {
        let bit = |set, bit| if set { bit } else { 0 };
        w.u8(bit(self.inbound, INBOUND)
            | bit(self.initiator, INITIATOR)
            | bit(self.encap, ENCAP)
            | bit(self.esn, ESN)
            | bit(self.update, UPDATE));
    }
}

impl Mode {
    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let field = "the mode";
        Ok(match r.u8(field)? {
            0 => Self::None,
            1 => Self::Transport,
            2 => Self::Tunnel,
            3 => Self::Beet,
            4 => Self::Pass,
            5 => Self::Drop,
            other => return Err(DecodeError::Value { field, found: other.into() }),
        })
    }
}

impl Lifetimes {
    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            seconds: Limit::take(r, "the limits of time")?,
            bytes: Limit::take(r, "the limits of bytes")?,
            packets: Limit::take(r, "the limits of packets")?,
        })
    }

    fn put(&self, w: &mut Writer) {
        for limit in [self.seconds, self.bytes, self.packets] {
            w.u64(limit.hard.map_or(0, NonZeroU64::get));
            w.u64(limit.soft.map_or(0, NonZeroU64::get));
        }
    }
}

impl Limit {
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        Ok(Self { hard: NonZeroU64::new(r.u64(field)?), soft: NonZeroU64::new(r.u64(field)?) })
    }
}

impl TrafficSelectorSpec {
    /// Of the shortest, bytes.
    const MIN_LEN: usize = 1 + 2 + 2 + 1 + 4 + 4;

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let field = "a traffic selector";
        let protocol = r.u8(field)?;
        let (from_port, to_port) = (r.u16(field)?, r.u16(field)?);
        let family = r.family(field)?;
        let (first, last) = (r.ip(family, field)?, r.ip(family, field)?);
        let is_opaque = (from_port, to_port) == (u16::MAX, 0);
        if first > last || (from_port > to_port && !is_opaque) {
            return Err(DecodeError::Backwards(field));
        }
        Ok(Self { protocol, from_port, to_port, first, last })
    }

    fn put(&self, w: &mut Writer) {
        w.u8(self.protocol);
        w.u16(self.from_port);
        w.u16(self.to_port);
        w.family(self.first);
        w.ip(self.first);
        w.ip(self.last);
    }
}

impl UpdateSa {
    pub(super) fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let id = SaId::take(r)?;
        let (src, dst) = ends(r, "an SA's new addresses")?;
        let field = "the encapsulation";
        let (encap, new_encap) = (r.flag(field)?, r.flag(field)?);
        Ok(Self { id, src, dst, encap, new_encap, new_reqid: r.u32("the new reqid")? })
    }

    pub(super) fn put(&self, w: &mut Writer) {
        self.id.put(w);
        w.address(self.src);
        w.address(self.dst);
        w.flag(self.encap);
        w.flag(self.new_encap);
        w.u32(self.new_reqid);
    }
}

impl PolicySpec {
    pub(super) fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let unknown = |field| move |found: u8| DecodeError::Value { field, found: found.into() };
        let direction = match r.u8("a policy's direction")? {
            1 => Direction::In,
            2 => Direction::Out,
            3 => Direction::Forward,
            other => return Err(unknown("a policy's direction")(other)),
        };
        let action = match r.u8("a policy's type")? {
            1 => PolicyAction::Ipsec,
            2 => PolicyAction::Pass,
            3 => PolicyAction::Drop,
            other => return Err(unknown("a policy's type")(other)),
        };
        Ok(Self {
            direction,
            action,
            mode: Mode::take(r)?,
            reqid: r.u32("the reqid")?,
            spi: match r.u32("a policy's SPI")? {
                0 => None,
                reserved if reserved < Spi::FIRST.0 => return Err(DecodeError::ReservedSpi(reserved)),
                spi => Some(Spi(spi)),
            },
            // Not held to one family: a policy without an SA has no addresses.
            src: r.address("a policy's addresses")?,
            dst: r.address("a policy's addresses")?,
            src_ts: TrafficSelectorSpec::take(r)?,
            dst_ts: TrafficSelectorSpec::take(r)?,
        })
    }

    pub(super) fn put(&self, w: &mut Writer) {
        w.u8(self.direction as u8);
        w.u8(self.action as u8);
        w.u8(self.mode as u8);
        w.u32(self.reqid);
        w.u32(self.spi.map_or(0, |spi| spi.0));
        w.address(self.src);
        w.address(self.dst);
        self.src_ts.put(w);
        self.dst_ts.put(w);
    }
}
