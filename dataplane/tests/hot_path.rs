//! What a worker never does: allocate, or call the system. Over real DPDK devices, with every kind of
//! packet: forwarded, encapsulated, decapsulated, sealed, opened, clamped, punted, answered, reported, dropped; while
//! control changes keys, and begins and ends to watch. With each backend that encrypts.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, which talks to its parent")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use dpdk::ip_frag::Limits;
use dpdk::{Port, PortConfig, Reassembler, lcore, testing};
use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::cipher::Backend;
use penstock_dataplane::esp::feed::{SaFeed, SaHandle};
use penstock_dataplane::esp::sa::{InboundSpec, OutboundSpec, Spi};
use penstock_dataplane::frame::dpdk::{Dpdk, IpFrag};
use penstock_dataplane::handoff::peers;
use penstock_dataplane::ids::*;
use penstock_dataplane::ike::{IkeGate, IkeLimits};
use penstock_dataplane::pipeline::Parts;
use penstock_dataplane::probe::probe_queues;
use penstock_dataplane::publish::Publisher;
use penstock_dataplane::punt::{inject_queue, punt_queue};
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::tables::Snapshot;
use penstock_dataplane::tables::fleet::{Token, Tokens};
use penstock_dataplane::watch::{Drops, Session, SessionReader, WatchSpec};
use penstock_dataplane::wire::probe::{MAX_LEN, Probe, Style};
use penstock_dataplane::worker::Worker;
use support::esp::*;
use support::fleet::{OTHER, OWNER, Site, TOKEN, rescue};
use support::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is ours.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The tunnel that has a replay window.
const REPLAYED: u32 = 4;
/// Turns of the worker between the first and the last look.
const TURNS: usize = 1_500;

fn mixed_frames() -> Vec<Vec<u8>> {
    let mut syn = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0];
    syn.extend_from_slice(&[2, 4, 0x05, 0xb4]);
    let cut = {
        let mut packet =
            Ip4 { protocol: 47, flags: 0x2000, ..Ip4::default() }.build(REMOTE, ENDPOINT, &[0; 64]);
        packet.truncate(84);
        packet
    };
    vec![
        frame(&Ip4::default().build(CLIENT, "1.2.3.4", &udp(30))),
        frame(&request(400)),
        frame(&Ip4 { protocol: 6, ..Ip4::default() }.build(CLIENT, INSIDE, &syn)),
        frame(&from_remote(&gre(0, &[], &reply(100)))),
        frame(&from_remote(&gre(0x2000, &[0, 0, 0, 1], &reply(100)))),
        frame(&Ip4 { ttl: 1, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(9))),
        frame(&request(1460)),
        frame(&Ip4 { flags: 0, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(1470))),
        frame(&ip6(17, 0, 64, "2001:db8:9::9", "2001:db8:100::5", &udp(64))),
        frame(&Ip4::default().build(CLIENT, "192.0.2.200", &udp(4))),
        frame(&Ip4 { protocol: 1, ..Ip4::default() }.build(CLIENT, "192.0.2.1", &[8, 0, 0, 0])),
        frame(&cut),
        // IKE: to an endpoint, over IPv6, behind a NAT, to another address, and the first part of a message.
        frame(&Ip4::default().build(CLIENT, ENDPOINT, &ike(500))),
        frame(&ip6(17, 0, 64, "2001:db8:9::9", "2001:db8:ffff::1", &ike(500))),
        frame(&Ip4::default().build(REMOTE, ENDPOINT, &ike(4500))),
        frame(&Ip4::default().build(CLIENT, "192.0.2.1", &ike(500))),
        frame(&Ip4 { flags: 0x2000, ..Ip4::default() }.build(CLIENT, ENDPOINT, &ike(500))),
        // Answers to health probes: plain, and out of a tunnel.
        frame(&health_answer(ENDPOINT)),
        frame(&from_remote(&gre(0, &[], &health_answer("10.255.0.0")))),
        vec![1, 2, 3],
    ]
}

const PROBE: Probe = Probe { node: 0, tunnel: 0, serial: 1 };

fn probe_key() -> Token {
    Token::new([7; 16])
}

/// A probe that is sent home as it is.
fn health_answer(ours: &str) -> Vec<u8> {
    health_probe(Style::Reply, ours)
}

fn health_probe(style: Style, ours: &str) -> Vec<u8> {
    let mut out = [0; MAX_LEN];
    let (ours, target) = (ours.parse().unwrap(), "10.255.0.1".parse().unwrap());
    let len = PROBE.write(&mut out, style, ours, target, &probe_key()).unwrap();
    out[..len].to_vec()
}

fn ike(port: u16) -> Vec<u8> {
    let mut datagram = udp(72);
    datagram[2..4].copy_from_slice(&port.to_be_bytes());
    datagram[8..].fill(0);
    datagram
}

