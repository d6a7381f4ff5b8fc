//! A negotiated SA as it goes, sealed, into the fleet's store: all that another node needs to receive and send under it.
//!
//! `8` magic and version | owner's number | owner's journal | tenant | tunnel | state | when it was retired | choice |
//! its revision | paired SPI | born | hard end | the SA as in ADD_SA, keys and all. Numbers in network byte order. There is
//! one form for each record: what decodes encodes to the same bytes.
//!
//! Knows nothing of the store or of sealing. Whoever has the bytes has the keys: they are in wiped memory only.

mod date;
#[cfg(test)]
pub(crate) mod tests;

use penstock_dataplane::esp::sa::Spi;
use penstock_fleet::names::NodeNumber;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use date::Date;
pub use penstock_fleet::names::SaName;

use crate::config::Name;
use crate::ike::protocol::wire::{Reader, Writer};
use crate::ike::protocol::{AddSa, DecodeError, EncodeError, MAX_FRAME};
use crate::ike::sad::Direction;
use crate::ike::spi::MAX_NODE_NUMBER;
use crate::static_sas::TunnelName;

/// Begins a record of this version.
const MAGIC: [u8; 8] = *b"penSAfl\x01";
/// Largest record, bytes.
pub const MAX_RECORD: usize = MAX_FRAME + 1024;

/// The node that has an SA, and the journal that it keeps it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// The node.
    pub number: u16,
    /// Names its journal: random, and another one when a node has lost its journal. What the node of this number has not
    /// in this journal any more is over.
    pub journal: u64,
}

/// An SA, with all that another node needs.
#[derive(Debug, PartialEq, Eq)]
pub struct SaRecord {
    /// Who negotiated it.
    pub owner: Owner,
    /// Whose it is. The reqid in `sa` is the owner's and means nothing elsewhere.
    pub tunnel: TunnelName,
    /// Where in its life it is.
    pub state: State,
    /// Outbound: when its owner chose it, if the owner's charon or peer said so.
    pub choice: Option<Choice>,
    /// The SA of the other direction that was negotiated with it.
    pub paired: Option<Spi>,
    /// When it was installed.
    pub born: Date,
    /// From here on nobody sends or receives under it.
    pub hard_end: Date,
    /// The SA as charon gave it; with the addresses of its last UPDATE_SA.
    pub sa: AddSa,
}

/// Where in its life an SA is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Outbound, and not sent under yet: another one is.
    Pending,
    /// In use.
    Current,
    /// Inbound: deleted, and what is on its way is received for a little longer. Outbound: replaced, and not deleted yet.
    Retiring {
        /// When that was.
        since: Date,
    },
    /// At a hard limit: it carries nothing any more.
    Ended,
}

/// That a tunnel shall send under an outbound SA rather than under what was chosen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Counts the choices of one run of the owner. Not zero.
    pub count: u64,
    /// The revision at which the store has taken it. `None`: it is this record that tells the store, so it is the revision
    /// of the record. A record that is written again for another reason must not count as a new choice, and a node that
    /// comes late sees only the last one written: therefore it says so itself.
    pub revision: Option<u64>,
}

