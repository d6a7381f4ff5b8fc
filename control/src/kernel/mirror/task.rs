//! The mirror's task: waits for events, dumps, commands and time, and hands out updates.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::future::OptionFuture;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::super::error::KernelError;
use super::super::netlink::convert::{self, Event};
use super::super::netlink::dump::serialize;
use super::super::netlink::socket::{NetlinkSocket, Received};
use super::super::resolve::{NeighbourKey, Resolver};
use super::super::state::{KernelUpdate, Link};
use super::Counters;
use super::contents::{Contents, Effect};
use super::dirty::Dirty;

/// Events kept while everything is read. Past this the reading is given up: the running picture is the better
/// one.
const REPLAY_MAX: usize = 200_000;
/// Wait before reading everything, so that a burst of link changes costs one reading.
const RESYNC_DELAY: Duration = Duration::from_millis(5);
/// Reading everything takes at most this share of the time: one part in five.
const RESYNC_REST: u32 = 4;
/// Wait after a failure to read.
const RESYNC_RETRY: Duration = Duration::from_secs(1);

type Reading = JoinHandle<(NetlinkSocket, Result<(Contents, u64), KernelError>)>;

pub(super) struct Task {
    events: NetlinkSocket,
    requests: NetlinkSocket,
    /// At home while no reading runs.
    dumps: Option<NetlinkSocket>,
    contents: Contents,
    dirty: Dirty,
    resolver: Resolver,
    /// The first reading is done; before that the consumer gets nothing.
    complete: bool,
    /// When changes that wait are handed over.
    flush_at: Option<Instant>,
    /// The next update is the first after a reading.
    resynced: bool,
    /// When everything is to be read again.
    resync_at: Option<Instant>,
    reading_since: Instant,
    rest_until: Instant,
    /// Events since the reading began; `None` when there were too many.
    replay: Option<Vec<Event>>,
    gather: Duration,
    updates: mpsc::Sender<KernelUpdate>,
    wanted: mpsc::UnboundedReceiver<HashSet<NeighbourKey>>,
    counters: Arc<Counters>,
}

impl Task {
    pub(super) fn new(
        (events, dumps, requests): (NetlinkSocket, NetlinkSocket, NetlinkSocket),
        gather: Duration,
        updates: mpsc::Sender<KernelUpdate>,
        wanted: mpsc::UnboundedReceiver<HashSet<NeighbourKey>>,
        counters: Arc<Counters>,
    ) -> Self {
        let now = Instant::now();
        Self {
            events,
            requests,
            dumps: Some(dumps),
            contents: Contents::default(),
            dirty: Dirty::default(),
            resolver: Resolver::default(),
            complete: false,
            flush_at: None,
            resynced: false,
            resync_at: Some(now),
            reading_since: now,
            rest_until: now,
            replay: None,
            gather,
            updates,
            wanted,
            counters,
        }
    }

    /// Runs until the handle or the consumer goes away.
    pub(super) async fn run(mut self) {
        let mut reading: Option<Reading> = None;
        loop {
            let now = Instant::now();
            if reading.is_none() && self.resync_at.is_some_and(|at| at.max(self.rest_until) <= now) {
                reading = self.start_reading(now);
            }
            let due = self.resolver.due(now);
            self.ask(due);
            let flush_now = self.flush_at.is_some_and(|at| at <= now);
            let wake_at = self.wake_at(reading.is_some(), flush_now);
            let mut batch = Vec::new();

            tokio::select! {
                received = receive(&mut self.events, &self.counters, &mut batch) => match received {
                    Ok(()) => batch.into_iter().for_each(|event| self.take(event)),
                    Err(error) => self.lost(&error),
                },
                permit = self.updates.clone().reserve_owned(), if flush_now => {
                    let Ok(permit) = permit else { return };
                    self.flush_at = None;
                    let resync = std::mem::take(&mut self.resynced);
                    self.counters.prefixes.store(self.contents.rib.len() as u64, Relaxed);
                    permit.send(KernelUpdate { changes: self.dirty.take(&self.contents), resync });
                }
                Some(read) = OptionFuture::from(reading.as_mut()), if reading.is_some() => {
                    reading = None;
                    match read {
                        Ok((socket, result)) => {
                            self.dumps = Some(socket);
                            self.finish_reading(result);
                        }
                        // The runtime shuts down.
                        Err(_) => return,
                    }
                }
                wanted = self.wanted.recv() => {
                    let Some(wanted) = wanted else { return };
                    let ask = self.resolver.set_wanted(&wanted, |key| self.contents.neighbour_state(key));
                    self.ask(ask);
                }
                () = sleep_until(wake_at.unwrap_or(now).into()), if wake_at.is_some() => {}
            }
        }
    }

