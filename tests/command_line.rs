//! The `penstock` program itself, in front of a gateway that is made up: what it prints, and how it exits.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use penstock_control::api::*;
use penstock_control::config::{diff, parse_str};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

/// The configuration that runs.
const RUNNING: &str = "\
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

struct Fake;

fn no_store() -> ApiError {
    ApiError::new(ErrorCode::NoStore, "the command has no use for accounts")
}

fn tunnel(name: &str, state: TunnelState, reason: Option<&str>) -> TunnelRow {
    TunnelRow {
        tenant: "acme".into(),
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
        reason: reason.map(str::to_owned),
        underlay: Some("edge0 via 192.0.2.254".into()),
        mtu: 1472,
        path_mtu: Some(PathMtu { outer: 1400, source: PathMtuSource::Icmp, age_s: 61, expires_s: Some(539) }),
        mss_v4: Some(1432),
        mss_v6: Some(1412),
        encap: Traffic { packets: 1_234_567, bytes: 1 },
        decap: Traffic::default(),
        drops: 0,
        clamped_syns: 3,
        keepalives_answered: 0,
        keepalive: None,
        health: None,
    }
}

impl Gateway for Fake {
    fn status(&self) -> Status {
        Status { node: "fra1-a".into(), ports: UpCount { up: 0, total: 1 }, ..Status::default() }
    }

    fn ports(&self) -> Vec<PortRow> {
        vec![PortRow { name: "edge0".into(), device: "0000:3b:00.0".into(), ..PortRow::default() }]
    }

    fn cores(&self) -> Vec<CoreRow> {
        vec![CoreRow { core: 2, generation: Some(8), current_generation: 9, ..CoreRow::default() }]
    }

    fn tunnels(&self, filter: &TunnelFilter) -> Page<TunnelRow> {
        let all = [
            tunnel("dc1", TunnelState::Up, None),
            tunnel("dc2", TunnelState::Down, Some("no route to 192.0.2.77")),
        ];
        let matching = all
            .into_iter()
            .filter(|row| filter.selects(&row.tenant, &row.name) && filter.selects_state(row.state));
        Page::take(matching, filter.limit, |row| row)
    }

    fn sas(&self, filter: &SaFilter) -> Page<SaRow> {
        let row = SaRow {
            tenant: "acme".into(),
            tunnel: "dc1".into(),
            direction: SaDirection::Inbound,
            state: SaState::Current,
            peer: None,
            node: None,
            age_s: None,
            budget: None,
            spi: "0x00001001".into(),
            cipher: "aes128gcm16".into(),
            backend: "rustcrypto".into(),
            esn: false,
            replay_window: Some(64),
            numbering: None,
            pinned_core: None,
            sequence: 7,
            sequence_left: None,
            soft_limit: None,
            local: vec!["::/0".into()],
            remote: vec!["::/0".into()],
            packets: 7,
            bytes: 700,
            drops: 0,
            last_used_s: Some(1),
            per_core: vec![],
        };
        Page::take(
            std::iter::once(row).filter(|row| filter.selects(&row.tenant, &row.tunnel)),
            filter.limit,
            |row| row,
        )
    }

    fn ike(&self, filter: &IkeFilter) -> Ike {
        let row = IkeRow {
            tenant: "acme".into(),
            tunnel: "dc1".into(),
            state: IkeState::Down,
            local: "203.0.113.1".into(),
            remote: "192.0.2.77".into(),
            peer: None,
            local_id: "203.0.113.1".into(),
            remote_id: "192.0.2.77".into(),
            nat: None,
            suite: None,
            age_s: None,
            rekey_s: None,
            spis: None,
            children: vec![],
            refused: None,
            last_failure: Some(IkeFailure { reason: "wrong pre-shared key".into(), age_s: 5, count: 2 }),
        };
        let rows = std::iter::once(row).filter(|row| filter.selects(&row.tenant, &row.tunnel));
        let page = Page::take(rows, filter.limit, |row| row);
        Ike { charon: Some(Charon::default()), total: page.total, rows: page.rows }
    }

    fn ready(&self) -> Readiness {
        Readiness { ready: false, reasons: vec!["the store is away".into()] }
    }

