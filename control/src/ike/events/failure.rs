//! Why a negotiation failed, in words that say what to do.

use std::time::Instant;

use super::negotiation::Failed;
use crate::ike::wanted::{Connection, Wanted};

/// Longest list that a sentence prints.
const MAX_WORDS: usize = 400;

/// The last negotiation of a tunnel that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why, and what to do.
    pub text: String,
    /// When.
    pub at: Instant,
    /// How many have failed since the start of penstock.
    pub count: u64,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    NoConnection,
    Version1,
    Proposals { offered: String, accepted: String },
    Identity { ours: String, theirs: String },
    SecretDiffers,
    NoSecret { ours: String, theirs: String },
    Certificate(String),
    NotAsConfigured(String),
    Eap,
    NoKeyOfOurs(String),
    Selectors(String),
    NotInstalled(String),
    NoAnswer { established: bool },
    HalfOpen,
    PeerRefuses,
    RekeyRefused(String),
    Overload(String),
    NoIke(String),
    Undecryptable,
    Other(String),
}

impl Cause {
    /// One word for each, by which the log is kept from saying the same again and again.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::NoConnection => "connection",
            Self::Version1 => "version",
            Self::Proposals { .. } => "proposals",
            Self::Identity { .. } => "identity",
            Self::SecretDiffers | Self::NoSecret { .. } => "secret",
            Self::Certificate(_) => "certificate",
            Self::NotAsConfigured(_) | Self::Eap => "method",
            Self::NoKeyOfOurs(_) => "key",
            Self::Selectors(_) => "selectors",
            Self::NotInstalled(_) => "install",
            Self::NoAnswer { .. } => "answer",
            Self::HalfOpen => "half-open",
            Self::PeerRefuses => "refused",
            Self::RekeyRefused(_) => "rekey",
            Self::Overload(_) => "overload",
            Self::NoIke(_) => "no-ike",
            Self::Undecryptable => "decrypt",
            Self::Other(_) => "other",
        }
    }
}

/// The sentence for the log and for `show ike`, without its subject.
pub(super) fn sentence(failed: &Failed, wanted: &Wanted) -> String {
    let tunnel = match &*failed.tunnels {
        [name] => wanted.connections.get(name),
        _ => None,
    };
    let text = match &failed.cause {
        Cause::Identity { ours, theirs } => identity(ours, theirs, failed, wanted),
        Cause::Proposals { offered, accepted } => proposals(offered, accepted),
        Cause::Selectors(asked) => selectors(asked, tunnel),
        Cause::NoSecret { ours, theirs } => format!(
            "the router ({theirs}) authenticates with a pre-shared key and none is loaded for {ours} and {theirs}; \
             if the tunnel has certificates, the router must use one too; else see what charon refused: penstock show ike"
        ),
        cause => plain(cause, tunnel),
    };
    printable(&text)
}

