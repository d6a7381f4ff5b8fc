//! What is known of each negotiation under way.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::failure::Cause;
use super::saying::{Peers, Saying};
use crate::ike::vici::Section;
use crate::ike::wanted::Wanted;

/// IKE SAs that something is remembered of. When more are under way, all are forgotten: their failures are told with
/// less detail.
const MAX: usize = 10_000;
/// A negotiation that takes longer has ended long ago.
const MAX_AGE: Duration = Duration::from_secs(120);
/// Bytes of what a peer offers that are kept; a sentence prints less.
const MAX_WORDS: usize = 2000;

/// A negotiation that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) cause: Cause,
    pub(super) peers: Option<Peers>,
    /// Whose it was; several, when they cannot be told apart by what is known.
    pub(super) tunnels: Vec<String>,
}

impl Failed {
    /// What the log is limited by: the tunnel, wherever its packets come from; else the address.
    pub(super) fn limited_by(&self) -> String {
        if self.tunnels.is_empty() { self.subject() } else { self.tunnels.join(", ") }
    }

    /// What the line begins with.
    pub(super) fn subject(&self) -> String {
        let of = match &*self.tunnels {
            [] => "IKE".to_owned(),
            [tunnel] => format!("tunnel {tunnel}"),
            several => format!("one of the tunnels {}", several.join(", ")),
        };
        match self.peers {
            None => of,
            Some(peers) if !self.tunnels.is_empty() => format!("{of}, router {}", peers.remote),
            Some(Peers { local: Some(local), remote }) => format!("{of} from {remote} to {local}"),
            Some(Peers { local: None, remote }) => format!("{of} from {remote}"),
        }
    }
}

/// By charon's number for the IKE SA.
#[derive(Debug, Default)]
pub(super) struct Negotiations(HashMap<u64, Negotiation>);

#[derive(Debug)]
struct Negotiation {
    last: Instant,
    peers: Option<Peers>,
    tunnel: Option<String>,
    version1: bool,
    established: bool,
    offered: String,
    accepted: BTreeSet<String>,
    ours: String,
    theirs: String,
    certificates: Vec<String>,
    cause: Option<Cause>,
}

impl Negotiations {
    /// Takes what charon says about an IKE SA; the answer is a negotiation that failed.
    pub(super) fn take(
        &mut self,
        now: Instant,
        id: u64,
        name: Option<&str>,
        peers: Option<Peers>,
        saying: Option<Saying<'_>>,
        wanted: &Wanted,
    ) -> Option<Failed> {
        self.make_room(now, id);
        let known = self.0.entry(id).or_insert_with(|| Negotiation::new(now));
        known.last = now;
        // The first line is from the thread that took its first packet. Later ones may be from any.
        known.peers = known.peers.or(peers);
        if let Some(name) = name {
            known.tunnel = Some(name.to_owned());
        }
        let cause = known.hear(saying?)?;
        let tunnels = known.tunnels(wanted);
        let peers = known.peers;
        Some(Failed { cause, peers, tunnels })
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the IKE SA of an event is one that is known not to have been established.
    pub(super) fn is_unfinished(&self, event: &Section) -> bool {
        let id = event.sections().find_map(|(_, sa)| sa.number("uniqueid"));
        id.and_then(|id| self.0.get(&id)).is_some_and(|known| !known.established)
    }

    fn make_room(&mut self, now: Instant, id: u64) {
        if self.0.len() < MAX || self.0.contains_key(&id) {
            return;
        }
        self.0.retain(|_, known| now.saturating_duration_since(known.last) < MAX_AGE);
        if self.0.len() >= MAX {
            self.0.clear();
        }
    }
}

impl Negotiation {
    fn new(now: Instant) -> Self {
        Self {
            last: now,
            peers: None,
            tunnel: None,
            version1: false,
            established: false,
            offered: String::new(),
            accepted: BTreeSet::new(),
            ours: String::new(),
            theirs: String::new(),
            certificates: Vec::new(),
            cause: None,
        }
    }

