//! A configuration as charon is to hold it: each tunnel with `ike` is a connection with one child, both called
//! `TENANT/TUNNEL`, and a secret of its own.
//!
//! Nothing is left to charon's defaults that a tunnel depends on. What is the same for all is in `child` and
//! `connection`, with its reason; what an operator may choose comes from the configuration, which was checked
//! ([`crate::config`]). [`Credentials`] reads the files; the rest is without effects.

mod credentials;
mod pem;
mod strongswan_conf;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

pub use credentials::{Credentials, Findings};
pub use strongswan_conf::strongswan_conf;

use super::vici::Message;
use super::wanted::{Connection, SECRET_PREFIX, Wanted};
use crate::config::{Dpd, IkeAuth, Name, NatT, Period, Proposals, TunnelConfig, TunnelIke, ValidConfig};

/// Everything that charon is to hold. `reqid` numbers the tunnels; one without a number is left out.
pub fn wanted(
    config: &ValidConfig,
    credentials: &Credentials,
    reqid: impl Fn(&Name, &Name) -> Option<u32>,
) -> Wanted {
    let mut wanted = Wanted::default();
    for (tenant, settings) in &config.tenants {
        for (name, tunnel) in &settings.tunnels {
            let Some(ike) = tunnel.ike() else { continue };
            let Some(local) = config.endpoints.get(&tunnel.endpoint) else { continue };
            let Some(reqid) = reqid(tenant, name) else { continue };
            let rendered = Rendered::new(*local, tunnel, ike, credentials);
            let full = format!("{tenant}/{name}");
            match &ike.auth {
                IkeAuth::Psk { psk_file } => {
                    let id = format!("{SECRET_PREFIX}{full}");
                    let secret = rendered.secret(&id, credentials.psk(psk_file));
                    wanted.secrets.insert(id, secret);
                }
                // Without one the router is told that its key is wrong, which `show ike` says.
                IkeAuth::Stored { .. } => {
                    if let Some(psk) = credentials.stored(tenant, name) {
                        let id = format!("{SECRET_PREFIX}{full}");
                        wanted.secrets.insert(id.clone(), rendered.secret(&id, psk));
                    }
                }
                IkeAuth::Certificates { certificate, private_key, .. } => {
                    let key = Message::new().value("type", "any").value("data", credentials.key(private_key));
                    wanted.keys.insert(private_key.display().to_string(), key);
                    intermediates(&mut wanted, certificate, credentials);
                }
            }
            let connection = rendered.connection(tenant, name, &full, reqid);
            wanted.connections.insert(full, connection);
        }
    }
    wanted
}

/// The certificates between ours and its authority, which we show along with ours.
fn intermediates(wanted: &mut Wanted, file: &Path, credentials: &Credentials) {
    for (i, certificate) in credentials.certificates(file).iter().enumerate().skip(1) {
        let message = Message::new().value("type", "X509").value("flag", "NONE").value("data", certificate);
        wanted.certificates.insert(format!("{}#{}", file.display(), i + 1), message);
    }
}

/// A tunnel, with what follows from its configuration.
struct Rendered<'a> {
    local: IpAddr,
    remote: Option<IpAddr>,
    /// `None`: the subject of our certificate, which charon reads.
    local_id: Option<String>,
    remote_id: String,
    ike: &'a TunnelIke,
    credentials: &'a Credentials,
}

impl<'a> Rendered<'a> {
    fn new(local: IpAddr, tunnel: &TunnelConfig, ike: &'a TunnelIke, credentials: &'a Credentials) -> Self {
        let remote = tunnel.remote.address();
        let configured = ike.local_id.as_ref().map(|id| id.text());
        let local_id = match &ike.auth {
            IkeAuth::Psk { .. } | IkeAuth::Stored { .. } => {
                Some(configured.unwrap_or_else(|| local.to_string()))
            }
            IkeAuth::Certificates { .. } => configured,
        };
        let remote_id = match (&ike.remote_id, remote) {
            (Some(id), _) => id.text(),
            (None, Some(address)) => address.to_string(),
            // The configuration was checked for it.
            (None, None) => String::new(),
        };
        Self { local, remote, local_id, remote_id, ike, credentials }
    }

    /// charon finds a secret by both identities.
    fn secret(&self, id: &str, secret: &[u8]) -> Message {
        let owners = self.local_id.iter().chain([&self.remote_id]);
        Message::new().value("id", id).value("type", "IKE").value("data", secret).list("owners", owners)
    }

    fn connection(&self, tenant: &Name, name: &Name, full: &str, reqid: u32) -> Connection {
        let ike = self.ike;
        let section = Message::new()
            .value("version", "2")
            .list("local_addrs", [self.local.to_string()])
            .list("remote_addrs", [self.remote_addrs()])
            .list("proposals", ike.proposals.iter().map(|one| one.as_str()))
            .value("encap", yes(ike.nat_t == NatT::Always))
            // A peer that moves is followed by its ESP packets; another local address it must not choose.
            .value("mobike", "no")
            .value("fragmentation", "yes")
            // The router has come back before we knew that it had gone: the new one counts.
            .value("unique", "replace")
            .value("dpd_delay", seconds(dpd(ike.dpd)))
            .value("rekey_time", seconds(ike.rekey))
            .value("over_time", seconds(tenth(ike.rekey)))
            .value("rand_time", seconds(tenth(ike.rekey)))
            .value("reauth_time", "0s")
            // Not all routers ask for the certificate that they need.
            .value("send_cert", "always")
            .section("local", &self.local_auth())
            .section("remote", &self.remote_auth())
            .section("children", &Message::new().section(full, &self.child(reqid)));
        Connection {
            tenant: tenant.to_string(),
            tunnel: name.to_string(),
            section,
            peers: self.peers(),
            local: self.local,
            remote: self.remote,
            local_id: self.local_id.clone().unwrap_or_else(|| self.subject()),
            remote_id: self.remote_id.clone(),
            proposals: join(&ike.proposals),
            esp_proposals: join(&ike.esp_proposals),
            selectors: format!("{} === {}", words(&ike.selectors.local), words(&ike.selectors.remote)),
        }
    }

