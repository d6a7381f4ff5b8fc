//! What the stories are told with.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use penstock_dataplane::esp::feed::SaFeed;
use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::stats::WorkerStats;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::super::*;
use crate::config::{self, CryptoBackend, Name};
use crate::ike::protocol::{
    AddSa, Answer, Direction as Looks, GetSpi, Header, Hello, Installed, Lifetimes, Limit, Mode,
    PolicyAction, PolicySpec, Refused, Request, SaFlags, SaId, TrafficSelectorSpec,
};
use crate::ike::socket::{Limits, serve};
use crate::local_socket;
use crate::runtime::clock;
use crate::secret::Secret;

pub(super) const CHARON: Instance = Instance(0xc4a0);
const US: Instance = Instance(0xaaaa);
const PEER: &str = "192.0.2.77:4500";
const GATEWAY: &str = "203.0.113.1:4500";

pub(super) const CONFIG: &str = "\
node: {number: 5}
cores: {control: 0, workers: [1, 2]}
ports: {edge0: {device: net_null0, addresses: [192.0.2.1/24]}}
endpoints: {gw: 203.0.113.1}
tenants:
  acme:
    tunnels:
      dc1: {type: ipsec, endpoint: gw, remote: any, ike: {psk_file: /etc/penstock/dc1.psk, remote_id: dc1.example.net}}
      dc2: {type: ipsec, endpoint: gw, remote: 192.0.2.78}
";

/// What a run of control has.
pub(super) struct Gateway {
    state: Mutex<Parts>,
    /// Workers take what they are told.
    pub(super) obedient: AtomicBool,
}

pub(super) struct Parts {
    pub(super) negotiated: Negotiated,
    feed: SaFeed,
    backends: Backends,
    pub(super) compiler: Compiler,
    stats: Vec<Arc<WorkerStats>>,
}

impl Parts {
    pub(super) fn on<R>(&mut self, work: impl FnOnce(&mut Negotiated, &mut Gear<'_>) -> R) -> R {
        let mut gear = Gear { feed: &mut self.feed, backends: &self.backends, compiler: &mut self.compiler };
        work(&mut self.negotiated, &mut gear)
    }
}

impl Host for Gateway {
    /// There is no fleet.
    async fn everywhere(&self, told: Option<sharing::Told>) {
        assert!(told.is_none());
    }

    fn with<R>(&self, work: impl FnOnce(&mut Negotiated, &mut Gear<'_>) -> R) -> R {
        let mut parts = self.parts();
        if self.obedient.load(Ordering::Relaxed) {
            let generation = parts.feed.generation();
            parts.stats.iter().for_each(|stats| stats.sa_generation.set(generation));
        }
        parts.on(work)
    }
}

impl Gateway {
    pub(super) fn parts(&self) -> MutexGuard<'_, Parts> {
        self.state.lock().unwrap()
    }
}

/// A run of control with its socket. What is on the disk outlives it.
pub(super) struct Lab {
    pub(super) gateway: Arc<Gateway>,
    pub(super) directory: TempDir,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

pub(super) fn name(tunnel: &str) -> TunnelName {
    (Name::new("acme").unwrap(), Name::new(tunnel).unwrap())
}

impl Lab {
    pub(super) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    fn start_in(directory: TempDir) -> Self {
        let stats: Vec<_> = (0..2).map(|_| Arc::new(WorkerStats::new(1, 8))).collect();
        let (feed, _) = SaFeed::new(stats.iter().cloned(), 64);
        let compiler = Compiler::new(config::parse_str(CONFIG).unwrap(), vec![[2, 0, 0, 0, 0, 1]]);
        let backends = Backends::choose(CryptoBackend::Auto).unwrap();
        let negotiated = Negotiated::new(5);
        let mut parts = Parts { negotiated, feed, backends, compiler, stats };
        let run = directory.path().join("run");
        parts.on(|negotiated, gear| negotiated.open(&run, gear, clock::moment()).unwrap());
        let events = parts.negotiated.events().unwrap();
        let gateway = Arc::new(Gateway { state: Mutex::new(parts), obedient: AtomicBool::new(true) });
        let socket = local_socket::bind(&run.join("charon.sock"), "ike.plugin_socket").unwrap();
        let service = Arc::new(Service(Arc::clone(&gateway)));
        let limits = Limits { patience: Duration::from_secs(60), ..Limits::default() };
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(socket, US, service, events, limits, async {
            let _ = stopped.await;
        }));
        Self { gateway, directory, stop, server }
    }

    /// Control ends without a word, and another one begins.
    pub(super) async fn restart(self) -> Self {
        let _ = self.stop.send(());
        self.server.await.unwrap().unwrap();
        drop(self.gateway);
        Self::start_in(self.directory)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/charon.sock")
    }