    fn fleet(&self) -> Fleet {
        let node = FleetNode { name: "fra1-a".into(), here: true, ready: true, ..FleetNode::default() };
        Fleet { name: Some("edge".into()), node: "fra1-a".into(), nodes: vec![node], ..Fleet::default() }
    }

    fn tenants(&self) -> Vec<TenantObject> {
        let tenant = serde_json::json!({"prefixes": ["198.51.100.0/24"]});
        vec![TenantObject { name: "acme".into(), version: 4, tenant }]
    }

    fn apply(&self, request: ApplyRequest) -> BoxFuture<'_, Result<ApplyReport, ApiError>> {
        assert_eq!(request.versions.get("acme"), Some(&4));
        let revision = (!request.dry_run).then_some(12);
        let report = ApplyReport { dry_run: request.dry_run, revision, changes: Vec::new() };
        async move { Ok(report) }.boxed()
    }

    fn delete(&self, request: DeleteRequest) -> BoxFuture<'_, Result<ApplyReport, ApiError>> {
        let refused =
            ApiError::new(ErrorCode::NotFound, format!("the store has no tenant {}", request.tenant));
        async move { Err(refused) }.boxed()
    }

    fn account(&self, _tenant: &str) -> Result<Account, ApiError> {
        Err(no_store())
    }

    fn write_account(&self, _change: AccountChange) -> BoxFuture<'_, Result<(), ApiError>> {
        async { Err(no_store()) }.boxed()
    }

    fn crypto(&self) -> Crypto {
        Crypto { static_sas: 1, warning: Some("by hand".into()), ..Crypto::default() }
    }

    fn routes(&self, filter: &RouteFilter) -> Page<RouteRow> {
        let row = RouteRow {
            tenant: "acme".into(),
            prefix: "10.0.0.0/8".parse().unwrap(),
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
        };
        let matching = std::iter::once(row).filter(|row| filter.selects_prefix(&row.prefix));
        Page::take(matching, filter.limit, |row| row)
    }

    fn neighbors(&self, _: &NeighborFilter) -> Page<NeighborRow> {
        Page::all(vec![NeighborRow {
            interface: "edge0".into(),
            ip: "192.0.2.254".parse().unwrap(),
            mac: None,
            state: NeighborState::Incomplete,
            used_by: 2,
        }])
    }

    fn drops(&self) -> Vec<DropRow> {
        let row = |reason: &str, packets| DropRow {
            reason: reason.into(),
            packets,
            per_core: vec![CoreCount { core: 2, packets }],
            help: "The key differs.".into(),
        };
        vec![row("gre_key_wrong", 5), row("no_route", 0)]
    }

    fn config(&self) -> RunningConfig {
        RunningConfig { source: "/etc/penstock.yaml".into(), age_s: 61, yaml: "node: {name: fra1-a}".into() }
    }

    fn capture(&self, request: CaptureRequest) -> BoxFuture<'_, Result<Watching, ApiError>> {
        async move {
            if request.packets.tunnel.is_some() {
                return Err(ApiError::new(ErrorCode::BadRequest, "there is no such tunnel"));
            }
            Ok(watching("application/x-pcapng", format!("{:?}", request.layers)).await)
        }
        .boxed()
    }

    fn trace(&self, request: TraceRequest) -> BoxFuture<'_, Result<Watching, ApiError>> {
        async move {
            let row = TraceRow { summary: format!("{:?} packets", request.count), ..a_row() };
            let line = serde_json::to_string(&row).unwrap() + "\n";
            Ok(watching("application/x-ndjson", line).await)
        }
        .boxed()
    }

    fn why(&self, request: &WhyRequest) -> Result<WhyAnswer, ApiError> {
        let is_dropped = request.size == Some(1500);
        Ok(WhyAnswer {
            outcome: if is_dropped { WhyOutcome::Dropped } else { WhyOutcome::Forwarded },
            text: format!("{} to {}", request.src, request.dst),
            reason: is_dropped.then(|| "too_big".into()),
            fix: is_dropped.then(|| "send less".into()),
            notes: Vec::new(),
            packets: vec![a_row()],
        })
    }

    fn stop_watching(&self, _: StopRequest) -> bool {
        false
    }

    fn reload(&self, request: ReloadRequest) -> BoxFuture<'_, Result<ReloadReport, ApiError>> {
        async move {
            let Some(ConfigText { source, yaml }) = request.config else {
                return Ok(ReloadReport { generation: 9, ..ReloadReport::default() });
            };
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

/// A capture or a trace that is over at once.
async fn watching(media: &'static str, text: String) -> Watching {
    let (to, pieces) = mpsc::channel(2);
    to.send(WatchPiece::Data(text.into())).await.unwrap();
    to.send(WatchPiece::End(Caught { caught: 1, missed: 4, seen: 9 })).await.unwrap();
    Watching { id: 1, media, pieces }
}

fn a_row() -> TraceRow {
    let step = |stage: &str, text: &str| TraceStep { stage: stage.into(), text: text.into() };
    TraceRow {
        core: 2,
        packet: 7,
        time_ns: 0,
        summary: "10.0.0.1 > 10.0.0.2 ICMP, 98 bytes".into(),
        steps: vec![step("came", "received by edge0, queue 0"), step("sent", "by core0")],
        end: "sent".into(),
        reason: None,
        tunnel_in: None,
        tunnel_out: None,
    }
}

/// A daemon on a thread of its own.
struct Daemon {
    directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = bind(&directory.path().join("api.sock")).unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let stopped = async move {
                let _ = stopped.await;
            };
            runtime.block_on(serve(socket, Api::new(Arc::new(Fake)), stopped)).unwrap();
        });
        Self { directory, stop: Some(stop), thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// Runs the program; standard output of a success.
    fn output(&self, arguments: &[&str]) -> String {
        let output = penstock(&self.socket(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn penstock(socket: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_penstock"));
    program.args(arguments).env("PENSTOCK_SOCKET", socket).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_table_is_printed() {
    let daemon = Daemon::start();
    let contains = |arguments: &[&str], expected: &[&str]| {
        let text = daemon.output(arguments);
        for expected in expected {
            assert!(text.contains(expected), "{arguments:?} lacks {expected:?}:\n{text}");
        }
    };
    contains(&["show", "status"], &["fra1-a", "0 of 1", "needs attention:\n  - port edge0: no link"]);
    contains(&["show", "ports"], &["PORT", "edge0", "down", "0000:3b:00.0"]);
    contains(&["show", "ports", "--detail"], &["lost, ring full  0\n"]);
    contains(&["show", "cores"], &["8 of 9"]);
    contains(
        &["show", "tunnels"],
        &["1472  1432/1412  -       1.23M", "no route to 192.0.2.77; path MTU 1400"],
    );
    contains(&["show", "tunnels", "--detail"], &["encapsulated       1234567 packets, 1 bytes\n"]);
    contains(&["show", "routes"], &["acme    10.0.0.0/8  tunnel  dc1   100       1  yes     config"]);
    contains(
        &["show", "sas"],
        &["acme    dc1     inbound    current  0x00001001  aes128gcm16  rustcrypto  window 64"],
    );
    contains(&["show", "ike"], &["charon: not needed, external\n", "down", "5s ago: wrong pre-shared key\n"]);
    contains(&["show", "ike", "--detail"], &["failures      2\n"]);
    contains(&["show", "ike", "--tunnel", "dc9"], &["no negotiated tunnels\n"]);
    contains(&["show", "sas", "--detail"], &["last packet      1s ago\n"]);
    contains(&["show", "sas", "--tunnel", "dc9"], &["no security associations\n"]);
    contains(&["show", "crypto"], &["warning: 1 by hand\n"]);
    contains(&["show", "neighbors"], &["192.0.2.254  -    incomplete        2"]);
    contains(&["show", "drops"], &["gre_key_wrong        5  100.0%  The key differs.\n"]);
    contains(&["show", "config"], &["# /etc/penstock.yaml, applied 1m 1s ago\nnode: {name: fra1-a}\n"]);
}

#[test]
fn filters_narrow_and_limits_say_so() {
    let daemon = Daemon::start();
    let down = daemon.output(&["show", "tunnels", "--state", "down"]);
    assert!(down.contains("dc2") && !down.contains("dc1"), "{down}");
    let one = daemon.output(&["show", "tunnels", "--limit", "1"]);
    assert!(one.ends_with("1 of 2 tunnels; --limit 0 shows all, or narrow it down\n"), "{one}");
    let none = daemon.output(&["show", "routes", "--address", "192.0.2.1"]);
    assert!(none.ends_with("no routes\n"), "{none}");
    let quiet = daemon.output(&["show", "drops"]);
    assert!(!quiet.contains("no_route"), "{quiet}");
    assert!(daemon.output(&["show", "drops", "--all"]).contains("no_route"));
}

#[test]
fn json_has_exact_values() {
    let daemon = Daemon::start();
    let text = daemon.output(&["show", "tunnels", "--tunnel", "dc1", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["total"], 1);
    assert_eq!(value["rows"][0]["encap"]["packets"], 1_234_567);
    assert_eq!(value["rows"][0]["type"], "gre");
    assert_eq!(value["rows"][0]["state"], "up");
    for table in
        ["status", "ports", "cores", "routes", "neighbors", "drops", "sas", "ike", "crypto", "config"]
    {
        let text = daemon.output(&["show", table, "--json"]);
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}

/// A file with this text beside the socket.
fn file(daemon: &Daemon, text: &str) -> String {
    let path = daemon.directory.path().join("other.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn reload_prints_the_difference() {
    let daemon = Daemon::start();
    assert_eq!(daemon.output(&["reload"]), "no difference; generation 9 goes on\n");

    let other_mtu = file(&daemon, &RUNNING.replace("1400", "1300"));
    let change = "~ tenants.acme.tunnels.dc1.mtu: 1400 -> 1300\n1 difference; ";
    let dry = daemon.output(&["reload", "--dry-run", "-c", &other_mtu]);
    assert_eq!(dry, format!("{change}dry run, nothing was changed\n"));
    let applied = daemon.output(&["reload", "-c", &other_mtu]);
    assert_eq!(applied, format!("{change}applied; all workers have generation 10\n"));
    let json = daemon.output(&["reload", "--json", "-c", &other_mtu]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["changes"][0]["new"], 1300);
}

#[test]
fn a_reload_that_is_refused_is_exit_code_1_and_names_every_problem() {
    let daemon = Daemon::start();
    let reload = |arguments: &[&str]| {
        let output = penstock(&daemon.socket(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
    };
    let bad = file(&daemon, &RUNNING.replace("1400", "-1").replace("203.0.113.1", "nonsense"));
    let (_, text) = reload(&["reload", "-c", &bad]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "penstock: the configuration has 2 problems, nothing was changed");
    assert!(lines[1].starts_with(&format!("{bad}:5:")) && lines[1].contains("endpoints.anycast4"), "{text}");
    assert!(lines[2].starts_with(&format!("{bad}:9:")) && lines[2].contains("dc1.mtu"), "{text}");

    let other_device = file(&daemon, &RUNNING.replace("net_null0", "net_null1"));
    let (difference, text) = reload(&["reload", "--dry-run", "-c", &other_device]);
    assert!(
        difference.contains("~ ports.edge0.device: net_null0 -> net_null1  (needs a restart)"),
        "{difference}"
    );
    assert_eq!(text, "penstock: a reload would be refused: only a restart can change ports.edge0.device\n");
    let (_, text) = reload(&["reload", "-c", &other_device]);
    assert!(text.contains("nothing was changed: ports.edge0.device"), "{text}");

    let (_, text) = reload(&["reload", "-c", "/nonexistent.yaml"]);
    assert!(text.contains("cannot read /nonexistent.yaml"), "{text}");
}

#[test]
fn check_passes_the_examples_of_the_documentation() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    let mut count = 0;
    for example in std::fs::read_dir(examples).unwrap() {
        let example = example.unwrap().path();
        if example.extension().is_none_or(|extension| extension != "yaml") {
            continue; // of the programs beside it
        }
        let output = check(&[example.to_str().unwrap()]);
        // Keys and certificates are elsewhere.
        let said = stderr(&output);
        let other: Vec<&str> =
            said.lines().filter(|line| !line.contains(" cannot be read: No such file")).collect();
        assert_eq!((output.status.code(), other), (Some(0), vec![]), "{}", example.display());
        assert!(said.lines().all(|line| line.ends_with("(warning)")), "{said}");
        count += 1;
    }
    assert!(count >= 2, "examples are missing");
}

#[test]
fn check_refuses_a_credential_file_that_is_here_and_holds_something_else() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (config, psk) = (directory.path().join("penstock.yaml"), directory.path().join("dc1.psk"));
    let text = format!(
        "cores: {{control: 0, workers: [1]}}\n\
         ports: {{edge0: {{device: net_null0, addresses: [192.0.2.1/24]}}}}\n\
         endpoints: {{gw: 203.0.113.1}}\n\
         tenants: {{acme: {{tunnels: {{dc1: {{type: ipsec, endpoint: gw, remote: 192.0.2.77, \
         ike: {{psk_file: {}}}}}}}}}}}\n",
        psk.display()
    );
    std::fs::write(&config, text).unwrap();
    for (secret, code, said) in [
        (
            None,
            0,
            "cannot be read: No such file or directory (os error 2); check the path, and who may read it (warning)",
        ),
        (Some("0x0"), 1, "holds no key in the encoding that its first two characters announce"),
        (Some("hunter2"), 0, ""),
    ] {
        if let Some(secret) = secret {
            std::fs::write(&psk, secret).unwrap();
            std::fs::set_permissions(&psk, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let output = check(&[config.to_str().unwrap()]);
        let text = stderr(&output);
        assert!(output.status.code() == Some(code) && text.contains(said), "{secret:?}: {text}");
        assert!(!text.contains("hunter2") && text.is_empty() == said.is_empty(), "{text}");
    }
}

#[test]
fn check_prints_all_problems_with_their_places() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.yaml");
    let path = path.to_str().unwrap();
    std::fs::write(path, RUNNING).unwrap();
    let output = check(&[path]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let amounts = "1 port, 1 worker, 1 endpoint, 1 tenant, 1 tunnel, 0 routes";
    assert_eq!(text, format!("{path} is valid: {amounts}\n"));

    std::fs::write(path, RUNNING.replace("1400", "-1").replace("203.0.113.1", "nonsense")).unwrap();
    let output = check(&[path]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(&format!("{path}:5:")) && lines[0].contains("endpoints.anycast4"), "{text}");
    assert!(lines[1].starts_with(&format!("{path}:9:")) && lines[1].contains("dc1.mtu"), "{text}");
    assert_eq!(lines[2..], [format!("penstock: {path} has 2 problems")]);

    let output = check(&[path, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["valid"], false);
    assert_eq!(verdict["problems"][0]["line"], 5);

    let missing = check(&["/nonexistent.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("/nonexistent.yaml"), "{}", stderr(&missing));
}

#[test]
fn check_reads_security_associations_and_never_shows_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, mode: u32, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let config = write("c.yaml", 0o644, &RUNNING.replace("dc1: {", "dc1: {type: ipsec, "));
    let good = "tunnels: {acme/dc1: {inbound: [{spi: 0x1001, cipher: aes128gcm16, \
                key: 0x00112233445566778899aabbccddeeff01020304}]}}\n";
    let sas = write("sas.yaml", 0o600, good);
    let output = check(&[&config, "--static-sas", &sas]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("0 routes, 1 security association\n"), "{text}");

    let bad = write("bad.yaml", 0o600, &good.replace("0x1001", "7").replace("304}", "3}"));
    let output = check(&[&config, "--static-sas", &bad]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.starts_with(&format!("{bad}:1:38: tunnels.acme/dc1.inbound[0].spi: 7 is reserved")),
        "{text}"
    );
    assert!(text.ends_with(&format!("penstock: {bad} has 2 problems\n")), "{text}");
    assert!(!text.contains("0011"), "{text}");

    let open = write("open.yaml", 0o640, good);
    let text = stderr(&check(&[&config, "--static-sas", &open]));
    assert!(text.contains(&format!("chmod 600 {open}\n")), "{text}");
}

fn check(arguments: &[&str]) -> Output {
    penstock(Path::new("/nonexistent"), &[&["check", "-c"], arguments].concat())
}

#[test]
fn a_daemon_that_does_not_run_is_exit_code_3_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    for arguments in [&["show", "ports"][..], &["reload"]] {
        let output = penstock(&socket, arguments);
        assert_eq!(output.status.code(), Some(3));
        let text = stderr(&output);
        assert!(text.contains("the gateway is not running"), "{text}");
        assert!(text.contains("penstock run -c FILE"), "{text}");
        assert!(text.contains(socket.to_str().unwrap()), "{text}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_exit_code_2() {
    let nowhere = Path::new("/nonexistent");
    for arguments in [&[][..], &["show"], &["show", "everything"], &["show", "routes", "--prefix", "10/99"]] {
        assert_eq!(penstock(nowhere, arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_stops_reading_is_not_an_error() {
    let daemon = Daemon::start();
    let mut program = Command::new("sh");
    program.arg("-c").arg(format!("'{}' show drops --all | true", env!("CARGO_BIN_EXE_penstock")));
    let output = program.env("PENSTOCK_SOCKET", daemon.socket()).output().unwrap();
    assert_eq!(stderr(&output), "");
}

#[test]
fn version_and_completions_need_no_daemon() {
    let nowhere = Path::new("/nonexistent");
    let version = penstock(nowhere, &["--version"]);
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("penstock "));
    for (shell, sign) in
        [("bash", "complete -F"), ("zsh", "#compdef penstock"), ("fish", "complete -c penstock")]
    {
        let output = penstock(nowhere, &["completions", shell]);
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains(sign), "{shell}");
        assert!(script.contains("neighbors") && script.contains("dry-run"), "{shell}");
    }
    let schema = penstock(nowhere, &["api-schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert!(schema["paths"]["/v1/show/status"]["get"].is_object(), "{schema}");
}

#[test]
fn tenants_of_the_fleet_go_out_and_come_back_with_their_versions() {
    let daemon = Daemon::start();
    let text = daemon.output(&["get", "tenants", "acme"]);
    assert!(text.starts_with("# versions: {\"acme\":4}\ntenants:\n"), "{text}");
    let file = file(&daemon, &text);
    let dry = daemon.output(&["apply", "-f", &file, "--dry-run"]);
    assert_eq!(dry, "dry run, nothing was changed\n");
    assert!(daemon.output(&["apply", "-f", &file]).starts_with("written as revision 12"));
    for (arguments, expected) in [
        (&["get", "tenants", "nobody"][..], "no tenant nobody"),
        (&["delete", "tenant", "nobody"], "no tenant nobody"),
        (&["ready"], "not ready: the store is away"),
    ] {
        let output = penstock(&daemon.socket(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

#[test]
fn a_fleets_key_is_made_and_rotated() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fleet.key");
    let fleet = |arguments: &[&str]| penstock(Path::new("/nonexistent"), &[&["fleet"], arguments].concat());
    let path = file.to_str().unwrap();
    assert!(fleet(&["new-key", path]).status.success());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = fleet(&["new-key", path]);
    assert!(stderr(&again).contains("is there already"), "{}", stderr(&again));
    let old = std::fs::read_to_string(&file).unwrap();
    for step in ["add", "use", "drop"] {
        let output = fleet(&["rotate-key", path, step]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(String::from_utf8(output.stdout).unwrap().contains("reload them"));
    }
    assert_ne!(std::fs::read_to_string(&file).unwrap(), old);
}

#[test]
fn check_looks_into_the_fleets_key_file() {
    let directory = tempfile::tempdir().unwrap();
    let (config, keys) = (directory.path().join("penstock.yaml"), directory.path().join("fleet.key"));
    let text = format!(
        "node: {{name: gw1, number: 1}}\n\
         cores: {{control: 0, workers: [1]}}\n\
         ports: {{edge0: {{device: net_null0, addresses: [192.0.2.1/24]}}}}\n\
         fleet: {{name: edge, store: embedded, key_file: {}, address: 192.0.2.1}}\n",
        keys.display()
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let output = check(&[config]);
    assert!(output.status.success() && stderr(&output).contains("(warning)"), "{}", stderr(&output));
    std::fs::write(&keys, "keys: []").unwrap();
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    let output = check(&[config]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("has no keys"), "{}", stderr(&output));
    std::fs::remove_file(&keys).unwrap();
    assert!(
        penstock(Path::new("/nonexistent"), &["fleet", "new-key", keys.to_str().unwrap()]).status.success()
    );
    assert_eq!(stderr(&check(&[config])), "");
}

#[test]
fn a_capture_goes_to_a_file_or_to_standard_output_and_nothing_else_does() {
    let daemon = Daemon::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.pcapng");
    let file = path.to_str().unwrap();
    let output = penstock(&daemon.socket(), &["capture", "-w", file, "--inner"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b""[..]));
    assert_eq!(std::fs::read(&path).unwrap(), b"Inner");
    assert!(stderr(&output).contains("1 caught; 4 packets were not caught"), "{}", stderr(&output));
    assert_eq!(daemon.output(&["capture", "-w", "-"]), "Both");
    // A request that is refused leaves the file as it was.
    let output = penstock(&daemon.socket(), &["capture", "-w", file, "--tunnel", "x"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read(&path).unwrap(), b"Inner");
    let both = penstock(&daemon.socket(), &["capture", "-w", file, "--inner", "--outer"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn a_trace_is_printed_in_words_or_as_json() {
    let daemon = Daemon::start();
    let text = daemon.output(&["trace", "--count", "3"]);
    assert_eq!(
        text,
        "00:00:00.000000 UTC  core 2  packet 7  Some(3) packets\n  came        received by edge0, queue 0\n  \
         sent        by core0\n"
    );
    let row: TraceRow = serde_json::from_str(&daemon.output(&["trace", "--json"])).unwrap();
    assert_eq!((row.steps, row.end), (a_row().steps, "sent".into()));
}

#[test]
fn why_says_by_its_exit_code_whether_the_packet_is_dropped() {
    let daemon = Daemon::start();
    let why = ["why", "--tenant", "acme", "10.0.0.1", "10.0.0.2"];
    let text = daemon.output(&why);
    assert!(text.starts_with("10.0.0.1 to 10.0.0.2\n\n10.0.0.1 > 10.0.0.2 ICMP"), "{text}");
    let output = penstock(&daemon.socket(), &[&why[..], &["--size", "1500"]].concat());
    assert_eq!((output.status.code(), &*stderr(&output)), (Some(1), ""));
    assert!(String::from_utf8(output.stdout).unwrap().contains("fix: send less\n"));
}

#[test]
fn the_doctor_names_what_is_bad_and_what_mends_it() {
    let directory = tempfile::tempdir().unwrap();
    let (config, root) = (directory.path().join("penstock.yaml"), directory.path().join("root"));
    std::fs::write(&config, RUNNING).unwrap();
    let doctor = |more: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_penstock"));
        program.args(["doctor", "-c", config.to_str().unwrap(), "--root", root.to_str().unwrap()]);
        program.args(more).output().unwrap()
    };
    let text = doctor(&[]);
    assert_eq!(text.status.code(), Some(1));
    let printed = String::from_utf8(text.stdout).unwrap();
    for expected in ["bad         kernel.tun ", "-> modprobe tun;", "not needed  strongswan ", " bad\n"] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    assert!(String::from_utf8(text.stderr).unwrap().contains("keep the gateway from running here"));

    let json = doctor(&["--json"]);
    assert_eq!(json.status.code(), Some(1));
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&json.stdout).unwrap();
    let tun = findings.iter().find(|one| one["check"] == "kernel.tun").unwrap();
    assert_eq!(tun["verdict"], "bad");
    assert!(tun["mend"].as_str().unwrap().starts_with("modprobe tun"));

    std::fs::write(&config, "cores: {}").unwrap();
    let wrong = doctor(&[]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("cores.workers: is missing"), "{}", stderr(&wrong));
}

#[test]
fn manual_pages_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let man = |to: &Path| {
        Command::new(env!("CARGO_BIN_EXE_penstock")).args(["man", to.to_str().unwrap()]).output().unwrap()
    };
    assert_eq!(man(directory.path()).status.code(), Some(0));
    for (page, expected) in
        [("penstock.1", "doctor"), ("penstock-run.1", "log\\-format"), ("penstock-show-cores.1", "json")]
    {
        let text = std::fs::read_to_string(directory.path().join(page)).unwrap();
        assert!(text.starts_with(".ie") && text.contains(expected), "{page}: {text}");
    }
    let nowhere = man(&directory.path().join("nowhere"));
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("is it a directory?"));
}