    fn remote_addrs(&self) -> String {
        self.remote.map_or_else(|| "%any".to_owned(), |remote| remote.to_string())
    }

    fn subject(&self) -> String {
        match &self.ike.auth {
            IkeAuth::Certificates { certificate, .. } => format!("the subject of {}", certificate.display()),
            IkeAuth::Psk { .. } | IkeAuth::Stored { .. } => String::new(),
        }
    }

    /// Who talks to whom about what: when that changes, what was agreed on before is void.
    fn peers(&self) -> Message {
        let auth = match &self.ike.auth {
            IkeAuth::Psk { .. } | IkeAuth::Stored { .. } => "psk",
            IkeAuth::Certificates { .. } => "pubkey",
        };
        Message::new()
            .value("local", self.local.to_string())
            .value("remote", self.remote_addrs())
            .value("local_id", self.local_id.as_deref().unwrap_or_default())
            .value("remote_id", &self.remote_id)
            .value("auth", auth)
            .list("local_ts", texts(&self.ike.selectors.local))
            .list("remote_ts", texts(&self.ike.selectors.remote))
    }

    fn local_auth(&self) -> Message {
        let auth = match &self.ike.auth {
            IkeAuth::Psk { .. } | IkeAuth::Stored { .. } => Message::new().value("auth", "psk"),
            IkeAuth::Certificates { certificate, .. } => {
                let ours = self.credentials.certificates(certificate).iter().take(1);
                Message::new().value("auth", "pubkey").list("certs", ours)
            }
        };
        match &self.local_id {
            Some(id) => auth.value("id", id),
            None => auth,
        }
    }

    fn remote_auth(&self) -> Message {
        let auth = match &self.ike.auth {
            IkeAuth::Psk { .. } | IkeAuth::Stored { .. } => Message::new().value("auth", "psk"),
            IkeAuth::Certificates { ca, .. } => {
                let authorities = ca.iter().flat_map(|file| self.credentials.certificates(file));
                Message::new().value("auth", "pubkey").list("cacerts", authorities)
            }
        };
        auth.value("id", &self.remote_id)
    }

    fn child(&self, reqid: u32) -> Message {
        let ike = self.ike;
        // charon takes a proposal without a word of ESN for one without ESN.
        let proposals =
            ike.esp_proposals.iter().map(|one| if ike.esn { format!("{one}-esn") } else { one.to_string() });
        let mut child = Message::new()
            .value("mode", "tunnel")
            // Names the tunnel in everything that the plugin says.
            .value("reqid", reqid.to_string())
            .list("esp_proposals", proposals)
            .list("local_ts", texts(&ike.selectors.local))
            .list("remote_ts", texts(&ike.selectors.remote))
            .value("replay_window", ike.replay_window.to_string())
            .value("rekey_time", seconds(ike.esp_rekey))
            .value("life_time", seconds(and_a_tenth(ike.esp_rekey)))
            .value("rand_time", seconds(tenth(ike.esp_rekey)))
            // By them the plugin knows when charon means to send under a new security association.
            .value("policies", "yes")
            .value("ipcomp", "no")
            .value("hw_offload", "no")
            // We respond: nothing begins, or begins again, by itself.
            .value("start_action", "none")
            .value("close_action", "none")
            .value("dpd_action", "none");
        for (what, limit) in [("bytes", ike.esp_rekey_bytes), ("packets", ike.esp_rekey_packets)] {
            let Some(limit) = limit else { continue };
            child = child
                .value(&format!("rekey_{what}"), limit.to_string())
                .value(&format!("life_{what}"), (limit + limit / 10).to_string())
                .value(&format!("rand_{what}"), (limit / 10).to_string());
        }
        child
    }
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn seconds(period: Period) -> String {
    format!("{}s", period.seconds)
}

/// Between the age at which a key is replaced at the latest, and the one at which it ends.
fn tenth(period: Period) -> Period {
    Period::from_secs((period.seconds / 10).max(1))
}

fn and_a_tenth(period: Period) -> Period {
    Period::from_secs(period.seconds + tenth(period).seconds)
}

fn dpd(dpd: Dpd) -> Period {
    match dpd {
        Dpd::Off => Period::from_secs(0),
        Dpd::After(period) => period,
    }
}

fn texts(prefixes: &[IpNet]) -> impl Iterator<Item = String> + '_ {
    prefixes.iter().map(ToString::to_string)
}

fn words(prefixes: &[IpNet]) -> String {
    texts(prefixes).collect::<Vec<_>>().join(", ")
}

fn join(proposals: &Proposals) -> String {
    proposals.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ")
}
