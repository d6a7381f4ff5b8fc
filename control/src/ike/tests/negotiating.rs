//! A customer's router negotiates.

use super::*;

/// Two charons on a wire: ours and a customer's.
async fn pair(what: &str, wanted: Wanted) -> (Place, Ike, Place, Charon) {
    let (ours, theirs) = (Place::new(&format!("{what}-a")), Place::new(&format!("{what}-b")));
    ip(&format!("-n {} link add w0 type veth peer name w0 netns {}", ours.name, theirs.name));
    for (place, outer, inner) in
        [(&ours, "192.0.2.1/24", "10.1.0.1/16"), (&theirs, "192.0.2.77/24", "10.2.0.1/16")]
    {
        ip(&format!("-n {} address add {outer} dev w0", place.name));
        ip(&format!("-n {} link set w0 up", place.name));
        ip(&format!("-n {} address add {inner} dev lo", place.name));
    }
    let ike = ours.ike(wanted);
    let mut router = Charon::new(theirs.settings()).unwrap();
    router.start().await.unwrap();
    until(&ike, "it runs", runs).await;
    (ours, ike, theirs, router)
}

/// The customer's router begins; whether it came up.
async fn begin(router: &Place, secret: &str, remote_ts: &str) -> bool {
    let mut client = router.client().await;
    let auth = |id: &str| Message::new().value("auth", "psk").value("id", id);
    let child = Message::new()
        .list("local_ts", ["10.2.0.0/16"])
        .list("remote_ts", [remote_ts])
        .list("esp_proposals", ["aes128gcm16"]);
    let section = Message::new()
        .value("version", "2")
        .value("keyingtries", "1")
        .list("local_addrs", ["192.0.2.77"])
        .list("remote_addrs", ["192.0.2.1"])
        .list("proposals", [GCM])
        .section("local", &auth("192.0.2.77"))
        .section("remote", &auth("192.0.2.1"))
        .section("children", &Message::new().section("net", &child));
    client.request("load-conn", &Message::new().section("net", &section)).await.unwrap();
    let shared = Message::new()
        .value("id", "x")
        .value("type", "IKE")
        .value("data", secret)
        .list("owners", ["192.0.2.1"]);
    client.request("load-shared", &shared).await.unwrap();
    let terminate = Message::new().value("ike", "net").value("force", "yes").value("timeout", "-1");
    let _ = client.request("terminate", &terminate).await;
    let initiate = Message::new().value("child", "net").value("timeout", "5000").value("loglevel", "-1");
    let begun = client.request("initiate", &initiate).await;
    if begun.is_err() {
        // Printed when the test fails.
        println!(
            "the router: {begun:?}\n{}",
            fs::read_to_string(router.run.path().join("charon.log")).unwrap()
        );
    }
    begun.is_ok()
}

fn failure(page: &crate::api::Ike) -> &str {
    page.rows[0].last_failure.as_ref().map_or("", |failure| failure.reason.as_str())
}

#[tokio::test]
async fn a_router_negotiates_and_its_mistakes_are_named() {
    let (ours, ike, router, _process) = pair("neg", one("192.0.2.77", "right")).await;
    assert!(!begin(&router, "wrong", "10.1.0.0/16").await);
    let page =
        until(&ike, "its secret is wrong", |page| failure(page).contains("wrong pre-shared key")).await;
    assert_eq!(page.rows[0].state, IkeState::Down);
    assert_eq!(ike.view().status().failing, ["acme/dc1"]);

    assert!(!begin(&router, "right", "10.9.0.0/16").await);
    until(&ike, "its selectors are wrong", |page| {
        failure(page)
            .contains("wants 10.9.0.0/16 on our side and 10.2.0.0/16 on its own; we allow 10.1.0.0/16")
    })
    .await;

    assert!(begin(&router, "right", "10.1.0.0/16").await);
    let up = until(&ike, "up", |page| page.rows[0].state == IkeState::Up).await;
    let row = &up.rows[0];
    assert!(row.peer.as_ref().unwrap().starts_with("192.0.2.77:"), "{row:?}");
    assert_eq!(row.suite.as_deref(), Some("AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256"));
    assert_eq!(row.children.len(), 1);
    assert_eq!(row.last_failure.as_ref().unwrap().count, 2);
    let charon = up.charon.unwrap();
    assert_eq!((charon.ike_sas, charon.half_open), (Some(1), Some(0)));
    assert!(charon.version.unwrap().starts_with(|first: char| first.is_ascii_digit()));
    until(&ike, "no longer failing", |_| ike.view().status().failing.is_empty()).await;

    // Another tunnel comes: this one is not touched.
    let mut more = one("192.0.2.77", "right");
    add(&mut more, "dc2", "192.0.2.78", GCM, "secret");
    assert!(ike.apply(more).await.is_empty());
    let page = show(&ike).await;
    assert_eq!((page.total, page.rows[0].spis.clone()), (2, row.spis.clone()));
    // Its router becomes another one: what was negotiated is void.
    assert!(ike.apply(one("192.0.2.79", "right")).await.is_empty());
    until(&ike, "down", |page| page.total == 1 && page.rows[0].state == IkeState::Down).await;
    assert_eq!(connections(&mut ours.client().await).await, ["acme/dc1"]);
    ike.stop().await;
}

#[tokio::test]
async fn a_tunnel_outlives_a_crash_of_ours() {
    let (ours, ike, router, _process) = pair("crash", one("192.0.2.77", "right")).await;
    assert!(begin(&router, "right", "10.1.0.0/16").await);
    let up = until(&ike, "up", |page| page.rows[0].state == IkeState::Up).await;
    // Gone without a word, as in a crash.
    drop(ike);
    sleep(Duration::from_millis(100)).await;
    let ike = ours.ike(one("192.0.2.77", "right"));
    let again = until(&ike, "up", |page| runs(page) && page.rows[0].state == IkeState::Up).await;
    assert_eq!((pid(&again), &again.rows[0].spis), (pid(&up), &up.rows[0].spis));
    drop(ike);
    sleep(Duration::from_millis(100)).await;
    // While we were away its router became another one.
    let ike = ours.ike(one("192.0.2.79", "right"));
    until(&ike, "down", |page| runs(page) && page.rows[0].state == IkeState::Down).await;
    ike.stop().await;
}
