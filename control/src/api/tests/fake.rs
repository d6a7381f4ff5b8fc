//! A gateway that is made up: two ports, three tunnels, and a reload that only remembers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::api::*;
use crate::config::{diff, parse_str};

/// The configuration that runs.
pub(crate) const RUNNING: &str = "\
node: {name: fra1-a}
cores: {control: 0, workers: [1]}
ports:
  edge0: {device: net_null0, addresses: [192.0.2.1/24]}
endpoints: {anycast4: 203.0.113.1}
tenants:
  acme:
    tunnels:
      dc1: {endpoint: anycast4, remote: 192.0.2.77, mtu: 1400}
";

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) reloads: Mutex<Vec<ReloadRequest>>,
    pub(crate) reload_takes: Duration,
    pub(crate) reloading_now: AtomicUsize,
    pub(crate) most_at_once: AtomicUsize,
}

pub(crate) fn tunnel(tenant: &str, name: &str, state: TunnelState) -> TunnelRow {
    TunnelRow {
        tenant: tenant.into(),
        name: name.into(),
        kind: "gre".into(),
        endpoint: "anycast4".into(),
        local: "203.0.113.1".parse().unwrap(),
        remote: Some("192.0.2.77".parse().unwrap()),
        key: Some(7),
        ciphers: vec![],
        udp_ports: None,
        moved_to: None,
        state,
        reason: None,
        underlay: Some("edge0 via 192.0.2.254".into()),
        mtu: 1472,
        path_mtu: None,
        mss_v4: Some(1432),
        mss_v6: Some(1412),
        encap: Traffic { packets: u64::MAX, bytes: 1 },
        decap: Traffic::default(),
        drops: 0,
        clamped_syns: 3,
        keepalives_answered: 0,
        keepalive: None,
        health: None,
    }
}

pub(crate) fn tunnels() -> Vec<TunnelRow> {
    vec![
        tunnel("acme", "dc1", TunnelState::Up),
        tunnel("acme", "dc2", TunnelState::Down),
        tunnel("beta & co", "dc1", TunnelState::Up),
    ]
}

pub(crate) fn sas() -> Vec<SaRow> {
    let inbound = SaRow {
        tenant: "acme".into(),
        tunnel: "dc1".into(),
        direction: SaDirection::Inbound,
        state: SaState::Current,
        spi: "0x00001001".into(),
        peer: Some("192.0.2.77:4500".into()),
        node: Some(1023),
        age_s: Some(60),
        budget: Some(SaBudget {
            seconds: SaLeft { rekey: Some(0), end: Some(u64::MAX) },
            ..SaBudget::default()
        }),
        cipher: "aes128gcm16".into(),
        backend: "rustcrypto".into(),
        esn: true,
        replay_window: Some(64),
        numbering: None,
        pinned_core: None,
        sequence: 7,
        sequence_left: None,
        soft_limit: None,
        local: vec!["0.0.0.0/0".into()],
        remote: vec!["198.51.100.0/24".into()],
        packets: 7,
        bytes: 700,
        drops: 1,
        last_used_s: None,
        per_core: vec![SaCore { core: 2, packets: 7, bytes: 700, drops: 1 }],
    };
    let outbound = SaRow {
        direction: SaDirection::Outbound,
        spi: "0xffffffff".into(),
        replay_window: None,
        numbering: Some(SaNumbering::Pinned),
        pinned_core: Some(2),
        sequence: u64::MAX - 2,
        sequence_left: Some(1),
        soft_limit: Some(1 << 63),
        last_used_s: Some(0),
        ..inbound.clone()
    };
    let other = SaRow { tunnel: "dc2".into(), ..outbound.clone() };
    vec![inbound, outbound, other]
}

