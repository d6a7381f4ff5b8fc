//! The program itself, on the store of a single node.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use penstock_control::fleet::key_file;
use penstock_control::fleet::record::SaRecord;
use penstock_fleet::names::SAS;
use penstock_fleet::store::{Engine, Settings, Store};
use tempfile::TempDir;

/// Two tunnels that negotiate, one whose router may be anywhere, and one that is GRE.
fn configuration(directory: &Path) -> PathBuf {
    key_file::make(&directory.join("fleet.key")).unwrap();
    let place = directory.display();
    let text = format!(
        "\
node: {{name: fra1-a, number: 1, state: {place}/state}}
cores: {{control: 0, workers: [1]}}
ports:
  edge0: {{device: net_null0, addresses: [192.0.2.1/24]}}
endpoints: {{gw: 203.0.113.1}}
fleet: {{name: edge, key_file: {place}/fleet.key, address: 192.0.2.1}}
tenants:
  acme:
    tunnels:
      dc1: {{type: ipsec, endpoint: gw, remote: 192.0.2.77, ike: {{psk_file: {place}/dc1.psk}}}}
      dc2: {{type: ipsec, endpoint: gw, remote: 192.0.2.78, ike: {{psk_file: {place}/dc2.psk}}}}
      dc3: {{type: ipsec, endpoint: gw, remote: any, ike: {{psk_file: {place}/dc3.psk, remote_id: dc3.example.net}}}}
      dc4: {{endpoint: gw, remote: 192.0.2.79}}
"
    );
    let file = directory.join("penstock.yaml");
    std::fs::write(&file, text).unwrap();
    std::fs::create_dir(directory.join("state")).unwrap();
    file
}

fn load(config: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock-fleet-load"))
        .arg("-c")
        .arg(config)
        .args(words)
        .output()
        .unwrap()
}

#[test]
fn nodes_can_read_what_it_writes() {
    let directory = TempDir::new().unwrap();
    let config = configuration(directory.path());
    let done = load(&config, &["fill", "--node", "7"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let outcome: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((outcome["tunnels"].as_u64(), outcome["records"].as_u64()), (Some(2), Some(4)));

    let keyring = key_file::read(&directory.path().join("fleet.key")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let entries = runtime.block_on(async {
        let engine = Engine::Embedded { directory: directory.path().join("state") };
        let store = Store::open(Settings { fleet: "edge".into(), engine }).await.unwrap();
        store.list(SAS).await.unwrap().entries
    });
    assert_eq!(entries.len(), 4);
    for entry in &entries {
        let opened = keyring.open(&entry.key, entry.version, &entry.value).unwrap();
        let record = SaRecord::decode(&opened).unwrap();
        assert_eq!(record.owner.number, 7);
        let (tenant, tunnel) = &record.tunnel;
        assert!(entry.key.starts_with(&format!("sas/7/{tenant}/{tunnel}/")), "{}", entry.key);
        if record.sa.flags.inbound {
            assert_eq!(record.sa.id.spi.0 >> 22, 7, "an SPI that this node has given out");
        }
    }

    let again = load(&config, &["fill", "--node", "7"]);
    assert!(
        again.status.success(),
        "other SPIs, so other records: {}",
        String::from_utf8_lossy(&again.stderr)
    );
}

#[test]
fn what_it_cannot_work_with_is_said() {
    let directory = TempDir::new().unwrap();
    let config = configuration(directory.path());
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace("type: ipsec, ", "")
            .replace(", ike:", "} #")
            .replace("remote: any", "remote: 192.0.2.80"),
    )
    .unwrap();
    let done = load(&config, &["fill"]);
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("has no IPsec tunnel with ike"), "{said}");
}
