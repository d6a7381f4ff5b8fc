//! `ike`, of the gateway and of a tunnel.

use std::path::PathBuf;

use crate::config::duration::Period;
use crate::config::identity::Identity;
use crate::config::proposal::{Of, Proposal, Proposals};
use crate::config::reader::{Fields, Reader};
use crate::config::schema::*;
use crate::config::tree::{Kind, Node};
use crate::config::value;

/// Who starts charon.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Managed,
    External,
}

const MODES: &[(&str, Mode)] = &[("managed", Mode::Managed), ("external", Mode::External)];

/// `ike`: a word, or a map.
pub(super) fn ike(r: &mut Reader, node: &Node) -> Option<IkeConfig> {
    if matches!(node.kind, Kind::Scalar(_)) {
        let mode = value::word(MODES)(r, node)?;
        return settings(r, &Node { at: node.at, kind: Kind::Empty }, mode);
    }
    settings(r, node, Mode::Managed)
}

fn settings(r: &mut Reader, node: &Node, mode: Mode) -> Option<IkeConfig> {
    let mut f = r.fields(node)?;
    let mode = f.or(r, "mode", mode, value::word(MODES));
    let run = f.or(r, "run", "/run/penstock/ike".into(), |r, node| {
        // The names of the sockets inside must fit, too.
        let path =
            super::path(r, node, "write a directory of our own below /run, such as /run/penstock/ike")?;
        if IkeConfig::managed_vici(&path).as_os_str().len() < 108 {
            return Some(path);
        }
        r.unfit(node, "short enough for sockets inside it", "write a shorter path, such as /run/penstock/ike")
    });
    let managed = mode == Mode::Managed;
    let plugin_socket =
        if managed { run.join("plugin.sock") } else { PathBuf::from("/run/penstock/charon.sock") };
    let plugin_socket = f.or(r, "plugin_socket", plugin_socket, |r, node| {
        super::socket(r, node, "write a path such as /run/penstock/charon.sock")
    });
    let daemon = if managed {
        unwanted(
            r,
            &mut f,
            "vici",
            "our own charon has its socket in run",
            "remove it, or write mode: external",
        );
        let charon = f.or(r, "charon", "/usr/sbin/charon-systemd".into(), |r, node| {
            super::path(r, node, "write the path of charon-systemd")
        });
        let threads = f.or(r, "threads", 16, value::number(8..=256u16));
        IkeDaemon::Managed(ManagedCharon { charon, threads })
    } else {
        for key in ["charon", "threads"] {
            let fix = "remove it, and set it where you start charon";
            unwanted(r, &mut f, key, "this charon is not ours", fix);
        }
        let vici = f.or(r, "vici", "/run/charon.vici".into(), |r, node| {
            super::socket(r, node, "write the path of charon's vici socket, such as /run/charon.vici")
        });
        IkeDaemon::External(ExternalCharon { vici })
    };
    let rate = f.or(r, "rate", 10_000, value::number(1..=10_000_000u32));
    let source_rate = f.or(r, "source_rate", 500, value::number(1..=10_000_000u32));
    f.finish(r);
    Some(IkeConfig { daemon, run, plugin_socket, rate, source_rate })
}

/// A key that has no meaning beside others.
fn unwanted(r: &mut Reader, f: &mut Fields<'_>, key: &'static str, message: &str, fix: &str) -> bool {
    let mut there = false;
    f.optional(r, key, |r, node| {
        there = true;
        r.problem(node.at, message, fix);
        None::<()>
    });
    there
}

/// Longest age of a key. An IKE SA is rekeyed at a random time before it, what it protects is used 10 % longer.
const MAX_REKEY: Period = Period::from_secs(7 * 86_400);
const MIN_REKEY: Period = Period::from_secs(10);

