//! Security associations as the file gives them.

use penstock_dataplane::esp::key::{KeyError, KeyMaterial};
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::tables::UdpPorts;

use crate::config::Selectors;
use crate::secret::Secret;

/// What a file has for one tunnel.
pub struct TunnelSas {
    /// Inside UDP, both directions.
    pub udp: Option<UdpPorts>,
    /// What we receive.
    pub inbound: Vec<InboundSa>,
    /// What we send.
    pub outbound: Option<OutboundSa>,
    /// The inner packets that may use them.
    pub selectors: Selectors,
}

/// A security association for what we receive.
#[derive(PartialEq, Eq)]
pub struct InboundSa {
    /// The number that its packets carry.
    pub spi: u32,
    /// The algorithms.
    pub suite: Suite,
    /// Key and salt of the cipher.
    pub key: Secret,
    /// Key of the HMAC; empty for an AEAD.
    pub auth_key: Secret,
    /// Packets that the replay window spans; 0: nothing is checked.
    pub replay_window: u32,
    /// Sequence numbers of 64 bits.
    pub esn: bool,
}

/// A security association for what we send.
#[derive(PartialEq, Eq)]
pub struct OutboundSa {
    /// The number that its packets carry.
    pub spi: u32,
    /// The algorithms.
    pub suite: Suite,
    /// Key and salt of the cipher.
    pub key: Secret,
    /// Key of the HMAC; empty for an AEAD.
    pub auth_key: Secret,
    /// Packets that the peer's replay window spans; 0: it checks nothing.
    pub peer_replay_window: u32,
    /// Sequence numbers of 64 bits.
    pub esn: bool,
    /// Sequence number from which on a rekey is asked for.
    pub soft_packets: Option<u64>,
    /// Last sequence number.
    pub hard_packets: Option<u64>,
}

impl InboundSa {
    /// The keys in the form that ciphers are made from.
    ///
    /// # Errors
    /// When a length is not the suite's; the file was checked for that.
    pub fn keys(&self) -> Result<KeyMaterial, KeyError> {
        KeyMaterial::new(self.suite, self.key.bytes(), self.auth_key.bytes())
    }
}

impl OutboundSa {
    /// The keys in the form that ciphers are made from.
    ///
    /// # Errors
    /// When a length is not the suite's; the file was checked for that.
    pub fn keys(&self) -> Result<KeyMaterial, KeyError> {
        KeyMaterial::new(self.suite, self.key.bytes(), self.auth_key.bytes())
    }
}

impl TunnelSas {
    /// The suites in use.
    pub fn suites(&self) -> impl Iterator<Item = Suite> {
        self.inbound.iter().map(|sa| sa.suite).chain(self.outbound.iter().map(|sa| sa.suite))
    }
}
