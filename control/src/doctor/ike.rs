//! strongSwan, for tunnels that negotiate: installed, with our plugin, one made for the other.

use std::path::Path;

use super::{Finding, Host, tunnels};
use crate::config::ValidConfig;
use crate::ike::charon::PLUGIN;
use crate::ike::connections::Credentials;

const CHARON: &str = "charon-systemd";
const INSTALL: &str = "apt-get install charon-systemd strongswan-swanctl libstrongswan-standard-plugins";
const DEFAULT: &str = "/usr/sbin/charon-systemd";
/// What stands in the plugin's file in front of the version it was built for.
const STAMP: &[u8] = b"penstock-charon-plugin version=";
/// What starts a charon of the host's own when it boots: Debian's unit has these names.
const SERVICES: [&str; 2] = ["strongswan", "strongswan-starter"];

pub(super) fn examine(host: &Host, config: Option<&ValidConfig>) -> Vec<Finding> {
    const CHECK: &str = "strongswan";
    let Some(config) = config else {
        // One that is not there is no fault as long as nobody wants it.
        return vec![match host.exists(DEFAULT) {
            true => program(host, Path::new(DEFAULT)),
            false => Finding::not_needed(CHECK, "not installed; IPsec tunnels with ike need it"),
        }];
    };
    if !tunnels(config).any(|tunnel| tunnel.ike().is_some()) {
        return vec![Finding::not_needed(CHECK, "no tunnel negotiates")];
    }
    let mut findings = Vec::new();
    match config.ike.managed() {
        Some(managed) => findings.push(program(host, &managed.charon)),
        None => findings.push(external(host, config)),
    }
    findings.push(plugin(host));
    if config.ike.managed().is_some() {
        findings.extend(service(host));
    }
    findings.extend(files(config));
    findings
}

/// Upstream's version of one of Debian's packages, such as 5.9.8.
fn installed(host: &Host, name: &str) -> Option<String> {
    let status = host.read("/var/lib/dpkg/status")?;
    let is_it = |line: &str| line.strip_prefix("Package: ") == Some(name);
    let package = status.split("\n\n").find(|package| package.lines().any(is_it))?;
    let is_there = package.lines().any(|line| line.starts_with("Status:") && line.ends_with(" installed"));
    let version = package.lines().find_map(|line| line.strip_prefix("Version: ")).filter(|_| is_there)?;
    let without_epoch = version.split_once(':').map_or(version, |(_, rest)| rest);
    Some(without_epoch.rsplit_once('-').map_or(without_epoch, |(upstream, _)| upstream).to_owned())
}

fn program(host: &Host, charon: &Path) -> Finding {
    const CHECK: &str = "strongswan";
    if !host.exists(charon) {
        return Finding::bad(CHECK, format!("{} is not there", charon.display()), INSTALL);
    }
    match installed(host, CHARON) {
        Some(version) => Finding::ok(CHECK, format!("{} of strongSwan {version}", charon.display())),
        None => Finding::ok(CHECK, format!("{}, not one of Debian's packages", charon.display())),
    }
}

/// A charon that the operator runs.
fn external(host: &Host, config: &ValidConfig) -> Finding {
    const CHECK: &str = "strongswan";
    let vici = config.ike.vici();
    match host.exists(&vici) {
        true => Finding::ok(CHECK, format!("your own charon, at {}", vici.display())),
        false => Finding::warning(
            CHECK,
            format!("your own charon (ike.mode: external) has no socket at {}", vici.display()),
            "start it in the twins' namespace, with the plugin vici",
        ),
    }
}

fn plugin(host: &Host) -> Finding {
    const CHECK: &str = "strongswan.plugin";
    // Who has installed us from a package has no sources here.
    let mend = match installed(host, "penstock") {
        Some(_) => {
            "scripts/package, where the sources are, then here: apt-get install ./penstock-charon_*.deb"
        }
        None => "scripts/charon-plugin build && scripts/charon-plugin install",
    };
    let Some(bytes) = host.bytes(PLUGIN) else {
        return Finding::bad(
            CHECK,
            format!("our plugin for charon is not installed: there is no {PLUGIN}"),
            mend,
        );
    };
    let Some(made_for) = stamp(&bytes) else {
        return Finding::bad(CHECK, format!("{PLUGIN} is not our plugin"), mend);
    };
    match installed(host, CHARON) {
        Some(version) if version != made_for => Finding::bad(
            CHECK,
            format!("it was made for strongSwan {made_for}, {version} is installed"),
            mend,
        ),
        _ => Finding::ok(CHECK, format!("made for strongSwan {made_for}")),
    }
}

/// Another charon, in the host's namespace, that nobody uses. With `ike.mode: external` it may be the operator's.
fn service(host: &Host) -> Option<Finding> {
    let is_enabled = |name: &&'static str| {
        host.link(format!("/etc/systemd/system/multi-user.target.wants/{name}.service")).is_some()
    };
    let name = SERVICES.into_iter().find(is_enabled)?;
    Some(Finding::warning(
        "strongswan.service",
        format!("{name}.service is enabled: a second charon, in the host's namespace, which is not used"),
        format!("systemctl disable --now {name}"),
    ))
}

/// The strongSwan version that a plugin's file was made for.
fn stamp(file: &[u8]) -> Option<String> {
    let at = file.windows(STAMP.len()).position(|bytes| bytes == STAMP)?;
    let text = file.get(at..(at + 200).min(file.len()))?;
    let text = String::from_utf8_lossy(text);
    let (_, version) = text.split_once(" strongswan=")?;
    let end = version.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(version.len());
    (end > 0).then(|| version[..end].to_owned())
}

/// Keys and certificates that the configuration names.
fn files(config: &ValidConfig) -> Vec<Finding> {
    const CHECK: &str = "credentials";
    let found = Credentials::check(config);
    let problems: Vec<_> = found.unread.into_iter().chain(found.wrong).collect();
    if problems.is_empty() {
        return vec![Finding::ok(CHECK, "every file of keys and certificates can be used")];
    }
    problems
        .into_iter()
        .map(|problem| Finding::bad(CHECK, format!("{}: {}", problem.path, problem.message), problem.fix))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_stamp_of_a_plugin() {
        let file = b"\x7fELF\0\0penstock-charon-plugin version=0.1.0 strongswan=5.9.8\0more";
        assert_eq!(stamp(file).as_deref(), Some("5.9.8"));
        assert_eq!(stamp(b"penstock-charon-plugin version="), None);
        assert_eq!(stamp(b""), None);
    }

    proptest! {
        #[test]
        fn any_file_is_looked_at(before: Vec<u8>, after: Vec<u8>) {
            let mut file = before;
            file.extend_from_slice(STAMP);
            file.extend_from_slice(b"1 strongswan=");
            file.extend_from_slice(&after);
            stamp(&file);
        }
    }
}