/// `tenants.NAME.tunnels.NAME.ike`.
pub(super) fn tunnel(r: &mut Reader, node: &Node, in_fleet: bool) -> Option<TunnelIke> {
    let mut f = r.fields(node)?;
    let auth = auth(r, &mut f, node, in_fleet);
    let local_id = f.optional(r, "local_id", identity);
    let remote_id = f.optional(r, "remote_id", identity);
    let proposals = f.or(r, "proposals", Proposals::default_of(Of::Ike), |r, n| proposal_list(r, n, Of::Ike));
    let rekey = f.or(r, "rekey", Period::from_secs(4 * 3600), rekey);
    let esp_proposals =
        f.or(r, "esp_proposals", Proposals::default_of(Of::Esp), |r, n| proposal_list(r, n, Of::Esp));
    let esp_rekey = f.or(r, "esp_rekey", Period::from_secs(3600), rekey_of_esp);
    let esp_rekey_bytes = f.optional(r, "esp_rekey_bytes", value::number(65_536..=MAX_VOLUME));
    let esp_rekey_packets = f.optional(r, "esp_rekey_packets", value::number(100..=MAX_VOLUME));
    let selectors = f.optional(r, "selectors", value::selectors).unwrap_or_default();
    let nat_t = f.or(r, "nat_t", NatT::Auto, value::word(&[("auto", NatT::Auto), ("always", NatT::Always)]));
    let dpd = f.or(r, "dpd", Dpd::After(Period::from_secs(30)), dpd);
    let replay_window = f.or(r, "replay_window", 0, value::replay_window);
    // Many nodes send under one security association: the router must not expect an order.
    let peer_window = if in_fleet { 0 } else { 32 };
    let peer_replay_window = f.or(r, "peer_replay_window", peer_window, value::number(0..=value::MAX_WINDOW));
    let esn = f.or(r, "esn", false, value::boolean);
    f.finish(r);
    Some(TunnelIke {
        auth: auth?,
        local_id,
        remote_id,
        proposals,
        rekey,
        esp_proposals,
        esp_rekey,
        esp_rekey_bytes,
        esp_rekey_packets,
        selectors,
        nat_t,
        dpd,
        replay_window,
        peer_replay_window,
        esn,
    })
}

/// Most bytes or packets: charon reads numbers of up to 15 digits, also for what is 10 % more.
const MAX_VOLUME: u64 = 100_000_000_000_000;
/// Most proposals of one list.
const MAX_PROPOSALS: usize = 16;
/// Most certificates of authorities.
const MAX_CAS: usize = 16;

/// A pre-shared key, or certificates.
fn auth(r: &mut Reader, f: &mut Fields<'_>, node: &Node, in_fleet: bool) -> Option<IkeAuth> {
    let before = r.problems.count();
    let stored = f.optional(r, "psk", |r, node| stored_psk(r, node, in_fleet));
    let psk_file = f.optional(r, "psk_file", file);
    let certificate = f.optional(r, "certificate", file);
    let private_key = f.optional(r, "private_key", file);
    let ca = f.optional(r, "ca", cas);
    // One that could not be read was complained about.
    let complete = r.problems.count() == before;
    if let Some(psk) = stored {
        if psk_file.is_some() || certificate.is_some() || private_key.is_some() || ca.is_some() {
            r.problem(node.at, "has psk and other keys", "write psk: store alone, or remove it");
            return None;
        }
        return Some(IkeAuth::Stored { psk });
    }
    match (psk_file, certificate, private_key, ca) {
        (Some(psk_file), None, None, None) => Some(IkeAuth::Psk { psk_file }),
        (None, Some(certificate), Some(private_key), Some(ca)) => {
            Some(IkeAuth::Certificates { certificate, private_key, ca })
        }
        _ if !complete => None,
        (None, None, None, None) => {
            let fix = "add \"psk_file: /etc/penstock/NAME.psk\", or certificate, private_key and ca";
            r.problem(node.at, "says nothing of how the peer shows who it is", fix);
            None
        }
        (Some(_), _, _, _) => {
            let fix = "write psk_file alone, or certificate, private_key and ca";
            r.problem(node.at, "has a pre-shared key and certificates", fix);
            None
        }
        (None, certificate, private_key, ca) => {
            let there = [
                (certificate.is_some(), "certificate"),
                (private_key.is_some(), "private_key"),
                (ca.is_some(), "ca"),
            ];
            let missing: Vec<&str> = there.iter().filter(|(there, _)| !there).map(|(_, key)| *key).collect();
            let message = format!("has certificates without {}", missing.join(" and "));
            r.problem(node.at, message, "write all of certificate, private_key and ca");
            None
        }
    }
}

