//! What charon is to hold for us: one connection for each tunnel that is negotiated, and what they authenticate with.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::vici::Message;

/// What each secret of ours in charon is called before the name of its tunnel; others are not ours.
pub const SECRET_PREFIX: &str = "penstock:";

/// All that charon is to hold for us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By name, `TENANT/TUNNEL`; the only child of each is called the same.
    pub connections: BTreeMap<String, Connection>,
    /// Requests of `load-shared`, by their `id`, which begins with [`SECRET_PREFIX`].
    pub secrets: BTreeMap<String, Message>,
    /// Requests of `load-key`, by the file that the key comes from.
    pub keys: BTreeMap<String, Message>,
    /// Requests of `load-cert`, by the file that the certificate comes from.
    pub certificates: BTreeMap<String, Message>,
}

/// A tunnel, as charon and we know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Who the tunnel belongs to.
    pub tenant: String,
    /// Its name there.
    pub tunnel: String,
    /// The section of `load-conn`.
    pub section: Message,
    /// The part of it that says who may talk to whom: addresses, identities, selectors. When it changes, what was
    /// negotiated is void.
    pub peers: Message,
    /// Our endpoint.
    pub local: IpAddr,
    /// The customer's router; `None`: wherever it is.
    pub remote: Option<IpAddr>,
    /// Who we say we are.
    pub local_id: String,
    /// Who the customer's router has to say it is.
    pub remote_id: String,
    /// What we agree to for the IKE SA, as configured.
    pub proposals: String,
    /// What we agree to for ESP, as configured.
    pub esp_proposals: String,
    /// What may go through, ours first: `10.1.0.0/16 === 10.2.0.0/16`.
    pub selectors: String,
}

impl Connection {
    /// Whether a negotiation between these addresses may be this tunnel's, and nobody else's by its address.
    pub fn is_between(&self, local: IpAddr, remote: IpAddr) -> bool {
        self.local == local && self.remote == Some(remote)
    }

    /// Whether the router of this tunnel may come from this address.
    pub fn takes(&self, local: IpAddr, remote: IpAddr) -> bool {
        self.local == local && self.remote.is_none_or(|known| known == remote)
    }
}