/// Both ways through a tunnel of each suite, and what dies there.
fn esp_frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for agreement in agreements() {
        let mut peer = Forger::of(&agreement);
        let mut arriving = |payload: &[u8], protocol| agreement.arriving(&peer.payload(1, payload, protocol));
        frames.push(frame(&Ip4::default().build(CLIENT, &agreement.inside(), &udp(400))));
        frames.push(frame(&ip6(17, 0, 64, "2001:db8:9::9", &agreement.inside6(), &udp(64))));
        frames.push(frame(&Ip4::default().build(CLIENT, &agreement.inside(), &udp(1450))));
        frames.push(arriving(&reply(300), 4));
        frames.push(arriving(&ip6(17, 0, 64, "2001:db8:100::5", "2001:db8:9::9", &udp(30)), 41));
        frames.push(arriving(&reply(1300), 4));
        frames.push(arriving(&[1, 2, 3], 59));
        frames.push(arriving(&[1, 2, 3], 17));
        let mut forged = arriving(&reply(20), 4);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        frames.push(forged);
    }
    let agreement = &agreements()[0];
    let mut peer = Forger::of(agreement);
    frames.push(agreement.arriving(&peer.seal(1, &[0, 0, 0, 0, 0, 0, 9, 4]).unwrap()));
    frames.push(agreement.arriving(&[0, 0, 0x77, 0x77, 0, 0, 0, 1]));
    frames.push(frame(&Ip4::default().build(REMOTE, ENDPOINT, &natt(&[0xff]))));
    frames
}

/// Between the nodes of a fleet: what belongs to the other, what belongs to us, and what neither sent.
fn fleet_frames() -> Vec<Vec<u8>> {
    let (other, me) = (Site::v4(OTHER), Site::v4(OWNER));
    let theirs = |len: usize| {
        let esp = [&(u32::from(OTHER) << 22 | 0x1001).to_be_bytes()[..], &vec![0; len]].concat();
        Ip4 { protocol: 50, ..Ip4::default() }.build(CLIENT, ENDPOINT, &esp)
    };
    let agreement = &agreements()[0];
    let mine = agreement.arriving(&Forger::of(agreement).payload(1, &reply(300), 4));
    vec![
        frame(&theirs(60)),
        frame(&ip6(50, 0, 64, "2001:db8:9::9", "2001:db8:ffff::1", &theirs(60)[20..])),
        // More than the link to the other node takes.
        frame(&theirs(1470)),
        other.sends(me, &rescue(&TOKEN, &mine[14..])),
        other.sends(me, &rescue(&[0; 16], &mine[14..])),
        other.sends(me, &rescue(&TOKEN, &theirs(60))),
        other.sends(me, &rescue(&TOKEN, &Ip4::default().build(CLIENT, ENDPOINT, &ike(500)))),
        other.sends(me, &rescue(&TOKEN, &request(9))),
        Site::v4(99).sends(me, &rescue(&TOKEN, &mine[14..])),
    ]
}

/// What control does while the worker runs: a rekey of one tunnel after the other, and new leases.
struct Control {
    feed: SaFeed,
    publisher: Publisher,
    tables: Snapshot,
    watched: Watched,
    /// What accepts the frames stays; beside it, what comes and goes.
    restless: Vec<SaHandle>,
    rounds: u32,
}

/// A session that comes and goes, and whoever reads it.
struct Watched {
    session: Arc<Session>,
    rings: SessionReader,
    on: bool,
    caught: u64,
    begun: u64,
}

impl Watched {
    /// What is read goes back to the worker: there is room again, and not enough of it until the next time.
    fn read(&mut self) {
        while let Some(journey) = self.rings.take(0) {
            self.caught += 1;
            self.rings.give_back(journey);
        }
    }
}

impl Control {
    /// From nobody who watches to one and back, every eighth step.
    fn watch(&mut self) {
        if self.rounds.is_multiple_of(8) {
            self.watched.read();
            self.watched.on = !self.watched.on;
            self.watched.begun += u64::from(self.watched.on);
            let session = self.watched.on.then(|| Arc::clone(&self.watched.session));
            self.publisher.watch(session.into_iter().collect());
            self.publisher.publish(&self.tables);
        }
        self.publisher.reap();
    }

    fn step(&mut self, is_done: impl Fn() -> bool) {
        self.watch();
        let agreements = agreements();
        let agreement = &agreements[self.rounds as usize % agreements.len()];
        self.rounds += 1;
        let spi = Spi(0x10_0000 + self.rounds);
        let new = InboundSpec {
            spi,
            replay: Agreement { window: Some(1024), ..agreement.clone() }.replay(),
            ..agreement.inbound()
        };
        self.restless.push(self.feed.add_inbound(&new).unwrap());
        self.feed.set_outbound(&OutboundSpec { spi, ..agreement.outbound() });
        if self.restless.len() > 8 {
            let old = self.restless.remove(0);
            self.feed.remove_inbound(&old);
        }
        if self.rounds.is_multiple_of(16) {
            self.feed.lease(0, lease(self.rounds));
        }
        // What is not taken yet must not pile up.
        while !self.feed.is_applied(self.feed.generation().saturating_sub(64)) && !is_done() {
            self.feed.turn();
            std::thread::yield_now();
        }
    }
}

