//! A frame's header, and messages as frames.

use penstock_dataplane::esp::sa::Spi;
use zeroize::Zeroizing;

use super::error::{DecodeError, EncodeError};
use super::message::{
    Answer, ErrorCode, Event, GetSpi, Hello, Installed, Instance, Kind, Refused, Request, Usage,
};
use super::sa::{AddSa, PolicySpec, SaId, UpdateSa};
use super::sa_codec::{ends, is_esp, put_esp};
use super::wire::{Reader, Writer};
use super::{MAX_FRAME, MAX_SYNC_FRAME, VERSION};

/// The first bytes of a frame as they are; nothing is checked but on demand.
///
/// `u32` length of what follows | `u8` version | `u8` type | `u16` status | `u64` instance
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    stated: usize,
    version: u8,
    /// The type, of a [`Kind`] or not.
    pub kind: u8,
    /// 0, or the [`ErrorCode`] of an answer.
    pub status: u16,
    /// Who sends.
    pub instance: Instance,
}

impl Header {
    /// Bytes of it.
    pub const LEN: usize = 16;
    /// Bytes of the length field, which does not count itself.
    const UNCOUNTED: usize = 4;

    /// Reads it.
    pub fn parse(bytes: &[u8; Self::LEN]) -> Self {
        let [l0, l1, l2, l3, version, kind, s0, s1, instance @ ..] = *bytes;
        Self {
            stated: u32::from_be_bytes([l0, l1, l2, l3]) as usize,
            version,
            kind,
            status: u16::from_be_bytes([s0, s1]),
            instance: Instance(u64::from_be_bytes(instance)),
        }
    }

    /// What the frame is and how many bytes are still to come.
    ///
    /// # Errors
    /// When the version or the type is unknown, or no frame of that type is so long or so short.
    pub fn check(&self) -> Result<(Kind, usize), DecodeError> {
        if self.version != VERSION {
            return Err(DecodeError::Version(self.version));
        }
        let kind = Kind::of(self.kind).ok_or(DecodeError::Kind(self.kind))?;
        if self.stated > max_frame(self.kind) - Self::UNCOUNTED {
            return Err(DecodeError::TooLong(self.stated.saturating_add(Self::UNCOUNTED)));
        }
        let counted = Self::LEN - Self::UNCOUNTED;
        let payload = self.stated.checked_sub(counted).ok_or(DecodeError::Short(self.stated))?;
        Ok((kind, payload))
    }

    /// Splits a whole frame.
    fn split(frame: &[u8]) -> Result<(Self, Kind, &[u8]), DecodeError> {
        let (header, payload) = frame.split_first_chunk().ok_or(DecodeError::Truncated("the header"))?;
        let header = Self::parse(header);
        let (kind, len) = header.check()?;
        if payload.len() != len {
            let found = frame.len() - Self::UNCOUNTED;
            return Err(DecodeError::Length { stated: header.stated, found });
        }
        Ok((header, kind, payload))
    }
}

/// Largest frame of a type, bytes. Charon may have more SAs than fit an ordinary one.
const fn max_frame(kind: u8) -> usize {
    if kind == Kind::Sync as u8 { MAX_SYNC_FRAME } else { MAX_FRAME }
}

/// A whole frame. `payload` writes what follows the header.
fn frame(
    kind: u8,
    status: u16,
    instance: Instance,
    payload: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    let mut w = Writer::new();
    w.u32(0);
    w.u8(VERSION);
    w.u8(kind);
    w.u16(status);
    w.u64(instance.0);
    payload(&mut w)?;
    let mut frame = w.finish();
    if frame.len() > max_frame(kind) {
        return Err(EncodeError);
    }
    let counted = (frame.len() - Header::UNCOUNTED) as u32;
    frame[..Header::UNCOUNTED].copy_from_slice(&counted.to_be_bytes());
    Ok(frame)
}

impl Request {
    /// Reads a whole frame.
    ///
    /// # Errors
    /// When it is anything but one request.
    pub fn decode(frame: &[u8]) -> Result<(Instance, Self), DecodeError> {
        let (header, kind, payload) = Header::split(frame)?;
        Ok((header.instance, Self::from_payload(&header, kind, payload)?))
    }

    /// Reads what follows a header that was checked.
    ///
    /// # Errors
    /// When it is not a request.
    pub fn from_payload(header: &Header, kind: Kind, payload: &[u8]) -> Result<Self, DecodeError> {
        if header.status != 0 {
            return Err(DecodeError::Value { field: "a request's status", found: header.status.into() });
        }
        let mut r = Reader::new(payload);
        let request = Self::fields(kind, &mut r)?;
        r.end()?;
        Ok(request)
    }

