//! Schedules: what is sent when, what is lost when, and what one may rely on while control or the workers are held up.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::wire::probe::Style;

use crate::config::HealthDirection::{self, Bidirectional, Unidirectional};
use crate::config::HealthRate;
use crate::health::rules::*;
use crate::health::{Answer, Change, Ends, Order, Prober, Sent, Settings, State, Wanted};

/// Control's turns.
const TURN: Duration = Duration::from_millis(20);

/// A far end that answers after a time, or not.
struct World {
    start: Instant,
    now: Instant,
    prober: Prober,
    /// Orders, and when they were sent.
    sent: Vec<(Duration, Order)>,
    answers: Vec<(Instant, Answer)>,
    changes: Vec<(Duration, Change)>,
}

fn wanted(number: u32, rate: HealthRate, direction: HealthDirection) -> Wanted {
    let ends = Ends { ours: "10.0.0.0".parse().unwrap(), target: "10.0.0.1".parse().unwrap() };
    let settings = Settings { interval: interval(rate), style: Style::Request, direction, ends };
    Wanted { tunnel: TunnelId(number), incarnation: 1, settings }
}

impl World {
    fn new(wanted: impl IntoIterator<Item = Wanted>) -> Self {
        let start = Instant::now();
        let mut prober = Prober::new(u64::MAX - 3);
        prober.set(start, wanted);
        Self { start, now: start, prober, sent: vec![], answers: vec![], changes: vec![] }
    }

    /// Turns for so long; `far_end` says how long each answer takes, if there is one.
    fn run(&mut self, seconds: f64, mut far_end: impl FnMut(&Order) -> Option<Duration>) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            self.now += TURN;
            self.turn(&mut far_end, usize::MAX);
        }
    }

    fn turn(&mut self, far_end: &mut impl FnMut(&Order) -> Option<Duration>, mut room: usize) {
        let now = self.now;
        for (at, answer) in std::mem::take(&mut self.answers) {
            if at <= now {
                self.prober.answer(now, &answer);
            } else {
                self.answers.push((at, answer));
            }
        }
        let (sent, answers, since) = (&mut self.sent, &mut self.answers, now - self.start);
        let changes = self.prober.turn(now, |order| {
            if room == 0 {
                return Sent::Full;
            }
            room -= 1;
            sent.push((since, *order));
            if let Some(takes) = far_end(order) {
                let via = (order.settings.direction == Bidirectional).then_some(order.tunnel);
                let answer = Answer { tunnel: order.tunnel, serial: order.serial, via, at: now + takes };
                answers.push((now + takes, answer));
            }
            Sent::Yes
        });
        self.changes.extend(changes.into_iter().map(|change| (since, change)));
    }

    fn state(&self, number: u32) -> State {
        self.prober.state(TunnelId(number)).unwrap()
    }
}

const SOON: Duration = Duration::from_millis(30);

#[test]
fn rates_are_what_they_are_called() {
    for (rate, in_a_minute) in [(HealthRate::Low, 6), (HealthRate::Mid, 60), (HealthRate::High, 600)] {
        let mut world = World::new([wanted(7, rate, Bidirectional)]);
        world.run(60.0, |_| Some(SOON));
        let sent = world.sent.len();
        assert!((in_a_minute - 1..=in_a_minute + 1).contains(&sent), "{rate:?}: {sent}");
        assert_eq!(world.state(7), State::Healthy);
        let status = world.prober.status(world.now, TunnelId(7)).unwrap();
        assert_eq!((status.lost, status.astray, status.round_trip), (0, 0, Some(SOON)));
        // Never the same number, also where it wraps.
        let serials: std::collections::HashSet<u64> =
            world.sent.iter().map(|(_, order)| order.serial).collect();
        assert_eq!(serials.len(), sent);
    }
}

#[test]
fn a_lost_probe_is_tried_twice_at_once_and_three_lost_are_down() {
    let mut world = World::new([wanted(7, HealthRate::Low, Bidirectional)]);
    world.run(25.0, |_| Some(SOON));
    let before = world.sent.len();
    // From here on nothing is answered.
    while world.sent.len() == before {
        world.run(0.02, |_| None);
    }
    let first = world.sent.last().unwrap().0;
    world.run(5.0, |_| None);
    let later: Vec<Duration> = world.sent[before + 1..].iter().map(|(at, _)| *at - first).collect();
    assert_eq!(later.len(), 2, "retries are not tried again");
    assert!(later.iter().all(|after| (TIMEOUT..=TIMEOUT + TURN).contains(after)), "{later:?}");
    let (at, change) = *world.changes.last().unwrap();
    assert_eq!((change.from, change.to), (State::Healthy, State::Down));
    let took = at - first;
    assert!((TIMEOUT * 2..=TIMEOUT * 2 + TURN * 2).contains(&took), "{took:?}");
    assert_eq!(world.prober.under_way(), 0);
}