    pub(super) fn journal(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory.path().join("run/sas")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    /// What the plugin does for one call.
    pub(super) async fn ask(&self, request: Request) -> Result<Answer, Refused> {
        self.ask_as(CHARON, request).await
    }

    pub(super) async fn ask_as(&self, charon: Instance, request: Request) -> Result<Answer, Refused> {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(&request.encode(charon).unwrap()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        match Answer::decode(&answer).unwrap().2 {
            Answer::Refused(refused) => Err(refused),
            answer => Ok(answer),
        }
    }

    /// The connection that stays.
    pub(super) async fn hello(&self, charon: Instance, installed: Vec<Installed>) -> (Presence, Vec<SaId>) {
        let mut presence = Presence(UnixStream::connect(self.socket()).await.unwrap());
        let hello = Hello { charon: "5.9.8".into(), plugin: "1".into() };
        presence.0.write_all(&Request::Hello(hello).encode(charon).unwrap()).await.unwrap();
        presence.frame().await;
        presence.0.write_all(&Request::Sync(installed).encode(charon).unwrap()).await.unwrap();
        let Answer::Unknown(unknown) = Answer::decode(&presence.frame().await).unwrap().2 else {
            panic!("that is no answer to SYNC")
        };
        (presence, unknown)
    }

    pub(super) async fn spi(&self) -> Spi {
        let wanted = GetSpi { src: PEER.parse().unwrap(), dst: GATEWAY.parse().unwrap() };
        let Ok(Answer::Spi(spi)) = self.ask(Request::GetSpi(wanted)).await else { panic!("no SPI") };
        spi
    }

    /// What charon does for a `CHILD_SA`, but for its policies.
    pub(super) async fn child(&self, spi_out: u32) -> Spi {
        let spi = self.spi().await;
        self.ask(add(inbound(spi.0))).await.unwrap();
        self.ask(add(outbound(spi_out))).await.unwrap();
        spi
    }

    /// All of a tunnel's SAs, and what they are used for.
    pub(super) fn states(&self) -> Vec<(u32, State)> {
        let parts = self.gateway.parts();
        parts.negotiated.sas(&name("dc1")).map(|(sa, state)| (sa.id.spi.0, state)).collect()
    }

    /// Something went through an SA.
    pub(super) fn count(&self, spi: u32, packets: u64, bytes: u64) {
        let parts = self.gateway.parts();
        let (sa, _) = parts.negotiated.sas(&name("dc1")).find(|(sa, _)| sa.id.spi.0 == spi).unwrap();
        let installed = sa.handle.as_ref().unwrap().installed().unwrap();
        let counters = installed.handle.counters().last().unwrap();
        counters.packets.set(packets);
        counters.bytes.set(bytes);
        counters.sequence.set(packets);
    }

    pub(super) fn turn(&self) {
        self.gateway.with(|negotiated, gear| {
            negotiated.turn(gear, clock::moment());
            negotiated.check(gear, clock::moment());
        });
    }

    /// The outside of the tunnel.
    pub(super) fn form(&self) -> EspForm {
        let parts = self.gateway.parts();
        parts.compiler.tunnels().find(|tunnel| tunnel.name.as_str() == "dc1").unwrap().esp.clone()
    }
}

pub(super) struct Presence(UnixStream);

impl Presence {
    async fn frame(&mut self) -> Vec<u8> {
        let mut frame = vec![0; Header::LEN];
        self.0.read_exact(&mut frame).await.unwrap();
        let length = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
        frame.resize(4 + length, 0);
        self.0.read_exact(&mut frame[Header::LEN..]).await.unwrap();
        frame
    }

    pub(super) async fn event(&mut self) -> Event {
        Event::decode(&self.frame().await).unwrap().1
    }
}

pub(super) fn id(inbound: bool, spi: u32) -> SaId {
    let (peer, us) = (PEER.parse().unwrap(), GATEWAY.parse().unwrap());
    let (src, dst) = if inbound { (peer, us) } else { (us, peer) };
    SaId { src, dst, spi: Spi(spi) }
}

fn everything() -> TrafficSelectorSpec {
    TrafficSelectorSpec {
        protocol: 0,
        from_port: 0,
        to_port: u16::MAX,
        first: "0.0.0.0".parse().unwrap(),
        last: "255.255.255.255".parse().unwrap(),
    }
}

fn sa(inbound: bool, spi: u32) -> AddSa {
    let keys: Vec<u8> = (0..20).map(|n| n ^ spi as u8).collect();
    AddSa {
        id: id(inbound, spi),
        flags: SaFlags { inbound, encap: true, ..SaFlags::default() },
        reqid: 1,
        mode: Mode::Tunnel,
        encryption: 20,
        key: Secret::new(Zeroizing::new(keys.into())),
        integrity: 1024,
        auth_key: Secret::default(),
        replay_window: 0,
        lifetimes: Lifetimes {
            seconds: Limit { hard: NonZeroU64::new(3960), soft: NonZeroU64::new(3600) },
            bytes: Limit { hard: NonZeroU64::new(1_000_000), soft: NonZeroU64::new(900_000) },
            packets: Limit::default(),
        },
        tfc: 0,
        ipcomp: 0,
        src_ts: vec![everything()],
        dst_ts: vec![everything()],
    }
}

pub(super) fn inbound(spi: u32) -> AddSa {
    sa(true, spi)
}

pub(super) fn outbound(spi: u32) -> AddSa {
    sa(false, spi)
}

pub(super) fn add(sa: AddSa) -> Request {
    Request::AddSa(Box::new(sa))
}

pub(super) fn policy(direction: Looks, spi: u32) -> Request {
    let SaId { src, dst, spi } = id(direction != Looks::Out, spi);
    Request::AddPolicy(PolicySpec {
        direction,
        action: PolicyAction::Ipsec,
        mode: Mode::Tunnel,
        reqid: 1,
        spi: Some(spi),
        src,
        dst,
        src_ts: everything(),
        dst_ts: everything(),
    })
}