    /// Remembers; the answer is why it failed, when it has.
    fn hear(&mut self, saying: Saying<'_>) -> Option<Cause> {
        let keep = |text: &str| text.chars().take(MAX_WORDS).collect::<String>();
        match saying {
            Saying::Version1 => self.version1 = true,
            Saying::Offered(text) => {
                self.offered = keep(text);
            }
            Saying::Accepted(text) => {
                self.accepted.insert(keep(text));
            }
            Saying::Identities { ours, theirs } => {
                self.ours = keep(ours);
                self.theirs = keep(theirs);
            }
            Saying::Selected(name) => self.tunnel = Some(name.to_owned()),
            Saying::Certificate(why) => self.certificates.push(keep(&why)),
            Saying::BadSignature => self.certificates.push("the signature is not of its key".to_owned()),
            Saying::Established => {
                self.established = true;
                self.cause = None;
            }
            Saying::NoConnection => self.cause = Some(self.no_connection()),
            Saying::NoProposal => self.cause = Some(self.no_proposal()),
            Saying::NoPeer => {
                self.cause = Some(Cause::Identity { ours: self.ours.clone(), theirs: self.theirs.clone() });
            }
            Saying::SecretDiffers => self.cause = Some(Cause::SecretDiffers),
            Saying::NoSecret => {
                let (ours, theirs) = (self.ours.clone(), self.theirs.clone());
                self.cause = Some(Cause::NoSecret { ours, theirs });
            }
            Saying::NotAsConfigured(why) => self.not_as_configured(keep(why)),
            Saying::Eap => self.cause = Some(Cause::Eap),
            Saying::NoKeyOfOurs(id) => self.cause = Some(Cause::NoKeyOfOurs(keep(id))),
            Saying::Selectors(asked) => self.cause = Some(Cause::Selectors(keep(asked))),
            Saying::NotInstalled(why) => self.cause = Some(Cause::NotInstalled(keep(why))),
            Saying::NoControl(why) => self.cause = Some(Cause::NotInstalled(keep(why))),
            Saying::InstallFailed => {
                if !matches!(self.cause, Some(Cause::NotInstalled(_))) {
                    self.cause = Some(Cause::NotInstalled("charon's log says why".to_owned()));
                }
            }
            Saying::Undecryptable => self.cause = Some(Cause::Undecryptable),
            Saying::Refusing(notifies) => return Some(self.refused(notifies)),
            Saying::NoAnswer => return Some(Cause::NoAnswer { established: self.established }),
            Saying::HalfOpen => return Some(Cause::HalfOpen),
            Saying::PeerRefuses => return Some(Cause::PeerRefuses),
            Saying::RekeyRefused(notify) => return Some(Cause::RekeyRefused(keep(notify))),
            Saying::Received(_) | Saying::Overload { .. } | Saying::NoIke { .. } => {}
        }
        None
    }

    fn no_connection(&self) -> Cause {
        if self.version1 { Cause::Version1 } else { Cause::NoConnection }
    }

    fn no_proposal(&self) -> Cause {
        let accepted = self.accepted.iter().cloned().collect::<Vec<_>>().join(", ");
        Cause::Proposals { offered: self.offered.clone(), accepted }
    }

    /// The first reason names what is wrong; "non-matching authentication done" comes after it and says nothing.
    fn not_as_configured(&mut self, why: String) {
        if self.cause.is_none() {
            self.cause = Some(Cause::NotAsConfigured(why));
        }
    }

    fn refused(&mut self, notifies: &str) -> Cause {
        let certificates = std::mem::take(&mut self.certificates);
        self.offered.clear();
        self.accepted.clear();
        match self.cause.take() {
            // What was said of the certificate is nearer to the matter.
            Some(Cause::NotAsConfigured(_)) | None if !certificates.is_empty() && !self.established => {
                let mut reasons: Vec<String> = Vec::new();
                for reason in certificates {
                    if !reasons.contains(&reason) {
                        reasons.push(reason);
                    }
                }
                Cause::Certificate(reasons.join("; "))
            }
            Some(cause) => cause,
            None => Cause::Other(notifies.to_owned()),
        }
    }

    /// Whose negotiation it is: charon's choice, or who may come from this address.
    fn tunnels(&self, wanted: &Wanted) -> Vec<String> {
        if let Some(tunnel) = self.tunnel.as_ref().filter(|tunnel| wanted.connections.contains_key(*tunnel)) {
            return vec![tunnel.clone()];
        }
        let Some(peers) = self.peers else { return Vec::new() };
        let Some(local) = peers.local else { return Vec::new() };
        let between = wanted.connections.iter().filter(|(_, known)| known.is_between(local, peers.remote));
        between.map(|(name, _)| name.clone()).take(4).collect()
    }
}

/// What charon says without an IKE SA.
pub(super) fn without_sa(saying: Saying<'_>) -> Option<Failed> {
    let (cause, remote) = match saying {
        Saying::Overload { from, why } => (Cause::Overload(why.to_owned()), from),
        Saying::NoIke { from, text } => (Cause::NoIke(text.to_owned()), from),
        _ => return None,
    };
    Some(Failed { cause, peers: Some(Peers { local: None, remote }), tunnels: Vec::new() })
}
