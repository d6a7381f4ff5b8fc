//! A real charon takes all of it. Needs root, charon-systemd and openssl, and fails where one is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::tempdir;

use super::{CONFIG, config, render, write};
use crate::config::proposal::one_of_each;
use crate::ike::connections::strongswan_conf;
use crate::ike::loader::Loader;
use crate::ike::vici::{Client, Message, Section};

const CHARON: &str = "/usr/sbin/charon-systemd";

/// A charon in a namespace of its own, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn need_charon() {
    let openssl = Command::new("openssl").arg("version").stdout(Stdio::null()).status();
    assert!(nix::unistd::Uid::effective().is_root(), "run it as root (sudo -E cargo test ...)");
    assert!(Path::new(CHARON).exists(), "needs strongSwan: scripts/install-deps ike");
    assert!(openssl.is_ok(), "needs openssl: apt-get install openssl");
}

/// Keys and certificates of an authority, and of ours with a certificate in between.
fn certificates(directory: &Path) {
    let script = r#"
        set -e
        cd "$1"
        authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout $1.key -out $1.pem -subj "/O=Test/CN=$1"; }
        sign() { openssl req "${@:4}" -nodes -keyout $1.key -out $1.csr -subj "/O=Test/CN=$1"
            printf '%b' "$3" > $1.ext
            openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -days 2 -out $1.crt -extfile $1.ext; }
        authority ca; authority ca2
        sign between ca "basicConstraints=critical,CA:TRUE\n" -newkey rsa:2048; mv between.crt between.pem
        sign rsa between "subjectAltName=DNS:rsa.example\n" -newkey rsa:2048
        sign ec ca "subjectAltName=DNS:ec.example\n" -newkey ec -pkeyopt ec_paramgen_curve:P-384
        cat rsa.crt between.pem > rsa.pem
        mv ec.crt ec.pem
        openssl pkey -in ec.key -outform DER -out ec.der
        openssl rsa -in rsa.key -traditional -out rsa1.key
        chmod 600 *.key *.der
    "#;
    let done = Command::new("bash").args(["-c", script, "-"]).arg(directory).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The usual tunnels, one for each transform, each kind of identity, and each form of a key.
fn many() -> String {
    let mut text = CONFIG.to_owned();
    let mut tunnel = |name: &str, ike: &str| {
        text += &format!("      {name}: {{type: ipsec, endpoint: gw6, remote: any, ike: {{{ike}}}}}\n");
    };
    for (key, esp) in [("proposals", false), ("esp_proposals", true)] {
        for (i, proposal) in one_of_each(esp).iter().enumerate() {
            let id = format!("{key}-{i}.example");
            tunnel(
                &id.replace('.', "-"),
                &format!("psk_file: DIR/a.psk, remote_id: {}, {key}: [{proposal}]", id.replace('_', "-")),
            );
        }
    }
    for (i, id) in ["'2001:db8::9'", "router", "a@b.example", "keyid:text", "'@#00ff'", "'CN=x, O=Test'"]
        .iter()
        .enumerate()
    {
        tunnel(
            &format!("id{i}"),
            &format!("psk_file: DIR/b.psk, remote_id: {id}, local_id: local{i}.example"),
        );
    }
    for (i, (certificate, key)) in
        [("ec.pem", "ec.key"), ("ec.pem", "ec.der"), ("rsa.pem", "rsa1.key")].iter().enumerate()
    {
        let files = format!("certificate: DIR/{certificate}, private_key: DIR/{key}, ca: DIR/ca.pem");
        tunnel(&format!("cert{i}"), &format!("{files}, remote_id: router{i}.example"));
    }
    text
}

