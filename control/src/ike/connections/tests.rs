//! What is rendered, and what a real charon says of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod charon;
mod files;
mod golden;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Credentials, wanted};
use crate::config::{Name, ValidConfig, parse_str};
use crate::ike::wanted::Wanted;

/// One tunnel of each kind; `DIR` is where the files are.
const CONFIG: &str = "\
node: {number: 7}
cores: {control: 0, workers: [1]}
ports: {edge0: {device: net_null0, addresses: [192.0.2.1/24]}}
ike: {run: DIR}
endpoints: {gw: 203.0.113.1, gw6: '2001:db8:ffff::1'}
tenants:
  acme:
    tunnels:
      least: {type: ipsec, endpoint: gw, remote: 192.0.2.77, ike: {psk_file: DIR/a.psk}}
      most:
        type: ipsec
        endpoint: gw
        remote: any
        ike:
          psk_file: DIR/b.psk
          local_id: gw.example.net
          remote_id: router@example.com
          proposals: [aes256gcm16-prfsha384-ecp384, aes256-sha256-modp2048]
          rekey: 8h
          esp_proposals: [aes256gcm16-curve25519-none, aes128-sha512]
          esp_rekey: 30m
          esp_rekey_bytes: 90_000_000_000_000
          esp_rekey_packets: 90_000_000_000_000
          selectors: {local: [198.51.100.0/24], remote: [10.1.0.0/16, 10.2.0.0/16]}
          nat_t: always
          dpd: off
          replay_window: 1024
          peer_replay_window: 64
          esn: true
  beta:
    tunnels:
      plain: {type: ipsec, endpoint: gw, remote: 192.0.2.78}
      rsa:
        type: ipsec
        endpoint: gw6
        remote: any
        ike:
          certificate: DIR/rsa.pem
          private_key: DIR/rsa.key
          ca: [DIR/ca.pem, DIR/ca2.pem]
          remote_id: '/C=CH/O=Example, Inc./CN=branch 7'
";

fn write(directory: &Path, name: &str, bytes: impl AsRef<[u8]>, mode: u32) {
    let file = directory.join(name);
    std::fs::write(&file, bytes).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn config(text: &str, directory: &Path) -> ValidConfig {
    parse_str(&text.replace("DIR", directory.to_str().unwrap())).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// Numbers tunnels from 1 in the order of their names.
fn number(config: &ValidConfig) -> impl Fn(&Name, &Name) -> Option<u32> {
    let names: Vec<(Name, Name)> = config
        .tenants
        .iter()
        .flat_map(|(tenant, settings)| settings.tunnels.keys().map(|name| (tenant.clone(), name.clone())))
        .collect();
    move |tenant, name| {
        let at = names.iter().position(|(t, n)| t == tenant && n == name)?;
        Some(at as u32 + 1)
    }
}

fn render(config: &ValidConfig) -> Wanted {
    wanted(config, &Credentials::read(config).unwrap(), number(config))
}
