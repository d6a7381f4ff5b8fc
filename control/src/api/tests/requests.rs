//! Requests, good and bad.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::Running;
use super::fake::{Fake, RUNNING, crypto, fleet, ike, sas, tenants, tunnels};
use crate::api::*;

#[tokio::test]
async fn every_table_crosses_the_socket_unchanged() {
    let running = Running::start(Arc::new(Fake::default()));
    let client = Client::new(running.socket());
    let fake = Fake::default();

    assert_eq!(client.ports().await.unwrap().rows, fake.ports());
    assert_eq!(client.cores().await.unwrap().rows, fake.cores());
    assert_eq!(client.drops().await.unwrap().rows, fake.drops());
    assert_eq!(client.config().await.unwrap(), fake.config());
    assert_eq!(client.tunnels(&TunnelFilter::default()).await.unwrap(), Page::all(tunnels()));
    assert_eq!(client.sas(&SaFilter::default()).await.unwrap(), Page::all(sas()));
    assert_eq!(client.ike(&IkeFilter::default()).await.unwrap(), ike());
    assert_eq!(client.ready().await.unwrap().reasons, ["the store is away"]);
    assert_eq!(client.fleet().await.unwrap(), fleet());
    assert_eq!(client.crypto().await.unwrap(), crypto());
    assert_eq!(client.routes(&RouteFilter::default()).await.unwrap(), fake.routes(&RouteFilter::default()));
    let neighbors = client.neighbors(&NeighborFilter::default()).await.unwrap();
    assert_eq!(neighbors, fake.neighbors(&NeighborFilter::default()));
    assert_eq!(client.status().await.unwrap().node, "fra1-a");
    running.stop().await;
}

#[tokio::test]
async fn filters_and_limits_reach_the_gateway() {
    let running = Running::start(Arc::new(Fake::default()));
    let client = Client::new(running.socket());

    let of_tenant = TunnelFilter { tenant: Some("beta & co".into()), ..TunnelFilter::default() };
    assert_eq!(client.tunnels(&of_tenant).await.unwrap().rows, tunnels()[2..]);
    let down = TunnelFilter { state: Some(TunnelState::Down), ..TunnelFilter::default() };
    assert_eq!(client.tunnels(&down).await.unwrap().rows, tunnels()[1..2]);
    let limited = client.tunnels(&TunnelFilter { limit: 1, ..TunnelFilter::default() }).await.unwrap();
    assert_eq!((limited.total, limited.rows.len()), (3, 1));
    let unlimited = client.tunnels(&TunnelFilter { limit: 0, ..TunnelFilter::default() }).await.unwrap();
    assert_eq!((unlimited.total, unlimited.rows.len()), (3, 3));

    let of_tunnel = SaFilter { tunnel: Some("dc1".into()), limit: 1, ..SaFilter::default() };
    let page = client.sas(&of_tunnel).await.unwrap();
    assert_eq!((page.total, page.rows), (2, sas()[..1].to_vec()));

    let of_tunnel = IkeFilter { tunnel: Some("dc2".into()), ..IkeFilter::default() };
    let page = client.ike(&of_tunnel).await.unwrap();
    assert_eq!((page.total, page.rows), (1, ike().rows[1..].to_vec()));

    let prefixes = async |filter: RouteFilter| {
        let page = client.routes(&filter).await.unwrap();
        page.rows.iter().map(|row| row.prefix.to_string()).collect::<Vec<_>>()
    };
    let covering = RouteFilter { address: Some("10.1.3.4".parse().unwrap()), ..RouteFilter::default() };
    assert_eq!(prefixes(covering).await, ["10.0.0.0/8", "10.1.0.0/16"]);
    let inside = RouteFilter { prefix: Some("10.1.0.0/16".parse().unwrap()), ..RouteFilter::default() };
    assert_eq!(prefixes(inside).await, ["10.1.0.0/16", "10.1.2.0/24"]);
    let table = RouteFilter { tenant: Some("beta".into()), ..RouteFilter::default() };
    assert_eq!(prefixes(table).await, ["10.1.2.0/24", "fd00::/8"]);
    running.stop().await;
}

