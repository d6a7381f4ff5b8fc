//! What all nodes of a fleet together say of a tunnel.
//!
//! Each node that probes tells the others now and then which tunnels it finds sick. Those that it does not name it
//! finds well, unless it has left some out: then it says nothing of them. A node that has not been heard of for
//! [`FLEET_REPORT_AGE`] has no say. Of the nodes that have, this one included, more than half decide: down, if so many
//! find it down; degraded, if so many find it degraded or down.
//!
//! This is for people and alarms. Routes follow what their own node sees: it is its packets that would be lost.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use penstock_fleet::names::Name;
use penstock_fleet::peer::{HealthNews, Incarnation, MAX_STATES, Sick, TunnelTag};

use super::judge::State;
use super::rules::{FLEET_REPORT_AGE, FLEET_REPORT_EVERY, FLEET_REPORT_SOON};

/// A tunnel, as the fleet sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetView {
    /// What most nodes find.
    pub state: State,
    /// Nodes that have a say.
    pub nodes: usize,
    /// Those of them that find it degraded.
    pub degraded: usize,
    /// Those that find it down.
    pub down: usize,
}

struct Report {
    incarnation: Incarnation,
    number: u64,
    at: Instant,
    /// No sick one was left out.
    is_whole: bool,
    sick: HashMap<TunnelTag, Sick>,
}

/// What the other nodes have said, and when it is our turn.
#[derive(Default)]
pub struct FleetHealth {
    reports: BTreeMap<Name, Report>,
    told: u64,
    told_at: Option<Instant>,
    /// Something has changed since.
    is_news: bool,
}

impl FleetHealth {
    /// A node that lives, in its life of this incarnation, has said what it finds sick: `sick`, of `total`.
    pub fn hear(
        &mut self,
        now: Instant,
        node: Name,
        incarnation: Incarnation,
        number: u64,
        total: u32,
        sick: &[(TunnelTag, Sick)],
    ) {
        let is_old = |known: &Report| known.incarnation == incarnation && known.number >= number;
        if self.reports.get(&node).is_some_and(is_old) {
            return;
        }
        let is_whole = sick.len() == total as usize;
        let sick = sick.iter().copied().collect();
        self.reports.insert(node, Report { incarnation, number, at: now, is_whole, sick });
    }

    /// What all together say of a tunnel that this node finds in the state `own`.
    pub fn view(&self, now: Instant, tunnel: TunnelTag, own: State) -> FleetView {
        let is_young = |report: &&Report| now.saturating_duration_since(report.at) < FLEET_REPORT_AGE;
        let vote = |report: &Report| match report.sick.get(&tunnel) {
            None => report.is_whole.then_some(State::Healthy),
            Some(Sick::Degraded) => Some(State::Degraded),
            Some(Sick::Down) => Some(State::Down),
        };
        let others = self.reports.values().filter(is_young).filter_map(vote);
        let (mut nodes, mut degraded, mut down) = (0, 0, 0);
        // What we do not know yet is no vote.
        for vote in others.chain(Some(own).filter(|own| *own != State::Unknown)) {
            nodes += 1;
            degraded += usize::from(vote == State::Degraded);
            down += usize::from(vote == State::Down);
        }
        let state = match nodes {
            0 => State::Unknown,
            nodes if down * 2 > nodes => State::Down,
            nodes if (down + degraded) * 2 > nodes => State::Degraded,
            _ => State::Healthy,
        };
        FleetView { state, nodes, degraded, down }
    }

    /// A tunnel's state has changed here.
    pub fn note_change(&mut self) {
        self.is_news = true;
    }

