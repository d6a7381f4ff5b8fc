//! `ike`, of the gateway and of a tunnel: who negotiates security associations, and what is agreed to.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Serialize;

use crate::config::duration::Period;
use crate::config::identity::Identity;
use crate::config::proposal::Proposals;

/// `ike`: the daemon that speaks IKEv2 for us, strongSwan's charon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IkeConfig {
    /// Whose it is.
    #[serde(flatten)]
    pub daemon: IkeDaemon,
    /// Directory of what must outlive a restart of ours but not of the host: the journal of security associations,
    /// and all that a daemon of ours needs. Its files hold keys.
    pub run: PathBuf,
    /// The unix socket where our plugin in charon finds us.
    pub plugin_socket: PathBuf,
    /// Most IKE packets that all workers together hand to the kernel, in a second.
    pub rate: u32,
    /// Most of them that come from one source, in a second.
    pub source_rate: u32,
}

impl IkeConfig {
    /// The unix socket where charon takes connections and secrets (its vici).
    pub fn vici(&self) -> PathBuf {
        match &self.daemon {
            IkeDaemon::Managed(_) => Self::managed_vici(&self.run),
            IkeDaemon::External(daemon) => daemon.vici.clone(),
        }
    }

    /// The same for a daemon of ours.
    pub(in crate::config) fn managed_vici(run: &Path) -> PathBuf {
        run.join("charon.vici")
    }

    /// What is set for a daemon of ours; `None`: it is the operator's.
    pub fn managed(&self) -> Option<&ManagedCharon> {
        match &self.daemon {
            IkeDaemon::Managed(daemon) => Some(daemon),
            IkeDaemon::External(_) => None,
        }
    }
}

/// `ike.mode`: who starts charon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum IkeDaemon {
    /// We do, with a configuration of our own, when a tunnel has `ike`.
    Managed(ManagedCharon),
    /// The operator; we load connections into it.
    External(ExternalCharon),
}

/// A charon that we start and watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManagedCharon {
    /// The program.
    pub charon: PathBuf,
    /// Its worker threads.
    pub threads: u16,
}

/// A charon that the operator runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExternalCharon {
    /// Its vici socket.
    pub vici: PathBuf,
}

/// `tenants.NAME.tunnels.NAME.ike`: how a tunnel's security associations are negotiated. We only respond.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TunnelIke {
    /// How both sides show who they are.
    #[serde(flatten)]
    pub auth: IkeAuth,
    /// Who we say we are; `None`: the endpoint's address, or the subject of our certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_id: Option<Identity>,
    /// Who the customer's router says it is; `None`: the remote address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<Identity>,
    /// What we agree to for the IKE SA.
    pub proposals: Proposals,
    /// Age at which we rekey the IKE SA.
    pub rekey: Period,
    /// What we agree to for the security associations of the tunnel.
    pub esp_proposals: Proposals,
    /// Age at which we rekey them.
    pub esp_rekey: Period,
    /// Bytes after which we rekey them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub esp_rekey_bytes: Option<u64>,
    /// Packets after which we rekey them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub esp_rekey_packets: Option<u64>,
    /// The inner packets that we agree to.
    pub selectors: Selectors,
    /// ESP inside UDP (RFC 3948).
    pub nat_t: NatT,
    /// Silence after which the peer is asked whether it is there.
    pub dpd: Dpd,
    /// Packets that our replay window spans; 0: nothing is checked.
    pub replay_window: u32,
    /// Packets that the peer's replay window spans; 0: it checks nothing.
    pub peer_replay_window: u32,
    /// Sequence numbers of 64 bits (RFC 4303 section 2.2.1).
    pub esn: bool,
}

/// How both sides show who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum IkeAuth {
    /// By a secret that both know.
    Psk {
        /// The file that holds it.
        psk_file: PathBuf,
    },
    /// By a secret that both know, which the fleet's store has.
    Stored {
        /// Where it is.
        psk: StoredPsk,
    },
    /// By certificates.
    Certificates {
        /// The file of our certificate, PEM or DER.
        certificate: PathBuf,
        /// The file of its private key.
        private_key: PathBuf,
        /// The files of the authorities whose certificates we accept of the peer.
        ca: Vec<PathBuf>,
    },
}

/// `psk`: a pre-shared key that stands in no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredPsk {
    /// The fleet's store has it, sealed; it comes through the API.
    Store,
}

/// Which inner packets may go through a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Selectors {
    /// Addresses on our side.
    pub local: Vec<IpNet>,
    /// Addresses on the customer's side.
    pub remote: Vec<IpNet>,
}

impl Selectors {
    /// Most prefixes of a side.
    pub const MAX: usize = penstock_dataplane::esp::selector::Selectors::MAX;
}

impl Default for Selectors {
    /// Everything.
    fn default() -> Self {
        let any = || vec![IpNet::from(ipnet::Ipv4Net::default()), IpNet::from(ipnet::Ipv6Net::default())];
        Self { local: any(), remote: any() }
    }
}

/// ESP inside UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NatT {
    /// Where a NAT was found.
    Auto,
    /// Always.
    Always,
}

/// Dead peer detection (RFC 7296 section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dpd {
    /// The peer is not asked.
    Off,
    /// After this silence.
    #[serde(untagged)]
    After(Period),
}