#[tokio::test]
async fn metrics_are_on_the_socket_too() {
    let running = Running::start(Arc::new(Fake::default()));
    let mut stream = UnixStream::connect(running.socket()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("penstock_tunnels_up 2"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn status_says_what_needs_attention() {
    let running = Running::start(Arc::new(Fake::default()));
    let status = Client::new(running.socket()).status().await.unwrap();
    assert_eq!(status.attention.len(), 10, "{:?}", status.attention);
    assert!(status.attention[0].starts_with("port core0: no link"));
    assert!(status.attention[1].starts_with("core 3: works with tables of generation 8"));
    assert_eq!(status.attention[2], "workers may not encrypt, IPsec tunnels send nothing: the disk is full");
    assert!(
        status.attention[3]
            .starts_with("2 tunnels were stopped, because their outbound keys have been in use for 21")
    );
    assert_eq!(
        status.attention[4],
        "workers get no new sender IDs, which they should every day: the clock is behind"
    );
    assert_eq!(
        status.attention[5..8],
        [
            "IKE: no tunnel can be negotiated or rekeyed: charon has ended",
            "IKE: tunnel acme/dc3: charon refuses it",
            "IKE: the negotiations of 2 tunnels fail (acme/dc2, acme/dc4): penstock show ike --detail says why"
        ]
    );
    assert!(status.attention[8].starts_with("1 of 3 tunnels are not up"));
    assert!(status.attention[9].starts_with("3 security associations come from a file"));
    running.stop().await;
}

#[tokio::test]
async fn reload_carries_the_text_and_brings_back_the_difference_or_every_problem() {
    let fake = Arc::new(Fake::default());
    let running = Running::start(fake.clone());
    let client = Client::new(running.socket());
    let request = |dry_run, yaml: &str| ReloadRequest {
        dry_run,
        config: Some(ConfigText { source: "x.yaml".into(), yaml: yaml.into() }),
    };

    let other_mtu = RUNNING.replace("1400", "1300");
    let report = client.reload(&request(true, &other_mtu)).await.unwrap();
    assert_eq!(fake.reloads.lock().unwrap().as_slice(), [request(true, &other_mtu)]);
    assert!(report.dry_run);
    let expected = Change {
        kind: ChangeKind::Changed,
        path: "tenants.acme.tunnels.dc1.mtu".into(),
        old: Some(1400.into()),
        new: Some(1300.into()),
        needs_restart: false,
    };
    assert_eq!(report.changes, [expected]);

    let bad = RUNNING.replace("1400", "-1").replace("203.0.113.1", "nonsense");
    let ClientError::Refused(error) = client.reload(&request(false, &bad)).await.unwrap_err() else {
        unreachable!()
    };
    assert_eq!(error.code, ErrorCode::InvalidConfig);
    let places: Vec<_> = error.problems.iter().map(|problem| (problem.file.as_str(), problem.line)).collect();
    assert_eq!(places, [("x.yaml", Some(5)), ("x.yaml", Some(9))], "{:?}", error.problems);
    assert!(error.problems[1].to_string().starts_with("x.yaml:9:"), "{}", error.problems[1]);

    let other_device = RUNNING.replace("net_null0", "net_null1");
    assert!(client.reload(&request(true, &other_device)).await.unwrap().changes[0].needs_restart);
    let ClientError::Refused(error) = client.reload(&request(false, &other_device)).await.unwrap_err() else {
        unreachable!()
    };
    assert_eq!(error.code, ErrorCode::NeedsRestart);
    assert!(error.message.contains("ports.edge0.device"), "{error}");
    running.stop().await;
}

#[tokio::test]
async fn a_body_of_several_megabytes_arrives_whole() {
    let fake = Arc::new(Fake::default());
    let running = Running::start(fake.clone());
    let yaml = format!("{RUNNING}# {}\n", "\"x\"\t".repeat(1 << 20));
    let request = ReloadRequest { dry_run: true, config: Some(ConfigText { source: "x".into(), yaml }) };
    assert_eq!(Client::new(running.socket()).reload(&request).await.unwrap().changes, []);
    assert_eq!(fake.reloads.lock().unwrap().as_slice(), [request]);
    running.stop().await;
}

#[tokio::test]
async fn a_reload_that_panics_is_an_answer_and_the_next_one_works() {
    let running = Running::start(Arc::new(Fake::default()));
    let client = Client::new(running.socket());
    let crash = ConfigText { source: "x".into(), yaml: "crash".into() };
    let refused = client.reload(&ReloadRequest { dry_run: false, config: Some(crash) }).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused(error) if error.code == ErrorCode::Internal));
    client.reload(&ReloadRequest::default()).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn reloads_run_one_at_a_time_and_to_their_end() {
    let fake = Arc::new(Fake { reload_takes: Duration::from_millis(150), ..Fake::default() });
    let running = Running::start(fake.clone());
    let client = Client::new(running.socket());

    let request = ReloadRequest::default();
    let (one, two) = tokio::join!(client.reload(&request), client.reload(&request));
    one.unwrap();
    two.unwrap();
    assert_eq!(fake.most_at_once.load(Ordering::SeqCst), 1);

    // A client that goes away in the middle.
    let gone = tokio::time::timeout(Duration::from_millis(50), client.reload(&request)).await;
    assert!(gone.is_err());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fake.reloads.lock().unwrap().len(), 3);
    running.stop().await;
}

/// Sends bytes as they are; status and body of what comes back.
async fn raw(running: &Running, request: &[u8]) -> (u16, serde_json::Value) {
    let mut stream = UnixStream::connect(running.socket()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn code(body: &serde_json::Value) -> &str {
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    assert!(body["error"]["problems"].as_array().unwrap().is_empty());
    body["error"]["code"].as_str().unwrap()
}

#[tokio::test]
async fn nonsense_gets_the_error_envelope() {
    let running = Running::start(Arc::new(Fake::default()));
    let cases: [(&str, &str, u16, &str); 8] = [
        ("GET /v1/show/everything", "", 404, "not_found"),
        ("GET /page/", "", 404, "not_found"),
        ("DELETE /v1/show/ports", "", 405, "method_not_allowed"),
        ("GET /v1/reload", "", 405, "method_not_allowed"),
        ("GET /v1/show/tunnels?colour=red", "", 400, "bad_request"),
        ("GET /v1/show/routes?prefix=10.0.0.0/99", "", 400, "bad_request"),
        ("POST /v1/reload", "{\"dry_run\": 1", 400, "bad_request"),
        ("POST /v1/reload", "{\"dry_rum\": true}", 400, "bad_request"),
    ];
    for (line, body, status, expected) in cases {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let (got, answer) = raw(&running, request.as_bytes()).await;
        assert_eq!((got, code(&answer)), (status, expected), "{line} {body}");
    }

    // Not HTTP at all: hyper answers 400 without a body, and goes on serving others.
    let (status, _) = raw(&running, b"\x16\x03\x01 hello\r\n\r\n").await;
    assert_eq!(status, 400);
    // Announced as too large: refused before it is sent.
    let announced = format!(
        "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        MAX_BODY_BYTES + 1
    );
    let (status, answer) = raw(&running, announced.as_bytes()).await;
    assert_eq!((status, code(&answer)), (413, "too_large"));
    assert_eq!(Client::new(running.socket()).ports().await.unwrap().total, 2);
    running.stop().await;
}

#[tokio::test]
async fn nobody_there_says_how_to_start_it() {
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(directory.path().join("api.sock"));
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }));
    assert!(error.to_string().contains("penstock run -c FILE"), "{error}");
}

