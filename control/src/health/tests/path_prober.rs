//! Path MTUs of many tunnels: which probes go out, which answers count, and what waits.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::wire::probe::Style;

use crate::config::HealthDirection::{Bidirectional, Unidirectional};
use crate::health::rules::*;
use crate::health::{
    Answer, Ends, Order, PathChange, PathEvent, PathProber, PathWanted, Sent, Settings, Sizes,
};

const TURN: Duration = Duration::from_millis(20);
const TRIP: Duration = Duration::from_millis(30);

fn wanted(number: u32) -> PathWanted {
    let ends = Ends { ours: "10.0.0.0".parse().unwrap(), target: "10.0.0.1".parse().unwrap() };
    let interval = Duration::from_secs(1);
    let settings = Settings { interval, style: Style::Request, direction: Bidirectional, ends };
    PathWanted { tunnel: TunnelId(number), incarnation: 1, settings, raise: Duration::from_secs(600) }
}

fn sizes() -> Sizes {
    Sizes { floor: 552, base: 1176, most: 1476, grain: 1, remote: "192.0.2.77".parse().unwrap() }
}

struct World {
    start: Instant,
    now: Instant,
    prober: PathProber,
    /// What each tunnel's path takes; a tunnel that is not here is down.
    paths: HashMap<TunnelId, u16>,
    /// What `is_up` says: a tunnel is not known to be down at once.
    up: bool,
    sizes: Option<Sizes>,
    room: usize,
    sent: Vec<(Duration, Order)>,
    answers: Vec<(Instant, Answer)>,
    changes: Vec<(Duration, PathChange)>,
}

impl World {
    fn new(tunnels: impl IntoIterator<Item = (u32, u16)>) -> Self {
        let start = Instant::now();
        let mut prober = PathProber::new(u64::MAX - 3);
        let paths: HashMap<_, _> =
            tunnels.into_iter().map(|(number, path)| (TunnelId(number), path)).collect();
        prober.set(start, paths.keys().map(|tunnel| wanted(tunnel.0)));
        Self {
            start,
            now: start,
            prober,
            paths,
            up: true,
            sizes: Some(sizes()),
            room: usize::MAX,
            sent: vec![],
            answers: vec![],
            changes: vec![],
        }
    }

    fn turn(&mut self) {
        self.now += TURN;
        let now = self.now;
        for (at, answer) in std::mem::take(&mut self.answers) {
            if at <= now {
                self.prober.answer(now, &answer);
            } else {
                self.answers.push((at, answer));
            }
        }
        let (since, mut room) = (now - self.start, self.room);
        let (up, sizes, paths) = (self.up, self.sizes, &self.paths);
        let (sent, answers) = (&mut self.sent, &mut self.answers);
        let changes = self.prober.turn(
            now,
            |_| up,
            |_| sizes,
            |order| {
                if room == 0 {
                    return Sent::Full;
                }
                room -= 1;
                sent.push((since, *order));
                let path = paths.get(&order.tunnel).copied();
                if path.is_some_and(|path| order.size.is_none_or(|size| size <= path)) {
                    let (tunnel, serial) = (order.tunnel, order.serial);
                    answers.push((now + TRIP, Answer { tunnel, serial, via: Some(tunnel), at: now + TRIP }));
                }
                Sent::Yes
            },
        );
        self.changes.extend(changes.into_iter().map(|change| (since, change)));
    }

    fn run(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            self.turn();
        }
    }

    fn found(&self, number: u32) -> Option<u16> {
        self.prober.status(TunnelId(number)).unwrap().found
    }
}

#[test]
fn each_tunnel_comes_to_its_own_path() {
    let mut world = World::new((0..40).map(|number| (number, 1150 + number as u16 * 10)));
    world.run(40.0);
    for number in 0..40 {
        let path = 1150 + number as u16 * 10;
        assert_eq!(world.found(number), Some(path.min(1476)), "{number}");
        let ends = world
            .changes
            .iter()
            .filter(|(_, change)| change.tunnel == TunnelId(number) && change.event == PathEvent::Found);
        let ends: Vec<_> = ends.collect();
        assert_eq!(ends.len(), 1);
        assert_eq!(ends[0].1.is_whole, path >= 1476);
    }
    // Large and small go together, by the same worker's turn, and no number comes twice, also where they wrap.
    let serials: std::collections::HashSet<u64> = world.sent.iter().map(|(_, order)| order.serial).collect();
    assert_eq!(serials.len(), world.sent.len());
    for pair in world.sent.chunks(2) {
        let ((at, large), (also_at, small)) = (pair[0], pair[1]);
        assert_eq!((at, large.tunnel, large.turn), (also_at, small.tunnel, small.turn));
        assert!(large.size.is_some() && small.size.is_none());
    }
    let turns: Vec<u64> = world.sent.iter().map(|(_, order)| order.turn).collect();
    assert!(turns.chunks(2).zip(turns.chunks(2).skip(1)).all(|(one, next)| next[0] == one[0] + 1));
}

/// The tunnel dies under a search, and is not known to be down for a while: nothing is learned from it.
#[test]
fn an_outage_lowers_nothing() {
    let mut world = World::new([(7, 1376)]);
    world.run(40.0);
    assert_eq!(world.found(7), Some(1376));
    let changes = world.changes.len();
    for known_after in [0.02, 3.0, 60.0] {
        world.paths.clear();
        world.run(known_after);
        world.up = false;
        let sent = world.sent.len();
        world.run(90.0);
        assert!(world.sent.len() - sent <= 2, "a tunnel that is down is not probed");
        world.up = true;
        world.paths.insert(TunnelId(7), 1376);
        world.run(90.0);
        assert_eq!((world.found(7), world.changes.len()), (Some(1376), changes), "{known_after}");
    }
    assert_eq!(world.prober.status(TunnelId(7)).unwrap().black_holes, 0);
}

