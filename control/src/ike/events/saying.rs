//! The lines of charon's log that matter, of strongSwan 5.9 and 6.0. What is not known here is not needed.
//!
//! Peers choose some words in them (identities, subjects of certificates), so nothing here believes in a structure:
//! what does not fit is passed over.

use std::net::IpAddr;

/// Both ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peers {
    /// `None`: not known.
    pub(super) local: Option<IpAddr>,
    pub(super) remote: IpAddr,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saying<'a> {
    /// A packet came; this thread works on it.
    Received(Peers),
    /// A request of IKEv1.
    Version1,
    /// What the peer offers.
    Offered(&'a str),
    /// What we accept.
    Accepted(&'a str),
    /// Nobody is configured for these addresses.
    NoConnection,
    /// No suite in common, or no group.
    NoProposal,
    /// Who the peer wants to talk to, and who it is.
    Identities { ours: &'a str, theirs: &'a str },
    /// A connection was chosen.
    Selected(&'a str),
    /// Nobody is configured for these identities.
    NoPeer,
    /// The peer's secret is another one.
    SecretDiffers,
    /// There is no secret for these identities.
    NoSecret,
    /// Something about the peer's certificate.
    Certificate(String),
    /// The signature is not of the certificate's key.
    BadSignature,
    /// The peer showed itself in another way than is configured, or is somebody else.
    NotAsConfigured(&'a str),
    /// The peer wants EAP.
    Eap,
    /// We have no key to show ourselves with.
    NoKeyOfOurs(&'a str),
    /// The selectors that the peer wants.
    Selectors(&'a str),
    /// Control did not install what was negotiated, and why.
    NotInstalled(&'a str),
    /// Control does not answer the plugin.
    NoControl(&'a str),
    /// charon could not have it installed; the reason came before.
    InstallFailed,
    /// The other side does not answer.
    NoAnswer,
    /// The peer began and did not go on.
    HalfOpen,
    /// A response that refuses: the notifies in it.
    Refusing(&'a str),
    /// The peer refuses us.
    PeerRefuses,
    /// The peer refuses a rekey that we began: its notify.
    RekeyRefused(&'a str),
    /// Too many at once.
    Overload { from: IpAddr, why: &'a str },
    /// No IKE at all, or of another version.
    NoIke { from: IpAddr, text: &'a str },
    /// It cannot be read.
    Undecryptable,
    /// The IKE SA stands.
    Established,
}

/// Notifies in a response that make it a refusal; others ask the peer to try again in another way.
const REFUSALS: [&str; 9] = [
    "N(NO_PROP)",
    "N(AUTH_FAILED)",
    "N(TS_UNACCEPT)",
    "N(INVAL_SYN)",
    "N(NO_ADD_SAS)",
    "N(FAIL_CP_REQ)",
    "N(SINGLE_PAIR)",
    "N(INT_ADDR_FAIL)",
    "N(CRIT)",
];

impl<'a> Saying<'a> {
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let text = text.trim_start();
        let after = |prefix| text.strip_prefix(prefix);
        Some(match text {
            "no matching peer config found" => Self::NoPeer,
            "received proposals unacceptable" | "no acceptable proposal found" => Self::NoProposal,
            "signature validation failed, looking for another key" => Self::BadSignature,
            "peer requested EAP, config unacceptable" => Self::Eap,
            "integrity check failed" | "could not decrypt payloads" => Self::Undecryptable,
            _ if after("received packet: from ").is_some() => Self::Received(packet(text)?),
            _ if after("parsed ID_PROT request").is_some()
                || after("parsed AGGRESSIVE request").is_some() =>
            {
                Self::Version1
            }
            _ if after("parsed INFORMATIONAL request").is_some() && text.contains("N(AUTH_FAILED)") => {
                Self::PeerRefuses
            }
            _ if after("generating ").is_some() => return refusal(text).map(Self::Refusing),
            _ if after("no IKE config found for ").is_some() => Self::NoConnection,
            _ if after("tried ").is_some() && text.ends_with("but MAC mismatched") => Self::SecretDiffers,
            _ if after("no shared key found for ").is_some() => Self::NoSecret,
            _ if after("IKE_SA ").is_some() && text.contains("] established between ") => Self::Established,
            _ if after("unable to install ").is_some() || text == "allocating SPI failed" => {
                Self::InstallFailed
            }
            _ if after("giving up after ").is_some() => Self::NoAnswer,
            _ if after("deleting half open IKE_SA with ").is_some() => Self::HalfOpen,
            _ => return Self::with_words(text),
        })
    }

    /// Those whose words are wanted.
    fn with_words(text: &'a str) -> Option<Self> {
        let after = |prefix| text.strip_prefix(prefix);
        if let Some(offer) = after("received proposals: ") {
            return Some(Self::Offered(offer));
        }
        if let Some(offer) = after("configured proposals: ") {
            return Some(Self::Accepted(offer));
        }
        if let Some(rest) = after("looking for peer configs matching ") {
            return identities(rest);
        }
        if let Some(rest) = after("selected peer config '").or(after("switching to peer config '")) {
            return match rest.split_once("' unacceptable: ") {
                Some((_, why)) => Some(Self::NotAsConfigured(why)),
                None => rest.strip_suffix('\'').map(Self::Selected),
            };
        }
        if let Some(rest) = after("constraint check failed: ").or(after("constraint requires ")) {
            return Some(Self::NotAsConfigured(rest));
        }
        if let Some(rest) = after("no private key found for ") {
            return Some(Self::NoKeyOfOurs(rest));
        }
        if let Some(rest) = after("traffic selectors ") {
            return rest.strip_suffix(" unacceptable").map(Self::Selectors);
        }
        if let Some((_, why)) = after("penstock refuses ").and_then(|rest| rest.split_once(": ")) {
            return Some(Self::NotInstalled(why));
        }
        if after("penstock does not answer ").is_some() {
            return Some(Self::NoControl(text));
        }
        if let Some(rest) = after("ignoring IKE_SA setup from ") {
            let (from, why) = rest.split_once(", ")?;
            return Some(Self::Overload { from: from.parse().ok()?, why });
        }
        // Nothing but a rekey is begun by us.
        if let Some(rest) = after("received ")
            && let Some(notify) =
                rest.strip_suffix(" notify, no CHILD_SA built").or_else(|| rest.strip_suffix(" notify error"))
        {
            return Some(Self::RekeyRefused(notify));
        }
        if text.starts_with("received invalid IKE header ") || text.starts_with("received unsupported IKE ") {
            let (text, from) = text.split_once(" from ")?;
            let from = from.split([',', ' ']).next()?.parse().ok()?;
            return Some(Self::NoIke { from, text });
        }
        certificate(text).map(Self::Certificate)
    }
}

/// `received packet: from 192.0.2.77[500] to 192.0.2.1[500] (264 bytes)`
fn packet(text: &str) -> Option<Peers> {
    let rest = text.strip_prefix("received packet: from ")?;
    let (remote, rest) = rest.split_once(" to ")?;
    let (local, _) = rest.split_once(" (")?;
    Some(Peers { local: Some(address(local)?), remote: address(remote)? })
}

fn address(text: &str) -> Option<IpAddr> {
    text.strip_suffix(']')?.split_once('[')?.0.parse().ok()
}

/// `192.0.2.1[OURS]...192.0.2.77[THEIRS]`
fn identities(text: &str) -> Option<Saying<'_>> {
    let (ours, theirs) = text.strip_suffix(']')?.split_once("]...")?;
    Some(Saying::Identities { ours: ours.split_once('[')?.1, theirs: theirs.split_once('[')?.1 })
}

/// `generating IKE_AUTH response 1 [ IDr AUTH N(NO_PROP) ]`
fn refusal(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(" [ ")?;
    let is_answer = text.contains(" response ") || text.contains(" INFORMATIONAL_V1 request ");
    REFUSALS
        .into_iter()
        .find(|notify| is_answer && rest.contains(notify))
        .map(|_| rest.trim_end_matches(" ]"))
}

fn certificate(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("no issuer certificate found for ") {
        return Some(format!("its issuer is not among the authorities that the tunnel trusts: {rest}"));
    }
    if text.starts_with("self-signed certificate ") {
        return Some(format!("it is {}", text.replacen("self-signed", "a self-signed", 1)));
    }
    let invalid =
        ["subject certificate invalid (", "issuer certificate invalid (", "peer certificate invalid ("];
    if invalid.iter().any(|start| text.starts_with(start)) {
        return Some(format!("it has expired or is not valid yet: {text}"));
    }
    if text.starts_with("certificate was revoked") || text.contains("certificate revoked") {
        return Some(format!("it was revoked: {text}"));
    }
    if let Some(rest) = text.strip_prefix("no trusted ") {
        let (_, id) = rest.split_once(" public key found for ")?;
        return Some(format!("no certificate that is trusted belongs to {id}"));
    }
    None
}