#[test]
fn a_code_from_a_newer_daemon_is_understood_as_an_error() {
    let error: ApiError =
        serde_json::from_str(r#"{"code": "teapot", "message": "short and stout"}"#).unwrap();
    assert_eq!(error.code, ErrorCode::Internal);
}

#[tokio::test]
async fn tenants_of_the_store_are_shown_changed_and_removed() {
    let running = Running::start(Arc::new(Fake::default()));
    let client = Client::new(running.socket());
    assert_eq!(client.tenants().await.unwrap().rows, tenants());
    let config = ConfigText { source: "x.yaml".into(), yaml: "tenants: {acme: {}}".into() };
    let mut request = ApplyRequest { dry_run: true, config, versions: [("acme".to_owned(), 3)].into() };
    let ClientError::Refused(refused) = client.apply(&request).await.unwrap_err() else {
        panic!("not refused")
    };
    assert_eq!(refused.code, ErrorCode::Conflict);
    request.versions.insert("acme".into(), 4);
    let report = client.apply(&request).await.unwrap();
    assert!(report.dry_run && report.revision.is_none());
    let mut removal = DeleteRequest { dry_run: false, tenant: "acme".into(), tunnel: None };
    assert_eq!(client.delete(&removal).await.unwrap().revision, Some(13));
    removal.tenant = "nobody".into();
    let ClientError::Refused(refused) = client.delete(&removal).await.unwrap_err() else {
        panic!("not refused")
    };
    assert_eq!(refused.code, ErrorCode::NotFound);
}
