//! Tunnels and routes of accounts, over the socket.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Running;
use super::fake::Fake;
use super::http::ask;

const ACCOUNT: &str = "/client/v4/accounts/acme/magic";

/// A server, and what a request for something of the account gets.
struct Lab {
    running: Running,
    fake: Arc<Fake>,
}

impl Lab {
    fn start() -> Self {
        let fake = Arc::new(Fake::default());
        Self { running: Running::start(fake.clone()), fake }
    }

    async fn fails(&self, method: Method, path: &str, body: Value) -> (StatusCode, String) {
        let (status, answer) = ask(&self.running.socket(), method, &format!("{ACCOUNT}{path}"), &body).await;
        assert_eq!((&answer["success"], &answer["result"]), (&json!(false), &Value::Null), "{answer}");
        assert!(answer["errors"][0]["code"].as_u64().unwrap() >= 1000, "{answer}");
        assert_eq!(answer["messages"], json!([]));
        (status, answer["errors"].to_string())
    }

    async fn does(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = ask(&self.running.socket(), method, &format!("{ACCOUNT}{path}"), &body).await;
        assert_eq!((status, &answer["success"]), (StatusCode::OK, &json!(true)), "{answer}");
        assert_eq!((&answer["errors"], &answer["messages"]), (&json!([]), &json!([])));
        answer["result"].clone()
    }
}

fn tunnel(name: &str, number: u8) -> Value {
    json!({
        "name": name,
        "cloudflare_gre_endpoint": "203.0.113.1",
        "customer_gre_endpoint": format!("192.0.2.{}", 100 + number),
        "interface_address": format!("10.213.0.{}/31", 2 * number),
    })
}

#[tokio::test]
async fn tunnels_and_routes_come_change_and_go() {
    let lab = Lab::start();
    assert_eq!(lab.does(Method::GET, "/gre_tunnels", Value::Null).await, json!({"gre_tunnels": []}));
    let one = lab.does(Method::POST, "/gre_tunnels", tunnel("dc1", 1)).await;
    let id = one["id"].as_str().unwrap();
    let many = json!({"gre_tunnels": [tunnel("dc2", 2), tunnel("dc3", 3)]});
    let many = lab.does(Method::POST, "/gre_tunnels", many).await;
    assert_eq!(many["gre_tunnels"][1]["name"], "dc3");
    let got = lab.does(Method::GET, &format!("/gre_tunnels/{id}"), Value::Null).await;
    assert_eq!(got["gre_tunnel"], one);

    let changed =
        lab.does(Method::PUT, &format!("/gre_tunnels/{id}"), json!({"mtu": 1400, "description": "x"})).await;
    assert_eq!((&changed["modified"], &changed["modified_gre_tunnel"]["mtu"]), (&json!(true), &json!(1400)));
    assert_eq!(changed["modified_gre_tunnel"]["created_on"], one["created_on"]);
    let bulk = json!({"gre_tunnels": [{"id": id, "ttl": 9}, {"id": many["gre_tunnels"][0]["id"], "ttl": 8}]});
    let bulk = lab.does(Method::PUT, "/gre_tunnels", bulk).await;
    assert_eq!(
        (&bulk["modified_gre_tunnels"][0]["ttl"], &bulk["modified_gre_tunnels"][1]["ttl"]),
        (&json!(9), &json!(8))
    );

    let ways = json!({"routes": [
        {"prefix": "198.51.100.0/24", "nexthop": "10.213.0.3", "priority": 5},
        {"prefix": "198.51.101.0/24", "nexthop": "10.213.0.5", "priority": 5},
    ]});
    let ways = lab.does(Method::POST, "/routes", ways).await;
    let way = ways["routes"][0]["id"].as_str().unwrap();
    let changed = lab.does(Method::PUT, &format!("/routes/{way}"), json!({"weight": 7})).await;
    assert_eq!(
        (&changed["modified_route"]["weight"], &changed["modified_route"]["nexthop"]),
        (&json!(7), &json!("10.213.0.3"))
    );
    let (status, why) = lab.fails(Method::DELETE, &format!("/gre_tunnels/{id}"), Value::Null).await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && why.contains("there is no tunnel"), "{why}");
    let gone = lab.does(Method::DELETE, "/routes", json!({"routes": [{"id": way}]})).await;
    assert_eq!(gone["deleted_routes"][0]["id"], way);
    let gone = lab.does(Method::DELETE, "/routes", Value::Null).await;
    assert_eq!(gone["deleted_routes"].as_array().unwrap().len(), 1);
    let gone = lab.does(Method::DELETE, &format!("/gre_tunnels/{id}"), Value::Null).await;
    assert_eq!(gone["deleted_gre_tunnel"]["name"], "dc1");
    let (status, _) = lab.fails(Method::GET, &format!("/gre_tunnels/{id}"), Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    // The same without the prefix of the public API.
    let (_, answer) =
        ask(&lab.running.socket(), Method::GET, "/accounts/acme/magic/gre_tunnels", &Value::Null).await;
    assert_eq!(answer["result"]["gre_tunnels"].as_array().unwrap().len(), 2);
    lab.running.stop().await;
}

