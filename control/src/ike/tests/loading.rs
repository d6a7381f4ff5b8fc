//! What is loaded into charon: what differs, and nothing else.

use super::*;

#[tokio::test]
async fn what_differs_is_loaded_and_nothing_else() {
    let place = Place::new("load");
    let mut charon = Charon::new(place.settings()).unwrap();
    assert!(!charon.start().await.unwrap(), "a new one");
    let mut client = place.client().await;
    // The operator's own, one of them with a name like ours.
    let child = Message::new().section("net", &Message::new());
    for name in ["office", "site/b"] {
        let theirs = Message::new().section(name, &Message::new().section("children", &child));
        client.request("load-conn", &theirs).await.unwrap();
    }
    let secret =
        Message::new().value("id", "office").value("type", "IKE").value("data", "x").list("owners", ["a"]);
    client.request("load-shared", &secret).await.unwrap();

    let mut wanted = Wanted::default();
    for n in 0..1000 {
        add(&mut wanted, &format!("t{n}"), &format!("198.51.{}.{}", n / 250, n % 250 + 1), GCM, "secret");
    }
    let mut loader = Loader::default();
    let start = Instant::now();
    let report = loader.bring(&mut client, &wanted).await.unwrap();
    eprintln!("1000 tunnels loaded in {:?}", start.elapsed());
    assert_eq!(report, Report { changes: 2000, ..Report::default() });
    assert_eq!(connections(&mut client).await.len(), 1002);

    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().changes, 0, "nothing differs");
    add(&mut wanted, "t7", "198.51.0.8", "aes256gcm16-prfsha384-ecp384", "secret");
    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().changes, 1, "one message for one tunnel");
    add(&mut wanted, "t7", "198.51.0.8", "aes256gcm16-prfsha384-ecp384", "another");
    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().changes, 1, "its secret");

    wanted.connections.retain(|name, _| name == "acme/t7");
    wanted.secrets.retain(|id, _| id.ends_with("acme/t7"));
    // Another process of ours, which knows nothing of the first.
    let mut loader = Loader::default();
    let report = loader.bring(&mut client, &wanted).await.unwrap();
    assert_eq!((report.changes, report.refused.len()), (2 + 999 * 2, 0));
    assert_eq!(connections(&mut client).await, ["acme/t7", "office", "site/b"]);
    let secrets = names(&mut client, "get-shared", "keys").await;
    assert_eq!(secrets, ["office", "penstock:acme/t7"]);
    charon.stop().await;
}

#[test]
fn what_is_recalled_stays_known_until_charon_is_asked() {
    let recalled = BTreeMap::from([("acme/dc1".to_owned(), [7; 32])]);
    assert_eq!(Loader::new(recalled.clone()).fingerprints(), recalled);
}

#[tokio::test]
async fn what_charon_refuses_is_named_and_the_rest_is_loaded() {
    let place = Place::new("refuse");
    let mut charon = Charon::new(place.settings()).unwrap();
    charon.start().await.unwrap();
    let mut client = place.client().await;
    let mut wanted = one("198.51.100.1", "secret");
    add(&mut wanted, "bad", "198.51.100.2", "aes128gcm17-prfsha256-ecp256", "secret");
    wanted.keys.insert("/etc/key.pem".into(), Message::new().value("type", "any").value("data", "no key"));
    let ca = Message::new().value("type", "X509").value("flag", "CA").value("data", "no certificate");
    wanted.certificates.insert("/etc/ca.pem".into(), ca);
    let mut loader = Loader::default();
    let report = loader.bring(&mut client, &wanted).await.unwrap();
    assert_eq!(connections(&mut client).await, ["acme/dc1"]);
    assert_eq!(report.refused.keys().collect::<Vec<_>>(), ["/etc/ca.pem", "/etc/key.pem", "acme/bad"]);
    assert!(report.refused["acme/bad"].contains("proposals"), "{:?}", report.refused);
    assert!(report.refused["/etc/key.pem"].contains("without a passphrase"), "{:?}", report.refused);
    assert!(report.refused["/etc/ca.pem"].contains("one X.509 certificate"), "{:?}", report.refused);
    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().refused.len(), 3, "it is tried again");
    add(&mut wanted, "bad", "198.51.100.2", GCM, "secret");
    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().refused.len(), 2);
    charon.stop().await;
}

#[tokio::test]
async fn a_key_is_loaded_exchanged_and_unloaded() {
    let place = Place::new("key");
    let mut charon = Charon::new(place.settings()).unwrap();
    charon.start().await.unwrap();
    let mut client = place.client().await;
    let key = || {
        let pem = Command::new("pki")
            .args(["--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"])
            .output();
        Message::new().value("type", "any").value("data", pem.expect("strongswan-pki is installed").stdout)
    };
    let mut wanted = Wanted::default();
    let mut loader = Loader::default();
    wanted.keys.insert("/etc/a.pem".into(), key());
    loader.bring(&mut client, &wanted).await.unwrap();
    let first = names(&mut client, "get-keys", "keys").await;
    wanted.keys.insert("/etc/a.pem".into(), key());
    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().refused, BTreeMap::new());
    let second = names(&mut client, "get-keys", "keys").await;
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second);
    // Two files hold the same, and one of them gets another.
    let both = wanted.keys["/etc/a.pem"].clone();
    wanted.keys.insert("/etc/b.pem".into(), both);
    loader.bring(&mut client, &wanted).await.unwrap();
    assert_eq!(names(&mut client, "get-keys", "keys").await, second);
    wanted.keys.insert("/etc/a.pem".into(), key());
    loader.bring(&mut client, &wanted).await.unwrap();
    let third = names(&mut client, "get-keys", "keys").await;
    assert!(third.len() == 2 && third.contains(&second[0]), "b.pem holds {second:?} still: {third:?}");
    loader.bring(&mut client, &Wanted::default()).await.unwrap();
    assert!(names(&mut client, "get-keys", "keys").await.is_empty());
    charon.stop().await;
}
