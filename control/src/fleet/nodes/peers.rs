//! The socket between the nodes: says what we have applied, hears what the others have.
//!
//! Whatever is to be said is a note of whom to tell; a moment later each of them gets one datagram with the newest state.
//! So a thousand security associations of one owner are one datagram, nothing here waits for anybody, and nothing grows:
//! a datagram that the kernel does not take is lost like any other, and asked for.
//!
//! What went through other nodes' security associations is reported to their owners, and what they report is collected.
//!
//! Datagrams come only from addresses of nodes that live, are of the life that the node's record says, and are signed;
//! all others are counted and dropped.

mod health;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use health::HeardHealth;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use penstock_fleet::names::Name;
use penstock_fleet::peer::{
    Datagram, HealthDatagram, HealthNews, Incarnation, Kind, MAX_LEN, MOST_SAS, PeerKeys, Refused, Report,
    SaUsage, Said, StoreTag,
};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::kernel::KernelError;
use crate::kernel::netns::Netns;

/// So long what is to be said is collected.
const COLLECT: Duration = Duration::from_millis(1);
/// So many reports are kept until they are taken; what is more is lost, as a datagram may be.
const MOST_REPORTED: usize = 1 << 14;
/// Datagrams received in a turn; then others of the thread have theirs.
const BATCH: usize = 64;
/// So long a node whose lease has ended is still told what there is: it may live, and only not reach the store.
const REMINDED: Duration = Duration::from_secs(600);
/// All of a thousand nodes at once, as the kernel counts memory.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Who we are to the others.
pub struct Settings {
    /// Where the socket is bound: our address, and the port of acknowledgements.
    pub local: SocketAddr,
    /// Our name.
    pub node: Name,
    /// Which life of ours.
    pub incarnation: Incarnation,
    /// The store that we follow.
    pub store: StoreTag,
    /// What datagrams are signed with.
    pub keys: PeerKeys,
}

/// Another node that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: Name,
    /// Which life.
    pub incarnation: Incarnation,
    /// Where it sends from and receives; the port is ours.
    pub address: IpAddr,
}

/// What a node said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which node.
    pub node: Name,
    /// Which life.
    pub incarnation: Incarnation,
    /// What it has applied.
    pub revision: u64,
}

/// What a node said of associations of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Which life of it.
    pub incarnation: Incarnation,
    /// What went through them there.
    pub sas: Vec<SaUsage>,
}

/// Datagrams since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Sent: what we have applied.
    pub told: u64,
    /// Sent: questions.
    pub asked: u64,
    /// Sent: reports.
    pub reported: u64,
    /// Not sent: the kernel did not take them.
    pub unsent: u64,
    /// Received: what others have applied.
    pub heard: u64,
    /// Received: questions.
    pub questions: u64,
    /// Received: reports.
    pub reports: u64,
    /// Received: of a node that is called dead. It is told what there is, and answers.
    pub gone: u64,
    /// Sent: about tunnels' health.
    pub health_told: u64,
    /// Received: about tunnels' health.
    pub health_heard: u64,
    /// About tunnels' health, and there was no room.
    pub health_lost: u64,
    /// From an address or port of no node.
    pub unknown_source: u64,
    /// From a node's address, but of another node, or of another life of it.
    pub other_node: u64,
    /// Of another store.
    pub other_store: u64,
    /// Cut off, or longer than any.
    pub length: u64,
    /// None of a fleet.
    pub foreign: u64,
    /// Of another version.
    pub version: u64,
    /// Not signed with one of our keys.
    pub forged: u64,
    /// Signed, but of no form that we know.
    pub malformed: u64,
    /// The socket failed to receive.
    pub failed: u64,
}

struct State {
    keys: PeerKeys,
    store: StoreTag,
    applied: u64,
    /// The newest revision that another node waits for us to have.
    awaited: u64,
    peers: BTreeMap<Name, Peer>,
    /// Nodes that are called dead, and since when.
    gone: BTreeMap<Name, (Peer, Instant)>,
    sources: HashSet<IpAddr>,
    tell: BTreeSet<Name>,
    ask: BTreeMap<Name, u64>,
    heard: BTreeMap<Name, Heard>,
    /// For whom, what.
    report: BTreeMap<Name, Vec<SaUsage>>,
    reported: Vec<Reported>,
    say_health: Vec<(Name, HealthNews)>,
    heard_health: Vec<HeardHealth>,
    counters: PeerCounters,
}

