//! What charon still has to hear of.
//!
//! An event stays here until charon has removed the SA that it is about, or moved it, and all that stay are sent again
//! whenever charon's connection comes back. So none is lost with a connection, at whatever byte it is cut, and it does
//! no harm that charon hears of some twice: a rekey that is under way is not begun again.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penstock_dataplane::esp::sa::Spi;
use tokio::sync::watch;

use crate::ike::protocol::{Event, Instance, SaId, UpdateSa};

/// Most events that stay. An SA has two at most, so this is for a charon that forgets to remove SAs.
const MOST: usize = 100_000;

/// Events for charon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pending: Mutex<Pending>,
    /// The number of the newest; changes when there is one.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Pending {
    newest: u64,
    /// By their numbers, in the order in which they are sent.
    events: BTreeMap<u64, (Instance, Event)>,
    numbers: HashMap<Topic, u64>,
}

/// An SA has one event at a time about each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Topic {
    charon: Instance,
    spi: Spi,
    /// Without its port, which charon need not know: so it finds SAs too.
    dst: IpAddr,
    is_expiry: bool,
}

impl Topic {
    fn of(charon: Instance, event: &Event) -> Self {
        Self::about(charon, event.id(), matches!(event, Event::Expire { .. }))
    }

    const fn about(charon: Instance, id: &SaId, is_expiry: bool) -> Self {
        Self { charon, spi: id.spi, dst: id.dst.ip(), is_expiry }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Shared { pending: Mutex::default(), newest: watch::Sender::new(0) }))
    }
}

impl Events {
    /// Tells a run of charon, now or as soon as it is there. An expiry replaces an earlier one of the SA, but a soft
    /// one no hard one; the same holds for where its peer is. A repeated event is sent again.
    pub fn send(&self, charon: Instance, event: Event) {
        let newest = self.lock().add(charon, event);
        self.0.newest.send_replace(newest);
    }

    /// The SA is not that run of charon's business any more.
    pub fn forget(&self, charon: Instance, id: &SaId) {
        let mut pending = self.lock();
        for is_expiry in [true, false] {
            pending.remove(&Topic::about(charon, id, is_expiry));
        }
    }

    /// None of a run of charon's SAs is its business any more.
    pub(super) fn forget_all(&self, charon: Instance) {
        self.lock().retain(|of| of != charon);
    }

    /// Another run of charon than this one is not there any more.
    pub(super) fn keep_only(&self, charon: Instance) {
        self.lock().retain(|of| of == charon);
    }

    /// charon has moved an SA: it knows where the peer is, and what else there is goes by the SA's new name.
    pub(super) fn moved(&self, charon: Instance, change: &UpdateSa) {
        let mut pending = self.lock();
        pending.remove(&Topic::about(charon, &change.id, false));
        let expiry = pending.remove(&Topic::about(charon, &change.id, true));
        if let Some(Event::Expire { id, hard }) = expiry {
            let id = SaId { src: change.src, dst: change.dst, ..id };
            let newest = pending.add(charon, Event::Expire { id, hard });
            drop(pending);
            self.0.newest.send_replace(newest);
        }
    }