pub(crate) fn ike() -> Ike {
    let row = IkeRow {
        tenant: "acme".into(),
        tunnel: "dc1".into(),
        state: IkeState::Up,
        local: "192.0.2.1".into(),
        remote: "any".into(),
        peer: Some("198.51.100.9:4500".into()),
        local_id: "192.0.2.1".into(),
        remote_id: "r1.example".into(),
        nat: Some(true),
        suite: Some("AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256".into()),
        age_s: Some(61),
        rekey_s: Some(13_000),
        spis: None,
        children: vec![],
        refused: None,
        last_failure: Some(IkeFailure { reason: "wrong pre-shared key".into(), age_s: 120, count: 3 }),
    };
    let other = IkeRow { tunnel: "dc2".into(), state: IkeState::Down, peer: None, ..row.clone() };
    Ike { charon: Some(Charon::default()), total: 2, rows: vec![row, other] }
}

pub(crate) fn fleet() -> Fleet {
    let node = FleetNode { name: "gw1".into(), number: 1, here: true, ready: true, ..FleetNode::default() };
    Fleet { name: Some("edge".into()), node: "gw1".into(), nodes: vec![node], ..Fleet::default() }
}

pub(crate) fn tenants() -> Vec<TenantObject> {
    let tenant = serde_json::json!({"prefixes": ["198.51.100.0/24"], "tunnels": {}});
    vec![TenantObject { name: "acme".into(), version: 4, tenant }]
}

pub(crate) fn crypto() -> Crypto {
    Crypto {
        configured: "auto".into(),
        backends: vec![CryptoBackend {
            name: "vaes".into(),
            available: true,
            suites: vec!["aes128gcm16".into()],
            detail: "256 bits".into(),
        }],
        senders: vec![Sender { core: 2, sender_id: Some(0), ivs_left: Some(1 << 40) }, Sender::default()],
        no_lease: Some("the disk is full".into()),
        no_renewal: Some("the clock is behind".into()),
        static_sas: 3,
        warning: Some(crate::static_sas::WARNING.into()),
    }
}

fn route(tenant: &str, prefix: &str) -> RouteRow {
    RouteRow {
        tenant: tenant.into(),
        prefix: prefix.parse().unwrap(),
        source: RouteSource::Config,
        hops: vec![HopRow {
            kind: HopKind::Tunnel,
            via: "dc1".into(),
            priority: 100,
            penalty: 0,
            weight: 1,
            active: true,
            reason: None,
        }],
    }
}

impl Gateway for Fake {
    fn status(&self) -> Status {
        Status {
            node: "fra1-a".into(),
            tunnels: UpCount { up: 2, total: 3 },
            static_sas: 3,
            no_lease: Some("the disk is full".into()),
            no_renewal: Some("the clock is behind".into()),
            stopped_sas: 2,
            ike: Some(IkeStatus {
                problem: Some("charon has ended".into()),
                refused: vec!["tunnel acme/dc3: charon refuses it".into()],
                failing: vec!["acme/dc2".into(), "acme/dc4".into()],
                ..IkeStatus::default()
            }),
            ..Status::default()
        }
    }

    fn ports(&self) -> Vec<PortRow> {
        let port = |name: &str, up| PortRow {
            name: name.into(),
            link: Link { up, speed_mbps: up.then_some(100_000) },
            ..PortRow::default()
        };
        vec![port("edge0", true), port("core0", false)]
    }

    fn cores(&self) -> Vec<CoreRow> {
        let core = |core, generation| CoreRow {
            core,
            generation: Some(generation),
            current_generation: 9,
            max_loop_us: Some(12.5),
            ..CoreRow::default()
        };
        vec![core(2, 9), core(3, 8)]
    }

    fn tunnels(&self, filter: &TunnelFilter) -> Page<TunnelRow> {
        let rows = tunnels().into_iter();
        let matching =
            rows.filter(|row| filter.selects(&row.tenant, &row.name) && filter.selects_state(row.state));
        Page::take(matching, filter.limit, |row| row)
    }

    fn sas(&self, filter: &SaFilter) -> Page<SaRow> {
        let rows = sas().into_iter().filter(|row| filter.selects(&row.tenant, &row.tunnel));
        Page::take(rows, filter.limit, |row| row)
    }