#[test]
fn one_lost_probe_whose_retries_are_answered_changes_nothing() {
    for rate in [HealthRate::Low, HealthRate::Mid, HealthRate::High] {
        let mut world = World::new([wanted(7, rate, Bidirectional)]);
        world.run(20.0, |_| Some(SOON));
        let mut lose = true;
        world.run(20.0, |_| (!std::mem::take(&mut lose)).then_some(SOON));
        assert_eq!(world.state(7), State::Healthy, "{rate:?}");
        assert_eq!(world.prober.status(world.now, TunnelId(7)).unwrap().lost, 1);
        // A second one does.
        let mut lose = true;
        world.run(12.0, |_| (!std::mem::take(&mut lose)).then_some(SOON));
        assert_eq!(world.state(7), State::Degraded, "{rate:?}");
    }
}

/// From the first probe that is not answered to "down", and from the first that is to "degraded" and "healthy".
#[test]
fn an_outage_is_seen_and_its_end_too() {
    // At "high" probes of before the end are still lost after it, and three answers in a row come later.
    for (rate, down_within, up_within) in
        [(HealthRate::Low, 11.7, 30.2), (HealthRate::Mid, 2.7, 3.2), (HealthRate::High, 1.3, 1.2)]
    {
        let mut world = World::new([wanted(3, rate, Unidirectional)]);
        world.run(45.0, |_| Some(SOON));
        let cut = world.now - world.start;
        world.run(60.0, |_| None);
        let mended = world.now - world.start;
        world.run(700.0, |_| Some(SOON));
        let seen: HashMap<State, f64> =
            world.changes.iter().map(|(at, change)| (change.to, at.as_secs_f64())).collect();
        let (cut, mended) = (cut.as_secs_f64(), mended.as_secs_f64());
        assert!((cut..cut + down_within).contains(&seen[&State::Down]), "{rate:?} {cut} {seen:?}");
        assert!((mended..mended + up_within).contains(&seen[&State::Degraded]), "{rate:?} {mended} {seen:?}");
        let clean = seen[&State::Healthy] - seen[&State::Degraded];
        assert!((300.0..312.0).contains(&clean), "{rate:?} {clean}");
        let order: Vec<State> = world.changes.iter().map(|(_, change)| change.to).collect();
        // At "high" two are lost before there can be a second without an answer.
        let first =
            if rate == HealthRate::High { &[State::Healthy, State::Degraded][..] } else { &[State::Healthy] };
        let expected = [first, &[State::Down, State::Degraded, State::Healthy]].concat();
        assert_eq!(order, expected, "{rate:?}");
    }
}

#[test]
fn answers_that_are_late_or_come_by_another_way_are_none() {
    let mut world = World::new([wanted(7, HealthRate::Mid, Bidirectional)]);
    world.run(10.0, |_| Some(TIMEOUT * 2));
    assert_eq!(world.state(7), State::Down);
    let status = world.prober.status(world.now, TunnelId(7)).unwrap();
    assert!(status.answered == 0 && status.astray >= 10, "{status:?}");
    // Just too late.
    let mut world = World::new([wanted(7, HealthRate::Mid, Bidirectional)]);
    world.run(10.0, |_| Some(TIMEOUT + TURN));
    assert_eq!(world.state(7), State::Down);
    // At the very last moment.
    let mut world = World::new([wanted(7, HealthRate::Mid, Bidirectional)]);
    world.run(10.0, |_| Some(TIMEOUT - TURN * 2));
    assert_eq!(world.state(7), State::Healthy);

    for (direction, via) in
        [(Bidirectional, None), (Bidirectional, Some(TunnelId(8))), (Unidirectional, Some(TunnelId(7)))]
    {
        let mut world = World::new([wanted(7, HealthRate::Mid, direction)]);
        for _ in 0..500 {
            world.run(0.02, |_| None);
            if let Some((_, order)) = world.sent.last() {
                let answer = Answer { tunnel: order.tunnel, serial: order.serial, via, at: world.now };
                world.prober.answer(world.now, &answer);
            }
        }
        assert_eq!(world.state(7), State::Down);
        assert!(world.prober.status(world.now, TunnelId(7)).unwrap().astray > 0);
    }
}

