//! Tells the owners of SAs when all workers of this node have them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::State;

/// How often the workers are looked at while something is on its way to them.
const STEP: Duration = Duration::from_micros(300);

/// Never ends.
pub(super) async fn tell(state: std::sync::Arc<Mutex<State>>) {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(signals) = lock().fleet.as_ref().map(|fleet| std::sync::Arc::clone(&fleet.signals)) else {
        return;
    };
    loop {
        signals.apply.notified().await;
        while lock().tell_applied() {
            tokio::time::sleep(STEP).await;
        }
    }
}

impl State {
    /// Says what the workers have by now. Whether there is more to come.
    fn tell_applied(&mut self) -> bool {
        let Some(fleet) = &mut self.fleet else { return false };
        self.dataplane.feed.turn();
        let mut owners = BTreeSet::new();
        let before = fleet.applied;
        while let Some(first) = fleet.applying.front() {
            if !self.dataplane.feed.is_applied(first.generation) {
                break;
            }
            fleet.applied = first.revision;
            owners.extend(&first.owners);
            fleet.applying.pop_front();
        }
        if fleet.applied != before {
            let of_number = |number: &u16| fleet.members.numbered(penstock_fleet::names::NodeNumber(*number));
            let names: Vec<_> =
                owners.iter().filter_map(of_number).map(|owner| owner.record.name.clone()).collect();
            fleet.acknowledgements.peers().applied(fleet.applied, &names);
            if before == 0 {
                fleet.signals.record.notify_one();
            }
        }
        !fleet.applying.is_empty()
    }
}