    fn ike(&self, filter: &IkeFilter) -> Ike {
        let all = ike();
        let rows = all.rows.into_iter().filter(|row| filter.selects(&row.tenant, &row.tunnel));
        let page = Page::take(rows, filter.limit, |row| row);
        Ike { charon: all.charon, total: page.total, rows: page.rows }
    }

    fn ready(&self) -> Readiness {
        Readiness { ready: false, reasons: vec!["the store is away".into()] }
    }

    fn fleet(&self) -> Fleet {
        fleet()
    }

    fn tenants(&self) -> Vec<TenantObject> {
        tenants()
    }

    fn apply(&self, request: ApplyRequest) -> BoxFuture<'_, Result<ApplyReport, ApiError>> {
        let refused = ApiError::new(ErrorCode::Conflict, "tenant acme has version 4 and not 3");
        let revision = (!request.dry_run).then_some(12);
        let report = ApplyReport { dry_run: request.dry_run, revision, changes: Vec::new() };
        let is_stale = request.versions.get("acme").is_some_and(|version| *version != 4);
        async move { if is_stale { Err(refused) } else { Ok(report) } }.boxed()
    }

    fn delete(&self, request: DeleteRequest) -> BoxFuture<'_, Result<ApplyReport, ApiError>> {
        let report = ApplyReport { dry_run: request.dry_run, revision: Some(13), changes: Vec::new() };
        let missing =
            ApiError::new(ErrorCode::NotFound, format!("the store has no tenant {}", request.tenant));
        async move { if request.tenant == "acme" { Ok(report) } else { Err(missing) } }.boxed()
    }

    fn crypto(&self) -> Crypto {
        crypto()
    }

    fn routes(&self, filter: &RouteFilter) -> Page<RouteRow> {
        let all =
            [("acme", "10.0.0.0/8"), ("acme", "10.1.0.0/16"), ("beta", "10.1.2.0/24"), ("beta", "fd00::/8")];
        let matching = all.into_iter().filter(|(tenant, prefix)| {
            filter.selects_table(tenant) && filter.selects_prefix(&prefix.parse().unwrap())
        });
        Page::take(matching, filter.limit, |(tenant, prefix)| route(tenant, prefix))
    }

    fn neighbors(&self, filter: &NeighborFilter) -> Page<NeighborRow> {
        let row = |interface: &str| NeighborRow {
            interface: interface.into(),
            ip: "192.0.2.254".parse().unwrap(),
            mac: Some("02:00:00:00:00:fe".into()),
            state: NeighborState::Reachable,
            used_by: 2,
        };
        let matching = ["core0", "edge0"].into_iter().filter(|interface| filter.selects(interface));
        Page::take(matching, filter.limit, row)
    }

    fn drops(&self) -> Vec<DropRow> {
        vec![DropRow {
            reason: "gre_key_mismatch".into(),
            packets: 5,
            per_core: vec![CoreCount { core: 2, packets: 5 }],
            help: "The key differs from the configuration.".into(),
        }]
    }

    fn config(&self) -> RunningConfig {
        RunningConfig { source: "/etc/penstock.yaml".into(), age_s: 1, yaml: "node: {name: fra1-a}\n".into() }
    }

    fn reload(&self, request: ReloadRequest) -> BoxFuture<'_, Result<ReloadReport, ApiError>> {
        async move {
            let at_once = self.reloading_now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            tokio::time::sleep(self.reload_takes).await;
            self.reloading_now.fetch_sub(1, Ordering::SeqCst);
            self.reloads.lock().unwrap().push(request.clone());

            let Some(ConfigText { source, yaml }) = request.config else {
                return Ok(ReloadReport::default());
            };
            assert!(yaml != "crash", "asked to");
            let new = parse_str(&yaml).map_err(|problems| ApiError::invalid_config(&source, problems))?;
            let difference = diff(&parse_str(RUNNING).unwrap(), &new);
            if !request.dry_run {
                difference.live()?;
            }
            Ok(ReloadReport::new(request.dry_run, 10, difference, &source, &new))
        }
        .boxed()
    }
}