/// An answer counts once; one to a probe of another tunnel, of another life, or to none at all, does not count.
#[test]
fn answers_are_matched_to_their_probe() {
    let mut world =
        World::new([wanted(7, HealthRate::Mid, Bidirectional), wanted(8, HealthRate::Mid, Bidirectional)]);
    world.run(3.0, |order| (order.tunnel == TunnelId(7)).then_some(SOON));
    let of = |world: &World, number| world.prober.status(world.now, TunnelId(number)).unwrap();
    let answered = of(&world, 7).answered;
    for (_, order) in world.sent.clone() {
        for number in [7, 8] {
            let tunnel = TunnelId(number);
            if tunnel != order.tunnel {
                let answer = Answer { tunnel, serial: order.serial, via: Some(tunnel), at: world.now };
                world.prober.answer(world.now, &answer);
            }
        }
    }
    let late =
        world.sent.iter().filter(|(at, order)| *at < Duration::from_secs(2) && order.tunnel == TunnelId(7));
    for (_, order) in late.cloned().collect::<Vec<_>>() {
        let answer =
            Answer { tunnel: order.tunnel, serial: order.serial, via: Some(order.tunnel), at: world.now };
        world.prober.answer(world.now, &answer);
    }
    assert_eq!((of(&world, 7).answered, of(&world, 8).answered), (answered, 0));
    assert_eq!(of(&world, 8).state, State::Down);
}

#[test]
fn probes_that_cannot_be_sent_are_no_samples_and_none_is_forgotten() {
    let all = (0..100).map(|number| wanted(number, HealthRate::High, Bidirectional));
    let mut world = World::new(all);
    // Nothing can be sent for five seconds.
    for _ in 0..250 {
        world.now += TURN;
        world.turn(&mut |_| Some(SOON), 0);
    }
    assert_eq!((world.sent.len(), world.changes.len()), (0, 0));
    // Seven at a time: less than is due. Every tunnel has its turn.
    for _ in 0..500 {
        world.now += TURN;
        world.turn(&mut |_| Some(SOON), 7);
    }
    let mut shares = HashMap::new();
    world.sent.iter().for_each(|(_, order)| *shares.entry(order.tunnel).or_insert(0) += 1);
    assert_eq!(world.sent.len(), 3500);
    assert!(shares.len() == 100 && shares.values().all(|share| (30..=40).contains(share)), "{shares:?}");
    assert!((0..100).all(|number| world.state(number) == State::Healthy));
}

#[test]
fn control_that_was_held_up_does_not_make_up_for_it() {
    let mut world = World::new([wanted(7, HealthRate::High, Bidirectional)]);
    world.run(10.0, |_| Some(SOON));
    let before = world.sent.len();
    // The answers under way came in time, and are told first.
    world.now += Duration::from_secs(30);
    world.turn(&mut |_| Some(SOON), usize::MAX);
    assert_eq!(world.sent.len() - before, 1);
    world.run(1.0, |_| Some(SOON));
    assert!(world.sent.len() - before <= 12);
    assert_eq!(world.state(7), State::Healthy);
    assert_eq!(world.prober.status(world.now, TunnelId(7)).unwrap().lost, 0);
}

#[test]
fn a_change_of_the_configuration_leaves_others_alone() {
    let both = [wanted(7, HealthRate::Mid, Bidirectional), wanted(8, HealthRate::Mid, Bidirectional)];
    let mut world = World::new(both);
    world.run(10.0, |_| None);
    assert_eq!((world.state(7), world.state(8)), (State::Down, State::Down));
    // The same again: nothing happens.
    world.prober.set(world.now, both);
    assert_eq!((world.state(7), world.state(8)), (State::Down, State::Down));
    // Another rate for one, and another tunnel under its number, begin anew.
    world.prober.set(world.now, [both[0], wanted(8, HealthRate::High, Bidirectional)]);
    assert_eq!((world.state(7), world.state(8)), (State::Down, State::Unknown));
    let sent = world.sent.len();
    world.run(1.0, |_| Some(SOON));
    assert!(world.sent.len() - sent > 10);
    world.prober.set(world.now, [Wanted { incarnation: 2, ..both[0] }]);
    assert_eq!((world.state(7), world.prober.state(TunnelId(8))), (State::Unknown, None));
    // Probes under way of what is gone do no harm.
    world.run(3.0, |_| Some(SOON));
    assert_eq!(world.state(7), State::Healthy);
    world.prober.set(world.now, []);
    assert!(world.prober.is_idle());
    let sent = world.sent.len();
    world.run(3.0, |_| Some(SOON));
    assert_eq!((world.sent.len(), world.prober.under_way()), (sent, 0));
}

/// A hundred thousand tunnels: the first probes come over a second, not at once.
#[test]
fn many_tunnels_are_spread_over_time() {
    let mut world = World::new((0..100_000).map(|number| wanted(number, HealthRate::Low, Bidirectional)));
    let mut most = 0;
    for _ in 0..50 {
        let before = world.sent.len();
        world.run(0.02, |_| Some(SOON));
        most = most.max(world.sent.len() - before);
    }
    assert!((99_000..=100_000).contains(&world.sent.len()), "{}", world.sent.len());
    assert!(most < 3000, "{most} in one turn");
}