    /// What to tell the others now, if it is time; `states` are those of all tunnels that this node probes.
    pub fn report(
        &mut self,
        now: Instant,
        states: impl Iterator<Item = (TunnelTag, State)>,
    ) -> Option<HealthNews> {
        let wait = if self.is_news { FLEET_REPORT_SOON } else { FLEET_REPORT_EVERY };
        if self.told_at.is_some_and(|at| now.saturating_duration_since(at) < wait) {
            return None;
        }
        (self.told_at, self.is_news) = (Some(now), false);
        self.told += 1;
        let mut sick: Vec<(TunnelTag, Sick)> = states
            .filter_map(|(tunnel, state)| match state {
                State::Degraded => Some((tunnel, Sick::Degraded)),
                State::Down => Some((tunnel, Sick::Down)),
                State::Unknown | State::Healthy => None,
            })
            .collect();
        sick.sort_unstable_by_key(|(tunnel, how)| (std::cmp::Reverse(*how), *tunnel));
        let total = u32::try_from(sick.len()).unwrap_or(u32::MAX);
        sick.truncate(MAX_STATES);
        Some(HealthNews::States { number: self.told, total, sick })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    const TUNNEL: TunnelTag = TunnelTag(7);
    const LIFE: Incarnation = Incarnation(1);

    #[test]
    fn more_than_half_decide() {
        let now = Instant::now();
        for (others, own, expected) in [
            (&[][..], State::Unknown, State::Unknown),
            (&[], State::Down, State::Down),
            (&[None], State::Down, State::Healthy),
            (&[Some(Sick::Down)], State::Healthy, State::Healthy),
            (&[Some(Sick::Down)], State::Unknown, State::Down),
            (&[Some(Sick::Down)], State::Degraded, State::Degraded),
            (&[Some(Sick::Down), None], State::Down, State::Down),
            (&[Some(Sick::Down), Some(Sick::Degraded)], State::Healthy, State::Degraded),
            (&[Some(Sick::Down), Some(Sick::Down), None, None], State::Healthy, State::Healthy),
        ] {
            let mut fleet = FleetHealth::default();
            for (number, sick) in others.iter().enumerate() {
                let sick: Vec<_> = sick.iter().map(|how| (TUNNEL, *how)).collect();
                fleet.hear(now, name(&format!("n{number}")), LIFE, 1, sick.len() as u32, &sick);
            }
            let view = fleet.view(now, TUNNEL, own);
            assert_eq!(view.state, expected, "{others:?} {own}");
            assert_eq!(view.nodes, others.len() + usize::from(own != State::Unknown));
            // Another tunnel is not meant.
            assert_ne!(fleet.view(now, TunnelTag(8), State::Healthy).state, State::Down);
        }
    }

    #[test]
    fn what_is_old_or_sent_again_does_not_count() {
        let (mut fleet, now) = (FleetHealth::default(), Instant::now());
        let down = [(TUNNEL, Sick::Down)];
        let of = |fleet: &FleetHealth, now| fleet.view(now, TUNNEL, State::Unknown).state;
        fleet.hear(now, name("a"), LIFE, 5, 1, &down);
        fleet.hear(now, name("a"), LIFE, 6, 0, &[]);
        fleet.hear(now, name("a"), LIFE, 5, 1, &down);
        assert_eq!(of(&fleet, now), State::Healthy);
        // Another life counts anew.
        fleet.hear(now, name("a"), Incarnation(2), 1, 1, &down);
        assert_eq!(of(&fleet, now), State::Down);
        assert_eq!(of(&fleet, now + FLEET_REPORT_AGE - Duration::from_millis(1)), State::Down);
        assert_eq!(of(&fleet, now + FLEET_REPORT_AGE), State::Unknown);
    }

    #[test]
    fn who_left_some_out_says_nothing_of_those_it_does_not_name() {
        let (mut fleet, now) = (FleetHealth::default(), Instant::now());
        fleet.hear(now, name("a"), LIFE, 1, 2, &[(TUNNEL, Sick::Down)]);
        assert_eq!(fleet.view(now, TUNNEL, State::Unknown).state, State::Down);
        let other = fleet.view(now, TunnelTag(8), State::Unknown);
        assert_eq!((other.state, other.nodes), (State::Unknown, 0));
    }

    #[test]
    fn reports_are_periodic_and_come_soon_after_a_change() {
        let (mut fleet, now) = (FleetHealth::default(), Instant::now());
        let states = |fleet: &mut FleetHealth, ms: u64, count: u64| {
            let state = |number| if number % 2 == 0 { State::Degraded } else { State::Down };
            let tunnels = (0..count).map(|number| (TunnelTag(number), state(number)));
            fleet.report(now + Duration::from_millis(ms), tunnels)
        };
        assert_eq!(states(&mut fleet, 0, 0), Some(HealthNews::States { number: 1, total: 0, sick: vec![] }));
        assert_eq!(states(&mut fleet, 1999, 0), None);
        assert!(states(&mut fleet, 2000, 0).is_some());
        fleet.note_change();
        assert_eq!(states(&mut fleet, 2099, 0), None);
        let Some(HealthNews::States { number, total, sick }) = states(&mut fleet, 2100, 150) else {
            panic!()
        };
        assert_eq!((number, total, sick.len()), (3, 150, MAX_STATES));
        // The worst are told.
        assert_eq!(sick.iter().filter(|(_, how)| *how == Sick::Down).count(), 75);
        assert_eq!(sick[0], (TunnelTag(1), Sick::Down));
        assert_eq!(states(&mut fleet, 2200, 0), None);
    }
}
