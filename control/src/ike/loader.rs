//! Brings charon in line with what is wanted, by difference: what did not change is not touched, so that one changed
//! tunnel of a thousand costs one message and disturbs nobody.
//!
//! Order: certificates, keys and secrets come before the connections that need them, and go after those that needed
//! them. A tunnel that went, or whose peers changed, loses its IKE SA: it was agreed on with somebody else. Other
//! changes hold from the next negotiation on.
//!
//! Only what is ours is touched. In a daemon of the operator's that is: connections with one child of the same name
//! `X/Y`, and secrets with our prefix. Certificates cannot be unloaded one by one; one that is not wanted any more stays
//! until charon ends, and authenticates nobody, because each connection names the authorities that it trusts.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::vici::{Client, Message, Section, ViciError};
use super::wanted::{SECRET_PREFIX, Wanted};

/// What makes the peers of a connection who they are; kept over a restart of ours, holds no secret.
pub type Fingerprint = [u8; 32];

/// What charon holds of ours, as far as we know.
#[derive(Debug, Default)]
pub struct Loader {
    connections: BTreeMap<String, Known>,
    secrets: BTreeMap<String, Option<Message>>,
    /// With charon's name for each.
    keys: BTreeMap<String, (Message, String)>,
    certificates: BTreeMap<String, Message>,
    /// Whether it has been asked what it held before.
    surveyed: bool,
    /// What an earlier process of ours loaded.
    recalled: BTreeMap<String, Fingerprint>,
}

#[derive(Debug)]
struct Known {
    /// `None`: an earlier process of ours loaded it.
    section: Option<Message>,
    /// `None`: not known.
    peers: Option<Fingerprint>,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was loaded and unloaded.
    pub changes: usize,
    /// Tunnels whose IKE SAs were ended.
    pub ended: Vec<String>,
    /// What charon did not take, by tunnel or file: why, and what to do.
    pub refused: BTreeMap<String, String>,
}

impl Loader {
    /// A loader for a charon that holds nothing, or what an earlier process of ours has loaded into it.
    pub fn new(recalled: BTreeMap<String, Fingerprint>) -> Self {
        Self { recalled, ..Self::default() }
    }

    /// What to pass to [`Loader::new`] after a restart of ours.
    pub fn fingerprints(&self) -> BTreeMap<String, Fingerprint> {
        // Nobody has seen what charon holds of it yet.
        if !self.surveyed {
            return self.recalled.clone();
        }
        let known = self.connections.iter();
        known.filter_map(|(name, known)| Some((name.clone(), known.peers?))).collect()
    }

    /// Makes charon hold what is wanted.
    ///
    /// # Errors
    /// When the connection is of no more use: go on with a new one. What charon refuses is in the report.
    pub async fn bring(&mut self, charon: &mut Client, wanted: &Wanted) -> Result<Report, ViciError> {
        let mut report = Report::default();
        if !self.surveyed {
            self.survey(charon).await?;
            self.surveyed = true;
        }
        self.load_credentials(charon, wanted, &mut report).await?;
        self.load_connections(charon, wanted, &mut report).await?;
        self.unload_connections(charon, wanted, &mut report).await?;
        self.unload_credentials(charon, wanted, &mut report).await?;
        Ok(report)
    }

    /// What an earlier process of ours has left.
    async fn survey(&mut self, charon: &mut Client) -> Result<(), ViciError> {
        let mut ours = Vec::new();
        let take = |section: Section| ours.extend(section.sections().filter(is_ours).map(name));
        charon.stream("list-conns", "list-conn", &Message::new(), take).await?;
        for name in ours {
            let peers = self.recalled.get(&name).copied();
            self.connections.insert(name, Known { section: None, peers });
        }
        let secrets = charon.request("get-shared", &Message::new()).await?;
        let ours = secrets.list("keys").iter().filter(|id| id.starts_with(SECRET_PREFIX));
        self.secrets.extend(ours.map(|id| (id.clone(), None)));
        Ok(())
    }

    async fn load_credentials(
        &mut self,
        charon: &mut Client,
        wanted: &Wanted,
        report: &mut Report,
    ) -> Result<(), ViciError> {
        for (file, certificate) in &wanted.certificates {
            if self.certificates.get(file) == Some(certificate) {
                continue;
            }
            if report.take(file, charon.request("load-cert", certificate).await)?.is_some() {
                self.certificates.insert(file.clone(), certificate.clone());
            }
        }
        for (file, key) in &wanted.keys {
            if self.keys.get(file).is_some_and(|(known, _)| known == key) {
                continue;
            }
            if let Some(answer) = report.take(file, charon.request("load-key", key).await)? {
                let id = answer.value("id").unwrap_or_default().to_owned();
                if let Some((_, old)) = self.keys.insert(file.clone(), (key.clone(), id)) {
                    self.unload_key(charon, file, old, report).await?;
                }
            }
        }
        for (id, secret) in &wanted.secrets {
            if self.secrets.get(id).and_then(Option::as_ref) == Some(secret) {
                continue;
            }
            let tunnel = id.strip_prefix(SECRET_PREFIX).unwrap_or(id);
            if report.take(tunnel, charon.request("load-shared", secret).await)?.is_some() {
                self.secrets.insert(id.clone(), Some(secret.clone()));
            }
        }
        Ok(())
    }

