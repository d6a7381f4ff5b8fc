//! The numbers of health probing. Those of the states are the ones that Cloudflare publishes for Magic Transit and Magic
//! WAN; intervals and the time an answer may take are ours.

use std::time::Duration;

use crate::config::HealthRate;

/// An answer that takes longer is none. Above the round trip over a geostationary satellite, and so short that a lost
/// probe and its retries end within [`DOWN_WITHIN`] of each other.
pub const TIMEOUT: Duration = Duration::from_millis(750);

/// Probes sent at once when one was not answered. They are not tried again themselves.
pub const RETRIES: u32 = 2;

/// What losses are counted over.
pub const LOSS_WINDOW: Duration = Duration::from_secs(300);

/// One in so many probes lost, over [`LOSS_WINDOW`], is too much: 0.1 %.
pub const LOSS_ONE_IN: u64 = 1000;

/// Fewer lost probes than this, over [`LOSS_WINDOW`], degrade nothing.
pub const DEGRADED_FAILURES: u64 = 2;

/// A tunnel is down when at least so many probes ended within [`DOWN_WITHIN`], all of them unanswered.
pub const DOWN_SAMPLES: usize = 3;

/// The time that [`DOWN_SAMPLES`] is about.
pub const DOWN_WITHIN: Duration = Duration::from_secs(1);

/// So many answered probes in a row end "down".
pub const UP_ANSWERS: u32 = 3;

/// "Degraded" ends only after so many probes over [`LOSS_WINDOW`] of which less than one in [`LOSS_ONE_IN`] was lost,
pub const HEALTHY_SAMPLES: u64 = 30;

/// and lasts at least so long.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(300);

/// Added to the priority of a degraded tunnel's routes.
pub const DEGRADED_PENALTY: u32 = 500_000;

/// Added to the priority of the routes of a tunnel that is down.
pub const DOWN_PENALTY: u32 = 1_000_000;

/// A node that probes tells the others of its fleet at least so often which tunnels it finds sick,
pub const FLEET_REPORT_EVERY: Duration = Duration::from_secs(2);

/// and when that changes, no sooner than so long after the last time.
pub const FLEET_REPORT_SOON: Duration = Duration::from_millis(100);

/// What a node said counts for so long: two may be lost.
pub const FLEET_REPORT_AGE: Duration = Duration::from_secs(7);

/// Probes of all tunnels together that one control core sends without falling behind, a second.
pub const MAX_PROBES_PER_SECOND: u64 = 100_000;

/// A size does not pass a tunnel when so many probes of it in a row were lost (MAX_PROBES, RFC 8899 section 5.1.2).
pub const PATH_TRIES: u32 = 3;

/// The size that was found is tried again so often: how long a black hole can last unseen.
pub const PATH_CONFIRM_EVERY: Duration = Duration::from_secs(10);

/// Time until a tunnel that was down is tried again.
pub const PATH_PAUSE: Duration = Duration::from_secs(1);

/// Pairs of probes sent in one turn at most: they leave room for those of the tunnels' health.
pub const PATH_PAIRS_A_TURN: usize = 256;

/// Time between two probes of a tunnel. At `low` the 30 probes that end "degraded" take just the five minutes that it
/// lasts at least; at `high` 0.1 % of five minutes' probes are three, not one.
pub const fn interval(rate: HealthRate) -> Duration {
    match rate {
        HealthRate::Low => Duration::from_secs(10),
        HealthRate::Mid => Duration::from_secs(1),
        HealthRate::High => Duration::from_millis(100),
    }
}

// All three samples of a lost probe and its retries fit into the time that "down" looks at, with two turns of control to
// spare.
const _: () = assert!(TIMEOUT.as_millis() + 40 < DOWN_WITHIN.as_millis());
const _: () = assert!(1 + RETRIES as usize >= DOWN_SAMPLES);
