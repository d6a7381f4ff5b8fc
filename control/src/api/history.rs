//! Remembers the last hour: it looks at the same rows that `show` prints, every few seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::filter::TunnelFilter;
use super::gateway::Gateway;
use super::types::{History, Sample, StateChange, Status, TunnelHistory, TunnelRow, TunnelState};

/// How far it reaches back.
const SPAN: Duration = Duration::from_secs(3600);
/// Between two looks.
const STEP: Duration = Duration::from_secs(10);
/// Looks cost this share of a core at most: where there are very many tunnels, they become rarer.
const MAX_SHARE: u32 = 100;
/// States that are remembered of one tunnel. One that flaps more often has lost its older ones.
const MAX_STATES: usize = 64;

/// What was seen, shared between the one who looks and those who ask.
#[derive(Debug, Default)]
pub(super) struct Past(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    samples: VecDeque<(Instant, Sample)>,
    tunnels: BTreeMap<(String, String), VecDeque<Was>>,
}

#[derive(Debug)]
struct Was {
    since: Instant,
    state: TunnelState,
    reason: Option<String>,
}

impl Past {
    /// Looks until it is dropped.
    pub(super) async fn watch(self: Arc<Self>, gateway: Arc<dyn Gateway>) {
        loop {
            let (past, gateway) = (Arc::clone(&self), Arc::clone(&gateway));
            let begun = Instant::now();
            // Never on the control thread: a table of a hundred thousand tunnels takes its time.
            let looked = tokio::task::spawn_blocking(move || {
                let all = TunnelFilter { limit: 0, ..TunnelFilter::default() };
                past.look(Instant::now(), &gateway.status(), gateway.tunnels(&all).rows);
            });
            if let Err(failed) = looked.await {
                tracing::error!(%failed, "the history of the last hour ends here");
                return;
            }
            tokio::time::sleep(STEP.max(begun.elapsed() * MAX_SHARE)).await;
        }
    }

    fn look(&self, now: Instant, status: &Status, rows: Vec<TunnelRow>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).look(now, status, rows);
    }

    /// What is remembered.
    pub(super) fn history(&self) -> History {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).history(Instant::now())
    }
}

impl Seen {
    fn look(&mut self, now: Instant, status: &Status, rows: Vec<TunnelRow>) {
        let oldest = now.checked_sub(SPAN);
        let is_over = |since: Instant| oldest.is_some_and(|oldest| since < oldest);
        self.samples.push_back((
            now,
            Sample {
                age_s: 0,
                rx_packets: status.rx_packets,
                tx_packets: status.tx_packets,
                dropped: status.dropped,
                tunnels: status.tunnels,
            },
        ));
        while self.samples.front().is_some_and(|(at, _)| is_over(*at)) {
            self.samples.pop_front();
        }
        let mut before = std::mem::take(&mut self.tunnels);
        for TunnelRow { tenant, name, state, reason, .. } in rows {
            let key = (tenant, name);
            let mut states = before.remove(&key).unwrap_or_default();
            if states.back().is_none_or(|last| last.state != state || last.reason != reason) {
                states.push_back(Was { since: now, state, reason });
            }
            // The one before the first that is inside still says how it was then.
            while states.len() > MAX_STATES || states.get(1).is_some_and(|second| is_over(second.since)) {
                states.pop_front();
            }
            self.tunnels.insert(key, states);
        }
    }

    fn history(&self, now: Instant) -> History {
        let age = |at: Instant| now.saturating_duration_since(at).as_secs();
        let samples = self.samples.iter().map(|(at, sample)| Sample { age_s: age(*at), ..sample.clone() });
        let eventful = self.tunnels.iter().filter(|(_, states)| {
            states.len() > 1 || states.back().is_some_and(|last| last.state != TunnelState::Up)
        });
        let tunnels = eventful.map(|((tenant, tunnel), states)| TunnelHistory {
            tenant: tenant.clone(),
            tunnel: tunnel.clone(),
            states: states
                .iter()
                .map(|was| StateChange {
                    age_s: age(was.since),
                    state: was.state,
                    reason: was.reason.clone(),
                })
                .collect(),
        });
        History { span_s: SPAN.as_secs(), samples: samples.collect(), tunnels: tunnels.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::fake::tunnel;
    use crate::api::types::UpCount;

    fn down(why: &str) -> TunnelRow {
        TunnelRow { reason: Some(why.into()), ..tunnel("acme", "dc1", TunnelState::Down) }
    }

    fn status(dropped: u64) -> Status {
        Status { dropped, tunnels: UpCount { up: 1, total: 1 }, ..Status::default() }
    }

    fn up() -> TunnelRow {
        tunnel("acme", "dc1", TunnelState::Up)
    }

    #[test]
    fn a_change_is_remembered_with_its_reason_and_a_quiet_tunnel_is_not_listed() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let quiet = || tunnel("acme", "dc2", TunnelState::Up);
        for (second, row) in
            [(0, up()), (10, up()), (20, down("no route")), (30, down("no route")), (40, up())]
        {
            seen.look(start + Duration::from_secs(second), &status(second), vec![row, quiet()]);
        }
        let history = seen.history(start + Duration::from_secs(45));
        assert_eq!(
            history.samples.iter().map(|sample| sample.age_s).collect::<Vec<_>>(),
            [45, 35, 25, 15, 5]
        );
        let [only] = &history.tunnels[..] else { panic!("{:?}", history.tunnels) };
        let states: Vec<_> =
            only.states.iter().map(|was| (was.age_s, was.state, was.reason.as_deref())).collect();
        assert_eq!(
            states,
            [
                (45, TunnelState::Up, None),
                (25, TunnelState::Down, Some("no route")),
                (5, TunnelState::Up, None)
            ]
        );
    }

    #[test]
    fn what_is_older_than_an_hour_is_forgotten_but_not_how_it_was_then() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        for step in 0..=720 {
            let row = if (100..200).contains(&step) { down("lost") } else { up() };
            seen.look(start + STEP * step, &status(0), vec![row]);
        }
        let history = seen.history(start + STEP * 720);
        assert_eq!(history.samples.len(), 361);
        assert_eq!(history.samples[0].age_s, SPAN.as_secs());
        assert_eq!(history.tunnels, [], "up since before the hour");
        let mut seen = Seen::default();
        seen.look(start, &status(0), vec![down("lost")]);
        seen.look(start + SPAN * 2, &status(0), vec![down("lost")]);
        assert_eq!(seen.history(start + SPAN * 2).tunnels[0].states[0].age_s, 7200);
    }

    #[test]
    fn a_tunnel_that_flaps_or_goes_costs_bounded_memory() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        for step in 0..300 {
            let row = if step % 2 == 0 { down("flaps") } else { up() };
            seen.look(start + Duration::from_secs(step), &status(0), vec![row]);
        }
        assert_eq!(seen.history(start + Duration::from_secs(300)).tunnels[0].states.len(), MAX_STATES);
        seen.look(start + Duration::from_secs(301), &status(0), vec![]);
        assert_eq!(seen.history(start + Duration::from_secs(302)).tunnels, []);
    }
}