    fn fields(kind: Kind, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::Hello => {
                let (charon, plugin) = (r.text("charon's version")?, r.text("the plugin's version")?);
                Self::Hello(Hello { charon, plugin })
            }
            Kind::Sync => {
                let count = r.u32("the number of SAs")?;
                Self::Sync(r.items(count as usize, 1 + SaId::MIN_LEN, "the list of SAs", |r| {
                    Ok(Installed { inbound: r.flag("an SA's direction")?, id: SaId::take(r)? })
                })?)
            }
            Kind::GetSpi => {
                let (src, dst) = ends(r, "an SA's addresses")?;
                is_esp(r.u8("an SA's protocol")?)?;
                Self::GetSpi(GetSpi { src, dst })
            }
            Kind::AddSa => Self::AddSa(Box::new(AddSa::take(r)?)),
            Kind::UpdateSa => Self::UpdateSa(UpdateSa::take(r)?),
            Kind::DelSa => Self::DelSa(SaId::take(r)?),
            Kind::QuerySa => Self::QuerySa(SaId::take(r)?),
            Kind::FlushSas => Self::FlushSas,
            Kind::AddPolicy => Self::AddPolicy(PolicySpec::take(r)?),
            Kind::DelPolicy => Self::DelPolicy(PolicySpec::take(r)?),
            Kind::FlushPolicies => Self::FlushPolicies,
            Kind::Expire | Kind::Mapping => return Err(DecodeError::Kind(kind as u8)),
        })
    }

    /// The whole frame.
    ///
    /// # Errors
    /// When it would be longer than a frame may be.
    pub fn encode(&self, instance: Instance) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
        frame(self.kind() as u8, 0, instance, |w| {
            match self {
                Self::Hello(hello) => {
                    w.text(&hello.charon);
                    w.text(&hello.plugin);
                }
                Self::Sync(installed) => {
                    w.u32(u32::try_from(installed.len()).map_err(|_| EncodeError)?);
                    for sa in installed {
                        w.flag(sa.inbound);
                        sa.id.put(w);
                    }
                }
                Self::GetSpi(wanted) => {
                    w.address(wanted.src);
                    w.address(wanted.dst);
                    put_esp(w);
                }
                Self::AddSa(sa) => sa.put(w)?,
                Self::UpdateSa(change) => change.put(w),
                Self::DelSa(id) | Self::QuerySa(id) => id.put(w),
                Self::AddPolicy(policy) | Self::DelPolicy(policy) => policy.put(w),
                Self::FlushSas | Self::FlushPolicies => {}
            }
            Ok(())
        })
    }
}

impl Answer {
    /// Reads a whole frame. Its type says what the answer is to.
    ///
    /// # Errors
    /// When it is anything but one answer.
    pub fn decode(frame: &[u8]) -> Result<(Instance, Kind, Self), DecodeError> {
        let (header, kind, payload) = Header::split(frame)?;
        let mut r = Reader::new(payload);
        let answer = if header.status != 0 {
            let field = "an answer's status";
            let code = ErrorCode::ALL.into_iter().find(|code| *code as u16 == header.status);
            let code = code.ok_or(DecodeError::Value { field, found: header.status.into() })?;
            Self::Refused(Refused { code, reason: r.text("the reason")? })
        } else {
            match kind {
                Kind::GetSpi => match r.u32("the SPI")? {
                    reserved if reserved < Spi::FIRST.0 => return Err(DecodeError::ReservedSpi(reserved)),
                    spi => Self::Spi(Spi(spi)),
                },
                Kind::QuerySa => {
                    let (bytes, packets) = (r.u64("the bytes")?, r.u64("the packets")?);
                    let idle_s = Some(r.u64("the idle time")?).filter(|idle| *idle != u64::MAX);
                    Self::Usage(Usage { bytes, packets, idle_s })
                }
                Kind::Sync => {
                    let count = r.u32("the number of SAs")?;
                    Self::Unknown(r.items(count as usize, SaId::MIN_LEN, "the list of SAs", SaId::take)?)
                }
                Kind::Expire | Kind::Mapping => return Err(DecodeError::Kind(kind as u8)),
                _ => Self::Done,
            }
        };
        r.end()?;
        Ok((header.instance, kind, answer))
    }

    /// The whole frame. `kind` is the type of the request, whatever it was.
    ///
    /// # Errors
    /// When it would be longer than a frame may be.
    pub fn encode(&self, kind: u8, instance: Instance) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
        let status = match self {
            Self::Refused(refused) => refused.code as u16,
            _ => 0,
        };
        frame(kind, status, instance, |w| {
            match self {
                Self::Done => {}
                Self::Spi(spi) => w.u32(spi.0),
                Self::Usage(usage) => {
                    w.u64(usage.bytes);
                    w.u64(usage.packets);
                    w.u64(usage.idle_s.unwrap_or(u64::MAX));
                }
                Self::Unknown(ids) => {
                    w.u32(u32::try_from(ids.len()).map_err(|_| EncodeError)?);
                    ids.iter().for_each(|id| id.put(w));
                }
                Self::Refused(refused) => w.text(&refused.reason),
            }
            Ok(())
        })
    }
}

impl Event {
    /// Reads a whole frame.
    ///
    /// # Errors
    /// When it is anything but one event.
    pub fn decode(frame: &[u8]) -> Result<(Instance, Self), DecodeError> {
        let (header, kind, payload) = Header::split(frame)?;
        if header.status != 0 {
            return Err(DecodeError::Value { field: "an event's status", found: header.status.into() });
        }
        let mut r = Reader::new(payload);
        let event = match kind {
            Kind::Expire => Self::Expire { id: SaId::take(&mut r)?, hard: r.flag("the kind of limit")? },
            Kind::Mapping => Self::Mapping { id: SaId::take(&mut r)?, remote: r.address("the new peer")? },
            _ => return Err(DecodeError::Kind(kind as u8)),
        };
        r.end()?;
        Ok((header.instance, event))
    }

    /// The whole frame.
    ///
    /// # Errors
    /// When it would be longer than a frame may be.
    pub fn encode(&self, instance: Instance) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
        frame(self.kind() as u8, 0, instance, |w| {
            self.id().put(w);
            match self {
                Self::Expire { hard, .. } => w.flag(*hard),
                Self::Mapping { remote, .. } => w.address(*remote),
            }
            Ok(())
        })
    }
}
