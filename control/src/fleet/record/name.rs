//! What an SA's record is called in the store: `OWNER/TENANT/TUNNEL/SPI-in`, after the prefix of all of them.
//!
//! The tunnel is in it because SPIs of outbound SAs are chosen by peers, and two of them may choose the same.

use std::fmt;
use std::str::FromStr;

use penstock_dataplane::esp::sa::Spi;

use crate::config::Name;
use crate::ike::sad::Direction;
use crate::ike::spi::MAX_NODE_NUMBER;
use crate::static_sas::TunnelName;

/// Names a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordName {
    /// Number of the node that negotiated it.
    pub owner: u16,
    /// Whose it is.
    pub tunnel: TunnelName,
    /// Which way.
    pub direction: Direction,
    /// Its SPI.
    pub spi: Spi,
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tenant, tunnel) = &self.tunnel;
        let direction = match self.direction {
            Direction::Inbound => "in",
            Direction::Outbound => "out",
        };
        write!(f, "{}/{tenant}/{tunnel}/{:08x}-{direction}", self.owner, self.spi.0)
    }
}

/// It is no name of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no name of an SA's record, which is OWNER/TENANT/TUNNEL/SPI-in or -out")]
pub struct NameError;

impl FromStr for RecordName {
    type Err = NameError;

    /// Takes what [`RecordName`] displays, and nothing else.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = parse(text).ok_or(NameError)?;
        // One form for each: no signs, leading zeros or capitals that numbers may have.
        if name.to_string() == text { Ok(name) } else { Err(NameError) }
    }
}

fn parse(text: &str) -> Option<RecordName> {
    let mut parts = text.split('/');
    let owner = parts.next()?.parse().ok().filter(|number| *number <= MAX_NODE_NUMBER)?;
    let tunnel = (Name::new(parts.next()?)?, Name::new(parts.next()?)?);
    let (spi, direction) = parts.next()?.split_once('-')?;
    let direction = match direction {
        "in" => Direction::Inbound,
        "out" => Direction::Outbound,
        _ => return None,
    };
    let spi = Spi(u32::from_str_radix(spi, 16).ok()?);
    parts.next().is_none().then_some(RecordName { owner, tunnel, direction, spi })
}