fn write_pcap(path: &std::path::Path, frames: &[Vec<u8>]) {
    let mut file = std::fs::File::create(path).unwrap();
    // Classic pcap: magic, 2.4, zone, accuracy, snap length, Ethernet.
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.write_all(&word.to_le_bytes()).unwrap();
    }
    for frame in frames {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            file.write_all(&word.to_le_bytes()).unwrap();
        }
        file.write_all(frame).unwrap();
    }
}

/// From here on any system call of this thread kills the process.
fn forbid_system_calls() {
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const [u16; 4],
    }
    // One instruction: BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS.
    let kill = [[0x06u16, 0, 0x0000, 0x8000]];
    let program = Program { len: 1, filter: kill.as_ptr() };
    // SAFETY: both calls take plain numbers and a pointer to a filter that lives through the call.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
    };
    assert!(!refused, "the kernel lacks seccomp filters: {}", std::io::Error::last_os_error());
}

/// Names the process that runs the worker; it cannot end like a test, so the test is its parent.
const CHILD: &str = "PENSTOCK_HOT_PATH_CHILD";
const PASSED: &str = "no allocation and no system call in 1500 turns";

#[test]
fn a_worker_neither_allocates_nor_calls_the_system() {
    if std::env::var_os(CHILD).is_some() {
        return run_worker();
    }
    for backend in Backend::available().into_iter().filter(|availability| availability.state.is_ok()) {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_worker_neither_allocates_nor_calls_the_system", "--nocapture"])
            .env(CHILD, "1")
            .env("PENSTOCK_TEST_BACKEND", backend.backend.name())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let errors = String::from_utf8_lossy(&child.stderr);
        let passed = child.status.success() && said.contains(PASSED);
        assert!(passed, "{backend:?}: {}\n{said}\n{errors}", child.status);
    }
}