#[tokio::test]
async fn keys_go_in_and_one_that_is_made_comes_out_once() {
    let lab = Lab::start();
    let request = json!({
        "name": "dc1", "cloudflare_endpoint": "203.0.113.1", "customer_endpoint": "192.0.2.77",
        "interface_address": "10.213.0.8/31", "psk": "correct horse battery",
    });
    let made = lab.does(Method::POST, "/ipsec_tunnels", request).await;
    assert!(!made.to_string().contains("correct"), "{made}");
    assert_eq!(lab.fake.psks.lock().unwrap()["dc1"], "correct horse battery");
    let id = made["id"].as_str().unwrap();
    let generated = lab.does(Method::POST, &format!("/ipsec_tunnels/{id}/psk_generate"), Value::Null).await;
    let psk = generated["psk"].as_str().unwrap().to_owned();
    assert_eq!(lab.fake.psks.lock().unwrap()["dc1"], psk);
    let got = lab.does(Method::GET, &format!("/ipsec_tunnels/{id}"), Value::Null).await;
    assert_eq!(got["ipsec_tunnel"]["psk_metadata"], generated["psk_metadata"]);
    assert!(!got.to_string().contains(&psk), "{got}");

    let set = json!({"psks": [{"id": id, "psk": "another secret"}], "validate_only": true});
    lab.does(Method::POST, "/ipsec_tunnels/psk", set.clone()).await;
    assert_eq!(lab.fake.psks.lock().unwrap()["dc1"], psk, "only looked at");
    let done = lab.does(Method::POST, "/ipsec_tunnels/psk", json!({"psks": set["psks"]})).await;
    assert!(
        done["successfully_applied_psks"][id]["psk_metadata"].is_object()
            && !done.to_string().contains("another")
    );
    assert_eq!(lab.fake.psks.lock().unwrap()["dc1"], "another secret");
    for bad in
        [json!({"psk": ["hush hush hush"]}), json!({"psk": "\u{1}hush hush"}), json!({"psq": "hush hush"})]
    {
        let (_, why) = lab.fails(Method::PUT, &format!("/ipsec_tunnels/{id}"), bad).await;
        assert!(!why.contains("hush"), "{why}");
    }
    lab.running.stop().await;
}