    async fn load_connections(
        &mut self,
        charon: &mut Client,
        wanted: &Wanted,
        report: &mut Report,
    ) -> Result<(), ViciError> {
        for (name, connection) in &wanted.connections {
            let known = self.connections.get(name);
            if known.and_then(|known| known.section.as_ref()) == Some(&connection.section) {
                continue;
            }
            let peers = fingerprint(&connection.peers)?;
            let request = Message::new().section(name, &connection.section);
            // A change that is refused leaves the connection as it was, in charon and here.
            if report.take(name, charon.request("load-conn", &request).await)?.is_none() {
                continue;
            }
            let section = Some(connection.section.clone());
            let before = self.connections.insert(name.clone(), Known { section, peers: Some(peers) });
            if before.and_then(|before| before.peers).is_some_and(|before| before != peers) {
                terminate(charon, name, report).await?;
            }
        }
        Ok(())
    }

    async fn unload_connections(
        &mut self,
        charon: &mut Client,
        wanted: &Wanted,
        report: &mut Report,
    ) -> Result<(), ViciError> {
        let gone = self.connections.keys().filter(|name| !wanted.connections.contains_key(*name));
        for name in gone.cloned().collect::<Vec<_>>() {
            report.take(&name, charon.request("unload-conn", &Message::new().value("name", &name)).await)?;
            terminate(charon, &name, report).await?;
            self.connections.remove(&name);
        }
        Ok(())
    }

    async fn unload_credentials(
        &mut self,
        charon: &mut Client,
        wanted: &Wanted,
        report: &mut Report,
    ) -> Result<(), ViciError> {
        let gone = self.secrets.keys().filter(|id| !wanted.secrets.contains_key(*id));
        for id in gone.cloned().collect::<Vec<_>>() {
            let tunnel = id.strip_prefix(SECRET_PREFIX).unwrap_or(&id);
            report.take(tunnel, charon.request("unload-shared", &Message::new().value("id", &id)).await)?;
            self.secrets.remove(&id);
        }
        let gone = self.keys.keys().filter(|file| !wanted.keys.contains_key(*file));
        for file in gone.cloned().collect::<Vec<_>>() {
            let Some((_, id)) = self.keys.remove(&file) else { continue };
            self.unload_key(charon, &file, id, report).await?;
        }
        self.certificates.retain(|file, _| wanted.certificates.contains_key(file));
        Ok(())
    }

    /// A file does not hold this key any more; another file may.
    async fn unload_key(
        &self,
        charon: &mut Client,
        file: &str,
        id: String,
        report: &mut Report,
    ) -> Result<(), ViciError> {
        if !self.keys.values().any(|(_, other)| *other == id) {
            report.take(file, charon.request("unload-key", &Message::new().value("id", id)).await)?;
        }
        Ok(())
    }
}

impl Report {
    /// Counts what was done and notes what was refused; only a broken connection is an error.
    fn take(
        &mut self,
        what: &str,
        outcome: Result<Section, ViciError>,
    ) -> Result<Option<Section>, ViciError> {
        match outcome {
            Ok(answer) => {
                self.changes += 1;
                Ok(Some(answer))
            }
            Err(refused) if refused.is_refusal() => {
                let reason = refused.to_string();
                self.refused
                    .insert(what.to_owned(), format!("charon refuses it: {reason}; {}", advice(&reason)));
                Ok(None)
            }
            Err(broken) => Err(broken),
        }
    }
}

/// Ends the IKE SA of a tunnel and with it its children; the peer is told. Does not wait for it.
async fn terminate(charon: &mut Client, name: &str, report: &mut Report) -> Result<(), ViciError> {
    let request = Message::new().value("ike", name).value("timeout", "-1");
    match charon.request("terminate", &request).await {
        Ok(_) => report.ended.push(name.to_owned()),
        // There was none.
        Err(refused) if refused.is_refusal() => {}
        Err(broken) => return Err(broken),
    }
    Ok(())
}

fn is_ours((name, connection): &(&str, &Section)) -> bool {
    let mut children = connection.section("children").into_iter().flat_map(Section::sections);
    let first = children.next().map(|(child, _)| child);
    name.split('/').count() == 2 && first == Some(*name) && children.next().is_none()
}

fn name((name, _): (&str, &Section)) -> String {
    name.to_owned()
}

fn fingerprint(peers: &Message) -> Result<Fingerprint, ViciError> {
    Ok(Sha256::digest(peers.encoded()?).into())
}

/// What an operator can do about charon's words.
fn advice(reason: &str) -> &'static str {
    let says = |word: &str| reason.contains(word);
    if says("proposals") {
        "this charon lacks an algorithm that the tunnel's proposals name: leave it out, or have charon load the plugin \
         that brings it (swanctl --list-algs)"
    } else if says("private key") {
        "the key must be PEM or DER without a passphrase, of a kind that this charon knows: \
         openssl pkey -in FILE -noout -text"
    } else if says("basic constraint") {
        "ike.ca must name certificates of authorities (CA:TRUE): openssl x509 -in FILE -noout -ext basicConstraints"
    } else if says("certificate") || says("certs") {
        "the file must hold one X.509 certificate, PEM or DER: openssl x509 -in FILE -noout -text"
    } else {
        "charon's log has the details (penstock show ike names it)"
    }
}