fn run_worker() {
    let _eal = testing::eal();
    let pool = testing::pool("hot_path", 8191);
    let directory = tempfile::tempdir().unwrap();
    let pcap = directory.path().join("in.pcap");
    write_pcap(&pcap, &[mixed_frames(), esp_frames(), fleet_frames()].concat());

    let attach = |device: &str, rx: u16| {
        let mut port = Port::attach(device).unwrap();
        let config = PortConfig { rx_queues: rx, ..PortConfig::default() };
        port.configure(&config, &vec![pool.clone(); usize::from(rx)]).unwrap();
        let (rx, tx) = port.start().unwrap();
        (port, rx, tx)
    };
    let source = format!("net_pcap_hot,rx_pcap={},infinite_rx=1", pcap.display());
    let (_source, mut rx, mut edge) = attach(&source, 1);
    let (_sink, _, mut core) = attach("net_null_hot", 1);

    let stats = Arc::new(WorkerStats::new(2, 16));
    let (mut feed, mut receivers) = SaFeed::new([Arc::clone(&stats)], ASSOCIATIONS);
    let (mut publisher, mut subscribers) = Publisher::new([Arc::clone(&stats)]);
    let mut tables = mixed_tables();
    let mut stay = install_mixed(&mut feed);
    // One has a window: its frames, which are always the same, die as replays.
    let with_window = &agreements()[REPLAYED as usize - 1];
    feed.remove_inbound(&stay.remove(REPLAYED as usize - 1));
    feed.add_inbound(&Agreement { window: Some(64), ..with_window.clone() }.inbound()).unwrap();
    tables.limits.icmp_rate = 1_000_000_000;
    tables.limits.icmp_burst = 1_000_000;
    tables.limits.punt_rate = 1_000_000_000;
    tables.limits.punt_burst = 1_000_000;
    // Some of it is refused.
    tables.limits.ike = IkeLimits { rate: 10_000, source_rate: 10 };
    tables.set_probe_keys(Some(Tokens { current: probe_key(), other: None }));
    publisher.publish(&tables);
    let spec =
        WatchSpec { snaplen: 2048, outer: true, inner: true, tunnel: None, drops: Drops::Any, waiting: 32 };
    let (session, rings) = Session::new(1, spec, 1);
    let watched = Watched { session, rings, on: false, caught: 0, begun: 0 };
    let mut control = Control { feed, publisher, tables, watched, restless: Vec::new(), rounds: 0 };
    let (mut prober, probes) = probe_queues(pool.clone());
    let probe = health_probe(Style::Request, "10.255.0.0");
    // Larger than the tunnel's MTU.
    let mut large = vec![0; 1490];
    let ends = ("10.255.0.0".parse().unwrap(), "10.255.0.1".parse().unwrap());
    PROBE.fill(&mut large, Style::Request, ends.0, ends.1, &probe_key()).unwrap();
    let (punt, mut punted) = punt_queue();
    let (_injector, injected) = inject_queue(pool.clone());
    let hz = dpdk::cycles::tsc_hz();
    let limits = Limits { datagrams: 64, timeout_cycles: hz / 1000, socket: None };
    let parts = Parts::<Dpdk> {
        tx: vec![edge.pop(), core.pop()],
        pool: pool.clone(),
        fragmentation: IpFrag::new(Reassembler::new(limits).unwrap(), pool.clone()),
        strangers: IpFrag::new(Reassembler::new(limits).unwrap(), pool.clone()),
        punt,
        probes,
        ike: IkeGate::new(),
        events: Arc::new(ArrayQueue::new(16)),
        stats: Arc::clone(&stats),
        esp: esp_parts(receivers.remove(0)),
        peers: peers(1).remove(0),
        spread: false,
        hz,
    };
    let mut worker = Worker::new(parts, vec![(PortId(0), rx.remove(0))], injected, subscribers.remove(0));

    // The number of allocations, once the turns are over.
    let done = Arc::new(AtomicU64::new(u64::MAX));
    let report = Arc::clone(&done);
    let core_of_test = std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
    let _detached = lcore::spawn(core_of_test, "hot-path", move || {
        for _ in 0..200 {
            worker.turn();
        }
        forbid_system_calls();
        let before = ALLOCATIONS.get();
        for _ in 0..TURNS {
            worker.turn();
        }
        report.store(ALLOCATIONS.get() - before, Ordering::Release);
        // Even ending would be a system call.
        loop {
            std::hint::spin_loop();
        }
    })
    .unwrap();
    let started = std::time::Instant::now();
    while done.load(Ordering::Acquire) == u64::MAX {
        assert!(started.elapsed().as_secs() < 300, "the worker does not come to an end");
        punted.drain(4096, |_, _| {});
        for probe in [&probe, &large] {
            let _ = prober.send(TUNNEL, 0, probe);
        }
        while prober.answer().is_some() {}
        control.step(|| done.load(Ordering::Acquire) != u64::MAX);
    }
    for reason in [
        DropReason::TtlExpired,
        DropReason::TooBig,
        DropReason::GreKeyWrong,
        DropReason::IkeSourceRate,
        DropReason::FrameTruncated,
        DropReason::EspAuth,
        DropReason::EspDummy,
        DropReason::EspNextHeader,
        DropReason::EspPadding,
        DropReason::EspReplay,
        DropReason::EspSaUnknown,
        DropReason::NatTKeepalive,
        DropReason::RescueToken,
        DropReason::RescueEndpoint,
        DropReason::RescueSource,
    ] {
        assert!(stats.drops(reason) > 0, "{reason:?} did not occur");
    }
    let tunnel = stats.tunnel(TUNNEL).unwrap();
    for counter in [&tunnel.encap_packets, &tunnel.decap_packets, &tunnel.clamped, &stats.icmp_sent] {
        assert!(counter.get() > 0);
    }
    assert!(stats.probe_answers.get() > 100);
    assert!(stats.rescued_out() > 100 && stats.rescued_in() > 100);
    for agreement in agreements() {
        let tunnel = stats.tunnel(agreement.tunnel()).unwrap();
        let has_window = agreement.number == REPLAYED;
        assert!(tunnel.encap_packets.get() > 0, "{}", agreement.suite);
        assert!(
            tunnel.decap_packets.get() > 0 && (has_window || tunnel.decap_packets.get() > 100),
            "{}",
            agreement.suite
        );
    }
    assert!(control.rounds > 100 && stats.sa_generation.get() > 200, "{} rounds", control.rounds);
    assert_eq!(stats.drops(DropReason::EspNoSa) + stats.drops(DropReason::EspNoLease), 0);
    // Fragments are merged, or lost when their time is over.
    let lost = stats.drops(DropReason::ReassemblyFailed) + stats.drops(DropReason::ReassemblyTimeout);
    assert!(stats.merged.get() + lost > 0);
    assert!(stats.port(PortId(0)).unwrap().punted.get() > 0);
    let Watched { session, caught, begun, .. } = &control.watched;
    assert!(*begun > 5 && *caught > 1000 && session.missed() > 0, "{begun} times, {caught} packets");
    assert_eq!(done.load(Ordering::Acquire), 0, "allocations");
    // The worker's thread cannot be joined any more: leave as a whole, successfully.
    println!("{PASSED}");
    std::process::exit(0);
}