/// Tells SAs of one name apart: equal for what has the same keys. Says nothing about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 16]);

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Something else, or another version's.
    #[error(
        "it does not begin as a record of this version: run one version of penstock on all nodes of the fleet"
    )]
    Magic,
    /// A field is wrong.
    #[error(transparent)]
    Field(#[from] DecodeError),
    /// No name of ours.
    #[error("{0} is no name")]
    Name(&'static str),
    /// Larger than any that is written.
    #[error("it has {0} bytes, {MAX_RECORD} is the limit")]
    TooLong(usize),
}

impl SaRecord {
    /// The bytes of a record.
    ///
    /// # Errors
    /// When the SA has more selectors than a frame of charon's protocol holds.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
        let mut w = Writer::new();
        w.put(&MAGIC);
        w.u16(self.owner.number);
        w.u64(self.owner.journal);
        w.text(&self.tunnel.0);
        w.text(&self.tunnel.1);
        let (state, since) = match self.state {
            State::Pending => (0, Date(0)),
            State::Current => (1, Date(0)),
            State::Retiring { since } => (2, since),
            State::Ended => (3, Date(0)),
        };
        w.u8(state);
        w.u64(since.0);
        w.u64(self.choice.map_or(0, |choice| choice.count));
        w.u64(self.choice.and_then(|choice| choice.revision).unwrap_or(0));
        w.u32(self.paired.map_or(0, |spi| spi.0));
        w.u64(self.born.0);
        w.u64(self.hard_end.0);
        self.sa.put(&mut w)?;
        let bytes = w.finish();
        if bytes.len() > MAX_RECORD { Err(EncodeError) } else { Ok(bytes) }
    }

    /// Reads a record. Never panics, whatever the bytes are.
    ///
    /// # Errors
    /// When they are not a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD {
            return Err(RecordError::TooLong(bytes.len()));
        }
        let mut r = Reader::new(bytes);
        let record = Self::fields(&mut r)?;
        r.end()?;
        Ok(record)
    }

    fn fields(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        if r.array("the magic")? != MAGIC {
            return Err(RecordError::Magic);
        }
        let number = r.u16("the owner's number")?;
        if number > MAX_NODE_NUMBER {
            return Err(value("the owner's number", number.into()));
        }
        let owner = Owner { number, journal: r.u64("the owner's journal")? };
        let tenant = Name::new(&r.text("the tenant")?).ok_or(RecordError::Name("the tenant"))?;
        let tunnel = Name::new(&r.text("the tunnel")?).ok_or(RecordError::Name("the tunnel"))?;
        let (state, since) = (r.u8("the state")?, Date(r.u64("when it was retired")?));
        let state = match (state, since) {
            (0, Date(0)) => State::Pending,
            (1, Date(0)) => State::Current,
            (2, since) => State::Retiring { since },
            (3, Date(0)) => State::Ended,
            (0 | 1 | 3, Date(since)) => return Err(value("when it was retired", since)),
            (other, _) => return Err(value("the state", other.into())),
        };
        let choice = match (r.u64("the choice")?, r.u64("the choice's revision")?) {
            (0, 0) => None,
            (0, revision) => return Err(value("the choice's revision", revision)),
            (count, revision) => Some(Choice { count, revision: (revision != 0).then_some(revision) }),
        };
        let paired = match r.u32("the paired SPI")? {
            0 => None,
            reserved if reserved < Spi::FIRST.0 => return Err(DecodeError::ReservedSpi(reserved).into()),
            spi => Some(Spi(spi)),
        };
        let (born, hard_end) = (Date(r.u64("the time of installation")?), Date(r.u64("the hard end")?));
        let sa = AddSa::take(r)?;
        Ok(Self { owner, tunnel: (tenant, tunnel), state, choice, paired, born, hard_end, sa })
    }

    /// Which way its packets go.
    pub fn direction(&self) -> Direction {
        if self.sa.flags.inbound { Direction::Inbound } else { Direction::Outbound }
    }

    /// Its name in the store.
    pub fn name(&self) -> SaName {
        SaName {
            owner: NodeNumber(self.owner.number),
            tunnel: self.tunnel.clone(),
            direction: self.direction(),
            spi: self.sa.id.spi.0,
        }
    }

    /// Tells it from others that had its name.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(b"penstock SA");
        // The lengths, so that no byte of the one is taken for one of the other.
        for key in [&self.sa.key, &self.sa.auth_key] {
            hash.update((key.len() as u64).to_be_bytes());
            hash.update(key.bytes());
        }
        let hash = hash.finalize();
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&hash[..16]);
        Fingerprint(fingerprint)
    }
}

fn value(field: &'static str, found: u64) -> RecordError {
    DecodeError::Value { field, found }.into()
}