struct Shared {
    local: SocketAddr,
    node: Name,
    incarnation: Incarnation,
    state: Mutex<State>,
    /// There is something to say.
    to_say: Notify,
    /// Something was heard.
    has_heard: Notify,
}

/// The socket between the nodes. Cheap to clone; it closes with the last one.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens the socket in the namespace of the twins; `None`: where we are.
///
/// # Errors
/// When the namespace cannot be entered, or the address is not to be had.
pub fn open(netns: Option<&Netns>, local: SocketAddr) -> Result<OwnedFd, KernelError> {
    let bound = || -> io::Result<OwnedFd> {
        let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Datagram, flags, None)?;
        // The twin may get its address later, or not be sure of it yet (RFC 4862 section 5.4).
        setsockopt(&socket, sockopt::IpFreebind, &true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES)?;
        }
        bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &SockaddrStorage::from(local))?;
        Ok(socket)
    };
    let opened = match netns {
        Some(netns) => netns.run(bound)?,
        None => bound(),
    };
    opened.map_err(|source| KernelError::Netlink {
        action: "open the socket between the fleet's nodes",
        source,
    })
}

impl Peers {
    /// Begins to talk over this socket. Must be called inside a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub fn start(socket: OwnedFd, settings: Settings) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket.into())?;
        let Settings { local, node, incarnation, store, keys } = settings;
        let state = State {
            keys,
            store,
            applied: 0,
            awaited: 0,
            peers: BTreeMap::new(),
            gone: BTreeMap::new(),
            sources: HashSet::new(),
            tell: BTreeSet::new(),
            ask: BTreeMap::new(),
            heard: BTreeMap::new(),
            report: BTreeMap::new(),
            reported: Vec::new(),
            say_health: Vec::new(),
            heard_health: Vec::new(),
            counters: PeerCounters::default(),
        };
        let shared = Arc::new(Shared {
            local,
            node,
            incarnation,
            state: Mutex::new(state),
            to_say: Notify::new(),
            has_heard: Notify::new(),
        });
        let task = tokio::spawn(talk(socket, shared.clone()));
        Ok(Self { shared, _task: Arc::new(Task(task.abort_handle())) })
    }

    /// The nodes that live now, without us.
    pub fn set_peers(&self, peers: impl IntoIterator<Item = Peer>) {
        let (mut state, now) = (self.shared.lock(), Instant::now());
        let new = peers.into_iter().map(|peer| (peer.name.clone(), peer)).collect();
        let before = std::mem::replace(&mut state.peers, new);
        let State { peers, gone, sources, tell, ask, heard, report, .. } = &mut *state;
        gone.extend(before.into_iter().map(|(name, peer)| (name, (peer, now))));
        gone.retain(|name, (_, since)| !peers.contains_key(name) && now.duration_since(*since) < REMINDED);
        *sources = peers.values().map(|peer| peer.address).collect();
        tell.retain(|name| peers.contains_key(name));
        ask.retain(|name, _| peers.contains_key(name));
        report.retain(|name, _| peers.contains_key(name));
        heard.retain(|name, heard| peers.get(name).is_some_and(|peer| peer.incarnation == heard.incarnation));
    }

    /// The keys of the fleet are others now.
    pub fn set_keys(&self, keys: PeerKeys) {
        self.shared.lock().keys = keys;
    }

    /// We follow another store: nothing of it is applied.
    pub fn set_store(&self, store: StoreTag) {
        let mut state = self.shared.lock();
        state.store = store;
        (state.applied, state.awaited) = (0, 0);
        state.heard.clear();
    }

    /// Our workers have everything up to `revision`; `owners` want to hear it, those of what is new.
    pub fn applied<'a>(&self, revision: u64, owners: impl IntoIterator<Item = &'a Name>) {
        let mut state = self.shared.lock();
        state.applied = state.applied.max(revision);
        let State { peers, tell, .. } = &mut *state;
        tell.extend(owners.into_iter().filter(|owner| peers.contains_key(*owner)).cloned());
        let has_any = !tell.is_empty();
        drop(state);
        if has_any {
            self.shared.to_say.notify_one();
        }
    }

    /// Asks a node what it has applied; we wait for `revision`.
    pub fn ask(&self, node: &Name, revision: u64) {
        let mut state = self.shared.lock();
        if state.peers.contains_key(node) {
            let asked = state.ask.entry(node.clone()).or_default();
            *asked = revision.max(*asked);
            drop(state);
            self.shared.to_say.notify_one();
        }
    }

    /// Tells nodes that are called dead that there is `revision`: one that lives finds that it does not hear the store.
    pub fn remind_gone(&self, revision: u64) {
        let (mut state, now) = (self.shared.lock(), Instant::now());
        let State { gone, ask, .. } = &mut *state;
        gone.retain(|_, (_, since)| now.duration_since(*since) < REMINDED);
        ask.extend(gone.keys().map(|name| (name.clone(), revision)));
        let has_any = !gone.is_empty();
        drop(state);
        if has_any {
            self.shared.to_say.notify_one();
        }
    }

    /// Tells the owner of these associations what went through them here.
    pub fn report(&self, owner: &Name, sas: Vec<SaUsage>) {
        let mut state = self.shared.lock();
        if state.peers.contains_key(owner) && !sas.is_empty() {
            state.report.insert(owner.clone(), sas);
            drop(state);
            self.shared.to_say.notify_one();
        }
    }

    /// What nodes reported since the last call.
    pub fn take_reported(&self) -> Vec<Reported> {
        std::mem::take(&mut self.shared.lock().reported)
    }

    /// What nodes said since the last call, the newest of each; waits until there is any.
    pub async fn heard(&self) -> Vec<Heard> {
        loop {
            let heard = std::mem::take(&mut self.shared.lock().heard);
            if !heard.is_empty() {
                return heard.into_values().collect();
            }
            self.shared.has_heard.notified().await;
        }
    }

    /// The newest revision that another node waits for us to have: so much there is.
    pub fn awaited(&self) -> u64 {
        self.shared.lock().awaited
    }

    /// Datagrams since the start.
    pub fn counters(&self) -> PeerCounters {
        self.shared.lock().counters
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it; what is in it is right after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receives, and says what is to be said a moment after it was noted.
async fn talk(socket: UdpSocket, shared: Arc<Shared>) {
    let mut say_at: Option<Instant> = None;
    loop {
        tokio::select! {
            readable = socket.readable() => {
                match readable {
                    Ok(()) => receive(&socket, &shared),
                    Err(_) => shared.lock().counters.failed += 1,
                }
                // The socket may be readable for ever.
                tokio::task::yield_now().await;
            }
            () = shared.to_say.notified() => {
                say_at.get_or_insert_with(|| Instant::now() + COLLECT);
            }
            () = until(say_at) => {}
        }
        if say_at.is_some_and(|at| Instant::now() >= at) {
            say_at = None;
            say(&socket, &shared);
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn say(socket: &UdpSocket, shared: &Shared) {
    let mut state = shared.lock();
    let State { keys, store, applied, peers, gone, tell, ask, report, say_health, counters, .. } =
        &mut *state;
    let (incarnation, store) = (shared.incarnation, *store);
    let mut send = |name: &Name, said: Said| {
        let Some(peer) = peers.get(name).or_else(|| Some(&gone.get(name)?.0)) else { return };
        let to = SocketAddr::new(peer.address, shared.local.port());
        let count = match (socket.try_send_to(&said.seal(keys), to), said) {
            (Err(_), _) => &mut counters.unsent,
            (Ok(_), Said::Report(_)) => &mut counters.reported,
            (Ok(_), Said::Health(_)) => &mut counters.health_told,
            (Ok(_), Said::Revision(Datagram { kind: Kind::Applied, .. })) => &mut counters.told,
            (Ok(_), Said::Revision(Datagram { kind: Kind::Ask, .. })) => &mut counters.asked,
        };
        *count += 1;
    };
    let of_revision = |kind, revision| {
        Said::Revision(Datagram { kind, node: shared.node.clone(), incarnation, store, revision })
    };
    for name in std::mem::take(tell) {
        send(&name, of_revision(Kind::Applied, *applied));
    }
    for (name, revision) in std::mem::take(ask) {
        send(&name, of_revision(Kind::Ask, revision));
    }
    for (name, sas) in std::mem::take(report) {
        for sas in sas.chunks(MOST_SAS) {
            let report = Report { node: shared.node.clone(), incarnation, store, sas: sas.to_vec() };
            send(&name, Said::Report(report));
        }
    }
    for (name, news) in std::mem::take(say_health) {
        let datagram = HealthDatagram { node: shared.node.clone(), incarnation, store, news };
        send(&name, Said::Health(datagram));
    }
}

fn receive(socket: &UdpSocket, shared: &Shared) {
    // A byte more than the longest: what is longer is seen to be.
    let mut buffer = [0; MAX_LEN + 1];
    for _ in 0..BATCH {
        match socket.try_recv_from(&mut buffer) {
            Ok((len, source)) => hear(shared, buffer.get(..len).unwrap_or_default(), source),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => {
                shared.lock().counters.failed += 1;
                return;
            }
        }
    }
}

fn hear(shared: &Shared, bytes: &[u8], source: SocketAddr) {
    let mut state = shared.lock();
    let State {
        keys,
        store,
        peers,
        gone,
        sources,
        tell,
        heard,
        reported,
        heard_health,
        counters,
        awaited,
        ..
    } = &mut *state;
    if source.port() != shared.local.port() || !sources.contains(&source.ip()) {
        let is_gone = gone.values().any(|(peer, _)| peer.address == source.ip());
        *(if is_gone { &mut counters.gone } else { &mut counters.unknown_source }) += 1;
        return;
    }
    let said = match Said::open(bytes, keys) {
        Ok(said) => said,
        Err(refused) => {
            *counters.of(refused) += 1;
            return;
        }
    };
    let (node, incarnation, of_store) = match &said {
        Said::Revision(datagram) => (&datagram.node, datagram.incarnation, datagram.store),
        Said::Report(report) => (&report.node, report.incarnation, report.store),
        Said::Health(datagram) => (&datagram.node, datagram.incarnation, datagram.store),
    };
    if peers.get(node).is_none_or(|peer| peer.address != source.ip() || peer.incarnation != incarnation) {
        counters.other_node += 1;
        return;
    }
    if of_store != *store {
        counters.other_store += 1;
        return;
    }
    match said {
        Said::Revision(Datagram { kind: Kind::Ask, node, revision, .. }) => {
            counters.questions += 1;
            *awaited = revision.max(*awaited);
            tell.insert(node);
            shared.to_say.notify_one();
        }
        Said::Revision(Datagram { kind: Kind::Applied, node, revision, .. }) => {
            counters.heard += 1;
            let newest = heard.entry(node.clone()).or_insert(Heard { node, incarnation, revision });
            newest.revision = newest.revision.max(revision);
            shared.has_heard.notify_one();
        }
        Said::Report(Report { sas, .. }) => {
            counters.reports += 1;
            if reported.len() < MOST_REPORTED {
                reported.push(Reported { incarnation, sas });
            }
        }
        Said::Health(HealthDatagram { node, news, .. }) => {
            if heard_health.len() < health::WAITING {
                counters.health_heard += 1;
                heard_health.push(HeardHealth { node, incarnation, news });
            } else {
                counters.health_lost += 1;
            }
        }
    }
}

impl PeerCounters {
    fn of(&mut self, refused: Refused) -> &mut u64 {
        match refused {
            Refused::Length => &mut self.length,
            Refused::Foreign => &mut self.foreign,
            Refused::Version => &mut self.version,
            Refused::Forged => &mut self.forged,
            Refused::Malformed => &mut self.malformed,
        }
    }
}