#[tokio::test]
async fn what_is_only_looked_at_is_checked_and_not_written() {
    let lab = Lab::start();
    let made = lab.does(Method::POST, "/gre_tunnels?validate_only=true", tunnel("dc1", 1)).await;
    assert_eq!(made["name"], "dc1");
    assert_eq!(lab.does(Method::GET, "/gre_tunnels", Value::Null).await, json!({"gre_tunnels": []}));
    let mut unfit = tunnel("dc1", 1);
    unfit["customer_gre_endpoint"] = "192.0.2.1".into();
    let (status, _) = lab.fails(Method::POST, "/gre_tunnels?validate_only=true", unfit).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    for query in ["?validate_only=1", "?validate=true", "?per_page=5"] {
        let (status, why) = lab.fails(Method::POST, &format!("/gre_tunnels{query}"), tunnel("dc1", 1)).await;
        assert!(status == StatusCode::BAD_REQUEST && why.contains("validate_only"), "{why}");
    }
    lab.running.stop().await;
}

#[tokio::test]
async fn a_change_is_planned_again_when_somebody_was_faster() {
    let lab = Lab::start();
    lab.fake.races.store(3, Ordering::SeqCst);
    lab.does(Method::POST, "/gre_tunnels", tunnel("dc1", 1)).await;
    lab.fake.races.store(100, Ordering::SeqCst);
    let (status, _) = lab.fails(Method::POST, "/gre_tunnels", tunnel("dc2", 2)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    lab.fake.races.store(0, Ordering::SeqCst);
    let names = lab.does(Method::GET, "/gre_tunnels", Value::Null).await;
    assert_eq!(names["gre_tunnels"].as_array().unwrap().len(), 1);
    lab.running.stop().await;
}

#[tokio::test]
async fn many_at_once_are_all_there() {
    let lab = Lab::start();
    let socket = lab.running.socket();
    let path = format!("{ACCOUNT}/gre_tunnels");
    let requests = (0..20u8).map(|i| {
        let (socket, path) = (socket.clone(), path.clone());
        tokio::spawn(async move { ask(&socket, Method::POST, &path, &tunnel(&format!("t{i}"), i)).await.0 })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), StatusCode::OK);
    }
    let names = lab.does(Method::GET, "/gre_tunnels", Value::Null).await;
    assert_eq!(names["gre_tunnels"].as_array().unwrap().len(), 20);
    lab.running.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_whole() {
    let lab = Lab::start();
    let twice = json!({"gre_tunnels": [tunnel("dc1", 1), tunnel("dc1", 2)]});
    let (status, why) = lab.fails(Method::POST, "/gre_tunnels", twice).await;
    assert!(status == StatusCode::BAD_REQUEST && why.contains("/1/name"), "{why}");
    let same_ends = json!({"gre_tunnels": [tunnel("dc1", 1), {"name": "dc2", "cloudflare_gre_endpoint": "203.0.113.1",
        "customer_gre_endpoint": "192.0.2.101", "interface_address": "10.213.0.20/31"}]});
    let (status, why) = lab.fails(Method::POST, "/gre_tunnels", same_ends).await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && why.contains("tenants.acme.tunnels.dc"), "{why}");
    for (method, path, body, expected) in [
        (Method::POST, "/gre_tunnels", json!({"name": "dc1"}), "is missing"),
        (Method::POST, "/gre_tunnels", json!({"nmae": "dc1"}), "unknown field `nmae`"),
        (Method::POST, "/gre_tunnels", json!("text"), "write an object"),
        (Method::POST, "/routes", json!({"routes": 7}), "write a list"),
        (Method::PUT, "/routes", json!({"routes": [{"weight": 7}]}), "id is missing"),
        (Method::PATCH, "/routes", Value::Null, "does not answer PATCH"),
        (Method::GET, "/nothing", Value::Null, "does not exist"),
        (Method::POST, "/ipsec_tunnels/0/psk_generate", Value::Null, "no IPsec tunnel"),
    ] {
        let (_, why) = lab.fails(method, path, body).await;
        assert!(why.contains(expected), "{why}");
    }
    assert!(lab.fake.accounts.lock().unwrap().values().all(|account| account.version == 0));
    lab.running.stop().await;
}