async fn start(directory: &Path, text: &str) -> (Running, Client) {
    let conf = directory.join("strongswan.conf");
    // Our plugin need not be there to take connections.
    std::fs::write(&conf, text.replace(" penstock!", "")).unwrap();
    let log = std::fs::File::create(directory.join("charon.log")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", CHARON]).env("STRONGSWAN_CONF", conf).stdout(Stdio::null()).stderr(log);
    let charon = Running(command.spawn().unwrap());
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match Client::connect(&directory.join("charon.vici")).await {
            Ok(client) => return (charon, client),
            Err(error) => assert!(Instant::now() < end, "{error}: {}", logged(directory)),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn logged(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("charon.log")).unwrap()
}

/// What charon says it holds: each connection's identities.
async fn held(charon: &mut Client) -> BTreeMap<String, (String, String)> {
    let mut held = BTreeMap::new();
    let take = |section: Section| {
        for (name, connection) in section.sections() {
            let id = |side| {
                let side: Option<&Section> = connection.section(side);
                side.and_then(|side| side.value("id")).unwrap_or_default().to_owned()
            };
            held.insert(name.to_owned(), (id("local-1"), id("remote-1")));
        }
    };
    charon.stream("list-conns", "list-conn", &Message::new(), take).await.unwrap();
    held
}

#[tokio::test]
async fn a_real_charon_takes_all_of_it() {
    need_charon();
    let directory = tempdir().unwrap();
    let here = directory.path();
    certificates(here);
    write(here, "a.psk", "hunter2\n", 0o600);
    write(here, "b.psk", "0xdeadbeef", 0o600);
    let all = config(&many(), here);
    let wanted = render(&all);
    let conf = strongswan_conf(&all.ike, all.ike.managed().unwrap(), all.node.number);
    let (_charon, mut client) = start(here, &conf).await;
    // 1. All is taken, under the names and identities that were meant.
    let mut loader = Loader::default();
    let report = loader.bring(&mut client, &wanted).await.unwrap();
    assert!(report.refused.is_empty(), "{:?}\n{}", report.refused, logged(here));
    let found = held(&mut client).await;
    let names: BTreeSet<&String> = found.keys().collect();
    assert_eq!(names, wanted.connections.keys().collect());
    let ids = |name: &str| (found[name].0.as_str(), found[name].1.as_str());
    assert_eq!(ids("acme/least"), ("203.0.113.1", "192.0.2.77"));
    assert_eq!(ids("acme/most"), ("gw.example.net", "router@example.com"));
    assert_eq!(ids("beta/rsa"), ("O=Test, CN=rsa", "C=CH, O=Example, Inc., CN=branch 7"));
    for (name, remote) in [
        ("id0", "2001:db8::9"),
        ("id1", "router"),
        ("id2", "a@b.example"),
        ("id3", "text"),
        ("id4", "00:ff"),
        ("id5", "CN=x, O=Test"),
    ] {
        assert_eq!(ids(&format!("beta/{name}")).1, remote);
    }
    let secrets = client.request("get-shared", &Message::new()).await.unwrap();
    assert_eq!(secrets.list("keys").len(), wanted.secrets.len());
    let keys = client.request("get-keys", &Message::new()).await.unwrap();
    assert_eq!(keys.list("keys").len(), 2, "one RSA and one ECDSA key, whatever their files");
    // 2. Nothing was taken with a grumble, and the node's number is in its SPIs.
    let log = logged(here);
    let bad = ["not recognized", "failed", "ignoring", "unmet", "mandatory", "unable"];
    let grumbles: Vec<&str> = log.lines().filter(|line| bad.iter().any(|word| line.contains(word))).collect();
    assert_eq!(grumbles, Vec::<&str>::new());
    assert!(log.contains("using SPI label 0x01c0000000000000 and mask 0xffc0000000000000"), "{log}");
    // 3. The same again is nothing to do; one tunnel less is one connection less.
    let report = loader.bring(&mut client, &wanted).await.unwrap();
    assert_eq!((report.changes, report.refused.len()), (0, 0), "{report:?}");
    let fewer = render(&config(CONFIG, here));
    loader.bring(&mut client, &fewer).await.unwrap();
    assert_eq!(
        held(&mut client).await.into_keys().collect::<Vec<_>>(),
        ["acme/least", "acme/most", "beta/rsa"]
    );
}