fn plain(cause: &Cause, tunnel: Option<&Connection>) -> String {
    match cause {
        Cause::NoConnection => "no tunnel of this endpoint expects a router at this address; give a tunnel this \
                                `remote` (or `any`) and `ike`, or ignore it: scanners do that"
            .into(),
        Cause::Version1 => {
            "the router speaks IKEv1, which is not offered; configure IKEv2 (RFC 7296) on it".into()
        }
        Cause::SecretDiffers => {
            "wrong pre-shared key: ours and the router's differ; enter the same on both sides (ike.psk_file; a \
             space or a newline at its end counts on many routers)"
                .into()
        }
        Cause::Certificate(why) => {
            format!("the router's certificate is not accepted: {why}; renew it, or correct ike.ca or ike.remote_id")
        }
        Cause::NotAsConfigured(why) => format!(
            "the router did not authenticate as is configured ({why}): compare ike.remote_id ({}) and the method, \
             pre-shared key or certificate, with what the router has",
            tunnel.map_or("?", |tunnel| &tunnel.remote_id)
        ),
        Cause::Eap => "the router wants to authenticate with EAP; configure a pre-shared key or a certificate on it".into(),
        Cause::NoKeyOfOurs(id) => format!(
            "we have no private key for {id}: ike.private_key is not the key of ike.certificate, or charon refused it; \
             see penstock show ike"
        ),
        Cause::NotInstalled(why) => format!("negotiated, but not installed: {why}"),
        Cause::NoAnswer { established: true } => {
            "the router does not answer any more (dead peer detection); the tunnel is down until it negotiates again: \
             is it reachable?"
                .into()
        }
        Cause::NoAnswer { established: false } => "the router does not answer: is it reachable?".into(),
        Cause::HalfOpen => "the router began and did not go on: does our answer reach it? If a firewall or NAT is in \
                            between, it must let UDP 500 and 4500 and their fragments through; or it did not like our \
                            answer: see its log"
            .into(),
        Cause::PeerRefuses => format!(
            "the router refuses us: it does not accept our identity ({}), pre-shared key or certificate; its log has \
             the reason",
            tunnel.map_or("?", |tunnel| &tunnel.local_id)
        ),
        Cause::RekeyRefused(notify) => format!(
            "the router refuses our rekey ({notify}): compare ike.esp_proposals (a group asks for PFS), ike.proposals and \
             ike.selectors with what it has; the tunnel ends with its keys"
        ),
        Cause::Overload(why) => format!(
            "not answered: {why}; it is one router that tries again and again, or a flood. Established tunnels go on"
        ),
        Cause::NoIke(text) => format!("{text}: no IKEv2"),
        Cause::Undecryptable => "its message cannot be decrypted: it holds keys of another negotiation".into(),
        Cause::Other(notifies) => format!("refused with {notifies}; charon's log has the details"),
        Cause::Proposals { .. } | Cause::Identity { .. } | Cause::Selectors(_) | Cause::NoSecret { .. } => String::new(),
    }
}

fn proposals(offered: &str, accepted: &str) -> String {
    let (what, key) =
        if offered.starts_with("ESP") { ("ESP", "esp_proposals") } else { ("the IKE SA", "proposals") };
    if offered.is_empty() {
        return format!("no proposal in common for {what}; compare ike.{key} with what the router has");
    }
    format!(
        "no proposal in common for {what}: the router offers {}; we accept {}; change the router, or ike.{key} of the \
         tunnel",
        shortened(&without_protocol(offered)),
        shortened(&without_protocol(accepted)),
    )
}

/// `IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256, IKE:...`: the protocol has been said.
fn without_protocol(list: &str) -> String {
    list.replace("IKE:", "").replace("ESP:", "")
}

fn identity(ours: &str, theirs: &str, failed: &Failed, wanted: &Wanted) -> String {
    let asked = if ours == "%any" { String::new() } else { format!(" and asks for {ours}") };
    let connections = wanted.connections.iter();
    let near = connections.filter(|(_, connection)| {
        failed.peers.is_none_or(|peers| peers.local.is_none_or(|local| connection.takes(local, peers.remote)))
    });
    let configured: Vec<String> = near
        .take(4)
        .map(|(name, connection)| {
            format!("{name}: {}, asking for {}", connection.remote_id, connection.local_id)
        })
        .collect();
    let configured = if configured.is_empty() { "nothing".to_owned() } else { configured.join("; ") };
    format!(
        "unknown identity: the router says it is {theirs}{asked}; configured for its address is {}; correct \
         ike.remote_id or ike.local_id, or the identities on the router",
        shortened(&configured)
    )
}

fn selectors(asked: &str, tunnel: Option<&Connection>) -> String {
    let (ours, theirs) = asked.split_once(" === ").unwrap_or((asked, "?"));
    format!(
        "traffic selectors rejected: the router wants {} on our side and {} on its own; we allow {}; change the \
         router, or ike.selectors of the tunnel",
        shortened(ours),
        shortened(theirs),
        tunnel.map_or("others", |tunnel| &tunnel.selectors)
    )
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Peers choose some of the words: nothing of theirs may move a terminal's cursor or begin a new line.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