#[test]
fn a_black_hole_is_counted_and_told() {
    let mut world = World::new([(7, 1500)]);
    world.run(30.0);
    world.paths.insert(TunnelId(7), 1276);
    world.run(40.0);
    assert_eq!(world.found(7), Some(1276));
    let status = world.prober.status(TunnelId(7)).unwrap();
    assert!(status.black_holes == 1 && status.lost >= 3 && status.sent > status.lost, "{status:?}");
    let events: Vec<PathEvent> = world
        .changes
        .iter()
        .map(|(_, change)| change.event)
        .filter(|event| *event != PathEvent::Nothing)
        .collect();
    assert_eq!(events, [PathEvent::Found, PathEvent::BlackHole, PathEvent::Found]);
    // A look for more that finds none is no news.
    let changes = world.changes.len();
    world.run(700.0);
    assert_eq!(world.changes.len(), changes);
}

#[test]
fn answers_by_another_way_or_too_late_are_none() {
    for (direction, via, late) in [
        (Bidirectional, None, false),
        (Bidirectional, Some(TunnelId(8)), false),
        (Unidirectional, Some(TunnelId(7)), false),
        (Bidirectional, Some(TunnelId(7)), true),
    ] {
        let mut world = World::new([]);
        let settings = Settings { direction, ..wanted(7).settings };
        world.prober.set(world.now, [PathWanted { settings, ..wanted(7) }]);
        for _ in 0..200 {
            world.turn();
            for (_, order) in std::mem::take(&mut world.sent) {
                let at = world.now + if late { TIMEOUT + TURN } else { TRIP };
                let answer = Answer { tunnel: order.tunnel, serial: order.serial, via, at };
                assert!(world.prober.answer(world.now, &answer));
            }
        }
        assert_eq!((world.found(7), world.prober.status(TunnelId(7)).unwrap().lost), (None, 0));
    }
    // One that is not to a probe of ours is somebody else's.
    let mut world = World::new([(7, 1500)]);
    world.turn();
    let serial = world.sent[0].1.serial;
    for (tunnel, serial) in [(7, serial.wrapping_add(2)), (8, serial)] {
        let tunnel = TunnelId(tunnel);
        assert!(
            !world.prober.answer(world.now, &Answer { tunnel, serial, via: Some(tunnel), at: world.now })
        );
    }
}

#[test]
fn what_cannot_be_sent_is_not_lost_and_health_probes_have_room() {
    let mut world = World::new((0..1000).map(|number| (number, 1376)));
    world.room = 0;
    world.run(5.0);
    assert_eq!((world.sent.len(), world.changes.len()), (0, 0));
    world.room = usize::MAX;
    world.turn();
    assert_eq!(world.sent.len(), PATH_PAIRS_A_TURN * 2);
    // An odd number: some pairs have no small one.
    world.room = 301;
    world.run(60.0);
    assert!((0..1000).all(|number| world.found(number) == Some(1376)));
}

#[test]
fn what_is_known_stays_over_a_reload_and_is_forgotten_with_the_path() {
    let mut world = World::new([(7, 1376), (8, 1376)]);
    world.run(40.0);
    let sent = world.sent.len();
    world.prober.set(world.now, [wanted(7), wanted(8)]);
    world.run(5.0);
    assert!(world.sent.len() - sent <= 4, "nothing begins anew");
    assert_eq!((world.found(7), world.found(8)), (Some(1376), Some(1376)));
    // Another tunnel under the number of one; the other is not probed any more.
    world.prober.set(world.now, [PathWanted { incarnation: 2, ..wanted(7) }]);
    assert!(world.prober.is_probed(TunnelId(7)) && !world.prober.is_probed(TunnelId(8)));
    assert_eq!((world.found(7), world.prober.status(TunnelId(8))), (None, None));
    world.run(40.0);
    assert_eq!(world.found(7), Some(1376));
    // The remote moves, and another path takes all.
    world.paths.insert(TunnelId(7), 1500);
    world.sizes = Some(Sizes { remote: "192.0.2.99".parse().unwrap(), ..sizes() });
    world.run(11.0);
    assert_eq!(world.found(7), Some(1476));
    // No way at all: it waits.
    world.sizes = None;
    world.run(15.0);
    let sent = world.sent.len();
    world.run(15.0);
    assert_eq!(world.sent.len(), sent);
}

#[test]
fn what_a_router_says_is_tried_at_once() {
    let mut world = World::new([(7, 1376)]);
    world.turn();
    world.prober.hint(world.now, TunnelId(7), 1376);
    world.run(1.0);
    assert_eq!(world.found(7), Some(1376));
    assert!(!world.prober.status(TunnelId(7)).unwrap().is_searching);
    // A hint while nothing is under way, and one that leaves nothing to try.
    world.run(3.0);
    world.paths.insert(TunnelId(7), 1300);
    world.prober.hint(world.now, TunnelId(7), 1300);
    world.run(0.1);
    assert_eq!(world.found(7), Some(1300));
    world.prober.hint(world.now, TunnelId(7), 68);
    world.turn();
    assert_eq!(world.found(7), Some(552));
    assert_eq!(world.changes.last().unwrap().1.found, Some(552));
    // Of one that is not probed.
    world.prober.hint(world.now, TunnelId(9), 1300);
}
