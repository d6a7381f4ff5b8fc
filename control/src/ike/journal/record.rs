//! A record: one SA, with what it takes to go on with it.
//!
//! `8` magic and version | progress ([`PROGRESS_LEN`] bytes, overwritten in place) | boot id | charon's instance |
//! installed | state | paired SPI | tenant | tunnel | the SA as in ADD_SA. Numbers in network byte order.

use std::time::Duration;

use penstock_dataplane::esp::sa::Spi;
use zeroize::Zeroizing;

use crate::config::Name;
use crate::ike::boot_time::BootTime;
use crate::ike::protocol::wire::{Reader, Writer};
use crate::ike::protocol::{AddSa, DecodeError, EncodeError, Instance, MAX_FRAME};
use crate::static_sas::TunnelName;

/// Begins a record of this version.
const MAGIC: [u8; 8] = *b"penSA\0\0\x02";
/// Where the progress is in a record.
pub(super) const PROGRESS_AT: u64 = MAGIC.len() as u64;
/// Bytes of it.
pub(super) const PROGRESS_LEN: usize = 3 * 8;
/// Largest record, bytes.
pub(super) const MAX_RECORD: u64 = MAX_FRAME as u64 + 1024;

/// An SA, with what it takes to go on with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub tunnel: TunnelName,
    /// The run of charon that installed it.
    pub charon: Instance,
    /// When: its life is counted from then.
    pub installed: BootTime,
    /// Where in its life it is.
    pub state: State,
    /// The SA of the other direction that was negotiated with it.
    pub paired: Option<Spi>,
    /// How far it has come.
    pub progress: Progress,
    /// The SA as charon gave it, keys and all; with the addresses of its last UPDATE_SA.
    pub sa: AddSa,
}

/// Where in its life an SA is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Outbound, and not sent under yet: another one is.
    Pending,
    /// In use.
    Current,
    /// Taken off, but what is on its way is received until then.
    Retiring {
        /// The end of the grace.
        until: BootTime,
    },
}

/// What changes all the time in an SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Inbound: the newest sequence number received. Outbound: the first that was never given out, nor will be before
    /// this is written again.
    pub sequence: u64,
    /// Inner bytes so far.
    pub bytes: u64,
    /// Packets so far.
    pub packets: u64,
}

/// Why a file is no record of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Something else, or another version's.
    #[error("it does not begin as a record of this version")]
    Magic,
    /// Its removal had begun.
    #[error("it was wiped")]
    Wiped,
    /// A field is wrong.
    #[error(transparent)]
    Field(#[from] DecodeError),
    /// No name of ours.
    #[error("{0} is no name")]
    Name(&'static str),
}

impl Record {
    /// The bytes of a record, to be written in the machine's run `boot`.
    ///
    /// # Errors
    /// When the SA has more selectors than a frame of the protocol holds.
    pub fn encode(&self, boot: &str) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
        let mut w = Writer::new();
        w.put(&MAGIC);
        w.put(&self.progress.encode());
        w.text(boot);
        w.u64(self.charon.0);
        put_time(&mut w, self.installed);
        let (state, until) = match self.state {
            State::Pending => (0, None),
            State::Current => (1, None),
            State::Retiring { until } => (2, Some(until)),
        };
        w.u8(state);
        if let Some(until) = until {
            put_time(&mut w, until);
        }
        w.u32(self.paired.map_or(0, |spi| spi.0));
        w.text(&self.tunnel.0);
        w.text(&self.tunnel.1);
        self.sa.put(&mut w)?;
        let bytes = w.finish();
        if bytes.len() as u64 > MAX_RECORD { Err(EncodeError) } else { Ok(bytes) }
    }

    /// Reads a record, and in which run of the machine it was written. Never panics, whatever the bytes are.
    ///
    /// # Errors
    /// When they are not a record.
    pub fn decode(bytes: &[u8]) -> Result<(String, Self), RecordError> {
        let mut r = Reader::new(bytes);
        let read = Self::fields(&mut r)?;
        r.end()?;
        Ok(read)
    }

    fn fields(r: &mut Reader<'_>) -> Result<(String, Self), RecordError> {
        match r.array("the magic")? {
            MAGIC => {}
            [0, 0, 0, 0, 0, 0, 0, 0] => return Err(RecordError::Wiped),
            _ => return Err(RecordError::Magic),
        }
        let progress = Progress::take(r)?;
        let boot = r.text("the boot id")?;
        let charon = Instance(r.u64("charon's instance")?);
        let installed = take_time(r, "the time of installation")?;
        let state = match r.u8("the state")? {
            0 => State::Pending,
            1 => State::Current,
            2 => State::Retiring { until: take_time(r, "the end of the grace")? },
            other => return Err(DecodeError::Value { field: "the state", found: other.into() }.into()),
        };
        let paired = match r.u32("the paired SPI")? {
            0 => None,
            reserved if reserved < Spi::FIRST.0 => return Err(DecodeError::ReservedSpi(reserved).into()),
            spi => Some(Spi(spi)),
        };
        let tenant = Name::new(&r.text("the tenant")?).ok_or(RecordError::Name("the tenant"))?;
        let tunnel = Name::new(&r.text("the tunnel")?).ok_or(RecordError::Name("the tunnel"))?;
        let sa = AddSa::take(r)?;
        let tunnel = (tenant, tunnel);
        Ok((boot, Self { tunnel, charon, installed, state, paired, progress, sa }))
    }
}

impl Progress {
    /// Its bytes in a record.
    pub(super) fn encode(&self) -> [u8; PROGRESS_LEN] {
        let mut bytes = [0; PROGRESS_LEN];
        let values = [self.sequence, self.bytes, self.packets];
        for (field, value) in bytes.chunks_exact_mut(8).zip(values) {
            field.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let field = "the progress";
        Ok(Self { sequence: r.u64(field)?, bytes: r.u64(field)?, packets: r.u64(field)? })
    }
}

/// Nanoseconds, enough for 584 years; what is later is the end of time.
fn put_time(w: &mut Writer, time: BootTime) {
    w.u64(u64::try_from(time.0.as_nanos()).unwrap_or(u64::MAX));
}

fn take_time(r: &mut Reader<'_>, field: &'static str) -> Result<BootTime, DecodeError> {
    Ok(BootTime(Duration::from_nanos(r.u64(field)?)))
}