/// Never the key itself: nothing of what stands here is repeated.
fn stored_psk(r: &mut Reader, node: &Node, in_fleet: bool) -> Option<StoredPsk> {
    if !matches!(&node.kind, Kind::Scalar(text) if **text == *"store") {
        let fix = "write the key into a file that only root can read, and psk_file: FILE; or psk: store";
        r.problem(node.at, "says where a pre-shared key is, and is none", fix);
        return None;
    }
    if !in_fleet {
        let fix = "write psk_file: FILE, or add fleet (store: embedded is enough)";
        r.problem(node.at, "there is no fleet whose store could have the key", fix);
        return None;
    }
    Some(StoredPsk::Store)
}

fn file(r: &mut Reader, node: &Node) -> Option<PathBuf> {
    super::path(r, node, "write the whole path of the file, such as /etc/penstock/NAME.psk")
}

fn cas(r: &mut Reader, node: &Node) -> Option<Vec<PathBuf>> {
    if is_empty(node) {
        let fix = "name the certificate of the authority that signed the router's";
        return r.unfit(node, "a list of files", fix);
    }
    let files = r.list(node, file)?;
    if files.len() > MAX_CAS {
        r.problem(node.at, format!("there are {}, the limit is {MAX_CAS}", files.len()), "remove some");
        return None;
    }
    Some(files)
}

fn is_empty(node: &Node) -> bool {
    matches!(&node.kind, Kind::List(items) if items.is_empty())
}

fn identity(r: &mut Reader, node: &Node) -> Option<Identity> {
    let text = value::text(r, node)?;
    match Identity::parse(&text) {
        Ok(identity) => Some(identity),
        Err(unfit) => {
            r.problem(node.at, unfit.message, unfit.fix);
            None
        }
    }
}

fn proposal_list(r: &mut Reader, node: &Node, of: Of) -> Option<Proposals> {
    if is_empty(node) {
        let fix = format!("write proposals such as {}, or leave the key out", of.example());
        return r.unfit(node, "a list of proposals", &fix);
    }
    let list = r.list(node, |r, node| {
        let text = value::text(r, node)?;
        match Proposal::parse(&text, of) {
            Ok(proposal) => Some(proposal),
            Err(unfit) => {
                r.problem(node.at, unfit.message, unfit.fix);
                None
            }
        }
    })?;
    if list.len() > MAX_PROPOSALS {
        let message = format!("there are {} proposals, the limit is {MAX_PROPOSALS}", list.len());
        r.problem(node.at, message, "write several transforms of a kind into one proposal");
        return None;
    }
    Some(Proposals::new(list))
}

fn rekey(r: &mut Reader, node: &Node) -> Option<Period> {
    value::period(r, node, MIN_REKEY, MAX_REKEY, "4h")
}

fn rekey_of_esp(r: &mut Reader, node: &Node) -> Option<Period> {
    value::period(r, node, MIN_REKEY, MAX_REKEY, "1h")
}

fn dpd(r: &mut Reader, node: &Node) -> Option<Dpd> {
    match &node.kind {
        Kind::Scalar(text) if **text == *"off" => Some(Dpd::Off),
        _ => value::period(r, node, Period::from_secs(1), Period::from_secs(86_400), "30s, or off")
            .map(Dpd::After),
    }
}
