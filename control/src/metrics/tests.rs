//! Readings of a gateway that is made up, in both formats, over real sockets; and the document.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Described, Format, Kind, Listening, Reading, catalogue};
use crate::api::Gateway;
use crate::api::tests::fake::Fake;

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

/// Name, labels and value of each sample.
fn samples(text: &str) -> Vec<(String, String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            (name.to_owned(), labels.strip_suffix('}').unwrap().to_owned(), value.to_owned())
        })
        .collect()
}

fn value<'a>(samples: &'a [(String, String, String)], name: &str, labels: &str) -> Option<&'a str> {
    let found = samples.iter().find(|(n, l, _)| n == name && l == labels);
    found.map(|(_, _, value)| value.as_str())
}

fn written(format: Format) -> String {
    Reading::take(&Fake::default()).written(format)
}

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for Described { name, kind, help, labels } in catalogue() {
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert!(name.starts_with("penstock_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_info"), kind == Kind::Info, "{name}");
        assert!(
            help.len() > 10 && !help.ends_with('.') && !help.contains(['|', '\n', '\\']),
            "{name}: {help}"
        );
        assert!(labels.iter().all(|label| label.chars().all(|c| c.is_ascii_lowercase())), "{name}");
    }
}

/// What a scrape has is in the catalogue, with its labels; and every metric is announced in every scrape.
#[test]
fn a_scrape_is_what_the_catalogue_says() {
    let text = written(Format::Prometheus);
    let known: BTreeMap<String, Described> =
        catalogue().into_iter().map(|metric| (metric.name.clone(), metric)).collect();
    let announced: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ').map(|(name, _)| name))
        .collect();
    assert_eq!(announced, known.keys().map(String::as_str).collect());
    for (name, labels, value) in samples(&text) {
        let of_histogram = ["_sum", "_count", "_bucket"].iter().find_map(|part| name.strip_suffix(part));
        let metric =
            known.get(&name).or_else(|| known.get(of_histogram?)).unwrap_or_else(|| panic!("{name}"));
        let labels: Vec<_> =
            labels.split(',').filter_map(|label| label.split_once('=')).map(|(key, _)| key).collect();
        if metric.kind == Kind::Histogram {
            assert!(labels.iter().all(|label| *label == "le"), "{name}");
        } else {
            assert_eq!(labels, metric.labels, "{name}");
        }
        assert!(value.parse::<f64>().is_ok(), "{name}: {value}");
    }
}

#[test]
fn every_tunnel_is_there_and_says_what_show_says() {
    let samples = samples(&written(Format::OpenMetrics));
    let of = |tunnel: &str| format!("tenant=\"acme\",tunnel=\"{tunnel}\"");
    assert_eq!(value(&samples, "penstock_tunnel_up", &of("dc1")), Some("1"));
    assert_eq!(value(&samples, "penstock_tunnel_up", &of("dc2")), Some("0"));
    assert_eq!(value(&samples, "penstock_tunnel_up", "tenant=\"beta & co\",tunnel=\"dc1\""), Some("1"));
    // A counter is exact beyond what a float can hold.
    assert_eq!(
        value(&samples, "penstock_tunnel_encap_packets_total", &of("dc1")),
        Some("18446744073709551615")
    );
    assert_eq!(value(&samples, "penstock_tunnel_mtu_bytes", &of("dc1")), Some("1472"));
    assert_eq!(value(&samples, "penstock_tunnel_mss_ipv6_bytes", &of("dc1")), Some("1412"));
    assert_eq!(
        value(&samples, "penstock_dropped_packets_total", "core=\"2\",reason=\"gre_key_mismatch\""),
        Some("5")
    );
    // Also where it did not happen.
    assert_eq!(
        value(&samples, "penstock_dropped_packets_total", "core=\"3\",reason=\"gre_key_mismatch\""),
        Some("0")
    );
    assert_eq!(value(&samples, "penstock_ready", ""), Some("0"));
    assert_eq!(value(&samples, "penstock_worker_may_encrypt", "core=\"2\""), Some("1"));
    assert_eq!(value(&samples, "penstock_port_up", "port=\"core0\""), Some("0"));
    assert_eq!(
        value(&samples, "penstock_port_speed_bytes_per_second", "port=\"edge0\""),
        Some("12500000000")
    );
}

#[test]
fn a_reading_is_open_metrics_to_the_end() {
    let text = written(Format::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE penstock_tunnel_encap_packets counter\n"));
    assert!(text.contains("# TYPE penstock_build info\n"));
    assert_eq!(samples(&text), samples(&written(Format::Prometheus)));
}

/// Run with `PENSTOCK_PRINT_METRICS=1` and `--no-capture` to get the rows that the document should have.
#[test]
fn the_document_has_every_metric_as_it_is() {
    let row = |metric: &Described| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        format!("| `{}` | {} | {} | {} |", metric.name, metric.kind.name(), labels, metric.help)
    };
    let rows: Vec<String> = catalogue().iter().map(row).collect();
    let documented: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with("| `penstock_")).collect();
    assert_eq!(documented, rows, "docs/metrics.md should have these rows:\n{}", rows.join("\n"));
}

async fn ask(listening: &std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(listening).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_listener_serves_metrics_and_nothing_else() {
    let listening = Listening::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listening.address();
    let taken = Listening::bind(address).unwrap_err().to_string();
    assert!(
        taken.contains(&format!("metrics.listen: cannot listen on {address}: Address already in use")),
        "{taken}"
    );
    let server = tokio::spawn(listening.serve(Arc::new(Fake::default()) as Arc<dyn Gateway>));

    let plain = ask(&address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 200 OK\r\n"), "{plain}");
    assert!(plain.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{plain}");
    assert!(plain.contains("\npenstock_ready 0\n"), "{plain}");
    let open =
        ask(&address, "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n")
            .await;
    assert!(
        open.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{open}"
    );
    assert!(open.ends_with("# EOF\n"), "{open}");

    for (request, status) in [
        ("GET /v1/show/status HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405"),
        ("\u{1}\u{2}\r\n\r\n", "400"),
    ] {
        let answer = ask(&address, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    // One that says nothing keeps nobody waiting.
    let _silent = TcpStream::connect(address).await.unwrap();
    assert!(ask(&address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    server.abort();
}