    /// Puts one event in and does what it asks for.
    fn take(&mut self, event: Event) {
        self.counters.events.fetch_add(1, Relaxed);
        if let Some(replay) = &mut self.replay {
            if replay.len() < REPLAY_MAX {
                replay.push(event.clone());
            } else {
                self.replay = None;
            }
        }
        let effect = self.contents.apply(event.clone());
        if effect == Effect::None {
            return;
        }
        let now = Instant::now();
        self.dirty.note(&event);
        if self.complete && self.flush_at.is_none() {
            self.flush_at = Some(now + self.gather);
        }
        if effect == Effect::RoutesUncertain {
            self.resync_by(now + RESYNC_DELAY);
        }
        match event {
            Event::Neighbour(n) => self.neighbour_changed((n.interface, n.ip), now),
            Event::NeighbourGone(interface, ip) => self.neighbour_changed((interface, ip), now),
            Event::Link(link) if effect == Effect::RoutesUncertain => {
                self.dirty.note_routes_through(&self.contents, &[link.index]);
                if link.is_up() {
                    let ask = self.resolver.on_link_up(link.index);
                    self.ask(ask);
                }
            }
            Event::LinkGone(index) => self.dirty.note_routes_through(&self.contents, &[index]),
            _ => {}
        }
    }

    fn neighbour_changed(&mut self, key: NeighbourKey, now: Instant) {
        if self.resolver.on_neighbour(key, self.contents.neighbour_state(key), now) {
            self.ask(vec![key]);
        }
    }

    /// The socket failed: most likely events were lost.
    fn lost(&mut self, error: &io::Error) {
        if error.raw_os_error() == Some(libc::ENOBUFS) {
            tracing::warn!(
                "the kernel dropped netlink events because they came too fast; reading everything again"
            );
            self.counters.overruns.fetch_add(1, Relaxed);
        } else {
            tracing::error!(%error, "netlink event socket failed; reading everything again");
        }
        // What still waits is older than what was lost: put on top of a new reading it would bring back what
        // is gone.
        self.events.drain();
        // What is being read now may miss what was lost.
        self.replay = None;
        self.resync_by(Instant::now());
    }

    fn resync_by(&mut self, at: Instant) {
        self.resync_at = Some(self.resync_at.map_or(at, |already| already.min(at)));
    }

    /// Reads everything on a task of its own, while events go on.
    fn start_reading(&mut self, now: Instant) -> Option<Reading> {
        let mut socket = self.dumps.take()?;
        self.resync_at = None;
        self.reading_since = now;
        self.replay = Some(Vec::new());
        Some(tokio::spawn(async move {
            let result = Contents::read(&mut socket).await;
            (socket, result)
        }))
    }

    /// Brings what was read up to date with the events since, and makes it the picture.
    fn finish_reading(&mut self, result: Result<(Contents, u64), KernelError>) {
        let now = Instant::now();
        let took = now - self.reading_since;
        self.rest_until = now + took * RESYNC_REST;
        let replay = self.replay.take();
        let (mut new, unreadable) = match result {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "cannot read the kernel's tables; trying again");
                return self.resync_by(now + RESYNC_RETRY);
            }
        };
        let Some(replay) = replay else { return self.resync_by(now) };
        for event in replay {
            new.apply(event);
        }

        let (neighbours, links) = self.dirty.note_differences(&self.contents, &new);
        self.contents = new;
        for key in neighbours {
            self.neighbour_changed(key, now);
        }
        let up = |index: &_| self.contents.state.links.get(index).is_some_and(Link::is_up);
        for index in links.into_iter().filter(up).collect::<Vec<_>>() {
            let ask = self.resolver.on_link_up(index);
            self.ask(ask);
        }
        self.complete = true;
        self.resynced = true;
        self.flush_at = Some(now);
        self.counters.unreadable.fetch_add(unreadable, Relaxed);
        self.counters.resyncs.fetch_add(1, Relaxed);
        self.counters.resync_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Asks the kernel to resolve neighbours.
    fn ask(&mut self, keys: Vec<NeighbourKey>) {
        if keys.is_empty() {
            return;
        }
        let refused = self.requests.drain() as u64;
        self.counters.requests_refused.fetch_add(refused, Relaxed);
        for key in keys {
            self.counters.requests.fetch_add(1, Relaxed);
            if self.requests.send(&use_request(key)).is_err() {
                self.counters.requests_refused.fetch_add(1, Relaxed);
            }
        }
    }

    fn wake_at(&self, is_reading: bool, flush_now: bool) -> Option<Instant> {
        let flush = self.flush_at.filter(|_| !flush_now);
        let resync = self.resync_at.filter(|_| !is_reading).map(|at| at.max(self.rest_until));
        [flush, resync, self.resolver.next_due()].into_iter().flatten().min()
    }
}

/// Waits for the next events.
async fn receive(socket: &mut NetlinkSocket, counters: &Counters, batch: &mut Vec<Event>) -> io::Result<()> {
    let take = &mut |received| match received {
        Received::Message(message, flags) => batch.extend(convert::event(&message, flags)),
        Received::NextHopObject(object) => batch.push(Event::NextHopObject(object)),
        Received::Unreadable(kind) => {
            counters.unreadable.fetch_add(1, Relaxed);
            tracing::debug!(kind, "netlink event that cannot be read");
        }
        Received::Reply(_) | Received::Done(_) => {}
    };
    socket.receive(take).await
}

/// "Use this neighbour": the kernel makes the entry if needed and starts to resolve it.
fn use_request((interface, ip): NeighbourKey) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = interface.0;
    message.header.state = Nud::None;
    message.header.flags = NeighbourFlags::Use;
    let destination = match ip {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    serialize(RouteNetlinkMessage::NewNeighbour(message), NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE)
}