    /// The first event of a run of charon after that with this number, with its own; waits for one.
    pub(super) async fn after(&self, number: u64, charon: Instance) -> (u64, Event) {
        // From here on none is missed.
        let mut newest = self.0.newest.subscribe();
        loop {
            if let Some(found) = self.lock().after(number, charon) {
                return found;
            }
            // Cannot fail: we have the sender.
            let _ = newest.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// The number of the newest event.
    fn add(&mut self, charon: Instance, event: Event) -> u64 {
        let topic = Topic::of(charon, &event);
        let known = self.numbers.get(&topic).and_then(|number| self.events.get(number));
        let is_over = matches!(known, Some((_, Event::Expire { hard: true, .. })));
        if is_over && matches!(event, Event::Expire { hard: false, .. }) {
            return self.newest;
        }
        self.remove(&topic);
        self.newest += 1;
        self.events.insert(self.newest, (charon, event));
        self.numbers.insert(topic, self.newest);
        if self.events.len() > MOST
            && let Some((_, (charon, oldest))) = self.events.pop_first()
        {
            self.numbers.remove(&Topic::of(charon, &oldest));
            tracing::warn!(id = %oldest.id(), "charon did not hear of an SA's limit or move: too many wait for it");
        }
        self.newest
    }

    fn remove(&mut self, topic: &Topic) -> Option<Event> {
        let number = self.numbers.remove(topic)?;
        self.events.remove(&number).map(|(_, event)| event)
    }

    fn retain(&mut self, keep: impl Fn(Instance) -> bool) {
        self.events.retain(|_, (charon, _)| keep(*charon));
        self.numbers.retain(|topic, _| keep(topic.charon));
    }

    fn after(&self, number: u64, charon: Instance) -> Option<(u64, Event)> {
        let mut later = self.events.range(number.saturating_add(1)..);
        later.find_map(|(number, (of, event))| (*of == charon).then_some((*number, *event)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::ike::protocol::tests::id;

    const A: Instance = Instance(1);
    const B: Instance = Instance(2);

    fn expire(spi: u32, hard: bool) -> Event {
        Event::Expire { id: SaId { spi: Spi(spi), ..id() }, hard }
    }

    fn all(events: &Events, charon: Instance) -> Vec<Event> {
        let pending = events.lock();
        let mut at = 0;
        std::iter::from_fn(|| {
            let (number, event) = pending.after(at, charon)?;
            at = number;
            Some(event)
        })
        .collect()
    }

    #[test]
    fn the_latest_word_on_an_sa_stays() {
        let events = Events::default();
        for event in [expire(256, false), expire(257, false), expire(256, true), expire(256, false)] {
            events.send(A, event);
        }
        assert_eq!(
            all(&events, A),
            [expire(257, false), expire(256, true)],
            "a hard expiry is not taken back"
        );
        events.send(A, expire(257, false));
        assert_eq!(all(&events, A), [expire(256, true), expire(257, false)], "said again, sent again");
        assert_eq!(all(&events, B), []);
    }

    #[test]
    fn charon_ends_what_it_knows() {
        let events = Events::default();
        let mapping = |port| Event::Mapping { id: id(), remote: mapping_end(port) };
        for event in [expire(id().spi.0, false), mapping(1), mapping(2), expire(300, false)] {
            events.send(A, event);
        }
        assert_eq!(all(&events, A), [expire(id().spi.0, false), mapping(2), expire(300, false)]);
        let (src, dst) = (mapping_end(2), id().dst);
        let change = UpdateSa { id: id(), src, dst, encap: true, new_encap: true, new_reqid: 0 };
        events.moved(A, &change);
        let moved = Event::Expire { id: SaId { src, dst, ..id() }, hard: false };
        assert_eq!(all(&events, A), [expire(300, false), moved]);
        events.forget(A, moved.id());
        assert_eq!(all(&events, A), [expire(300, false)]);
    }

    fn mapping_end(port: u16) -> SocketAddr {
        SocketAddr::new(id().src.ip(), port)
    }

    #[test]
    fn another_run_of_charon_hears_of_its_own_only() {
        let events = Events::default();
        events.send(A, expire(256, false));
        events.send(B, expire(256, true));
        assert_eq!(all(&events, A), [expire(256, false)], "one number, two associations");
        events.keep_only(B);
        assert_eq!((all(&events, A), all(&events, B)), (vec![], vec![expire(256, true)]));
        events.forget_all(B);
        assert_eq!(all(&events, B), []);
        assert!(events.lock().numbers.is_empty());
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let events = Events::default();
        for spi in 0..=MOST as u32 {
            events.send(A, expire(256 + spi, false));
        }
        let pending = events.lock();
        assert_eq!((pending.events.len(), pending.numbers.len()), (MOST, MOST));
        assert_eq!(pending.after(0, A), Some((2, expire(257, false))));
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let events = Events::default();
        let waiting = tokio::spawn({
            let events = events.clone();
            async move { events.after(0, A).await }
        });
        tokio::task::yield_now().await;
        events.send(B, expire(256, false));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        events.send(A, expire(257, false));
        assert_eq!(waiting.await.unwrap(), (2, expire(257, false)));
    }
}
