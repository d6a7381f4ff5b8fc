//! A fleet on paper: what a store and its watchers carry when so many nodes share so many SAs, and how long a
//! negotiation waits for all of them.
//!
//! Rates and bytes are arithmetic. The wait is drawn: sites lie at random on a globe, a record is committed, travels to
//! each site (once, to its relay, or once for each node), from there to the nodes, is put onto their workers, and is
//! acknowledged to the owner. Now and then a node pauses. The slowest node counts.

use std::f64::consts::PI;
use std::io::Write;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

/// What is assumed.
#[derive(Clone, Debug, Args, Serialize)]
pub struct FleetOptions {
    /// Nodes
    #[arg(long, default_value_t = 5000)]
    nodes: usize,
    /// Sites, with the same number of nodes each
    #[arg(long, default_value_t = 200)]
    sites: usize,
    /// SAs, both directions counted
    #[arg(long, default_value_t = 1_000_000)]
    sas: u64,
    /// Seconds until an SA is replaced
    #[arg(long, default_value_t = 3600)]
    life: u64,
    /// Bytes of a sealed SA record with its key, as the store sends it
    #[arg(long, default_value_t = 640)]
    record_bytes: u64,
    /// Writes of a whole rekey: two SAs come, one is chosen, one retires, two go
    #[arg(long, default_value_t = 6)]
    writes: u64,
    /// Every node has a watcher of its own; else one for each site, behind a relay
    #[arg(long)]
    flat: bool,
    /// Microseconds of the store for a commit, the middle; one in a hundred takes five times as long
    #[arg(long, default_value_t = 10_000.0)]
    commit_us: f64,
    /// Microseconds of a node from a record's arrival until all its workers have it
    #[arg(long, default_value_t = 2_000.0)]
    apply_us: f64,
    /// Of so many records that a node gets, it pauses at one, for up to half a second
    #[arg(long, default_value_t = 1_000_000.0)]
    pause_every: f64,
    /// Milliseconds that an answer to the router may be held back
    #[arg(long, default_value_t = 1000.0)]
    barrier_ms: f64,
    /// Members of the store, which share the watchers
    #[arg(long, default_value_t = 5)]
    members: u64,
    /// Negotiations that are drawn
    #[arg(long, default_value_t = 2000)]
    draws: usize,
    /// Start of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Outcome {
    rekeys_a_second: f64,
    writes_a_second: f64,
    /// Watchers of one member of the store.
    watchers_of_a_member: f64,
    /// Events that all members together send.
    events_a_second: f64,
    megabytes_a_second_of_a_member: f64,
    /// What reaches a site.
    kilobytes_a_second_to_a_site: f64,
    acknowledgements_a_second_to_a_node: f64,
    acknowledgements_a_second_of_a_node: f64,
    /// All live records.
    store_megabytes: f64,
    /// Read from the store when all nodes start at once.
    cold_start_gigabytes: f64,
    wait_p50_ms: f64,
    wait_p99_ms: f64,
    wait_longest_ms: f64,
    /// Of so many waits one ends without all nodes.
    one_timeout_in: Option<f64>,
}

/// Light in glass, the long way round: kilometres a millisecond.
const KM_A_MS: f64 = 140.0;
const EARTH_RADIUS_KM: f64 = 6371.0;
/// From a relay to a node of its site, microseconds.
const IN_A_SITE_US: f64 = 300.0;
/// 99 of 100 normally distributed values are below so many deviations.
const P99: f64 = 2.326;
const LONGEST_PAUSE_MS: f64 = 500.0;

pub fn run(options: &FleetOptions) -> Result<()> {
    ensure!(options.sites > 0 && options.nodes >= options.sites, "--nodes: at least one for each of --sites");
    ensure!(
        options.life > 0 && options.members > 0 && options.draws > 0,
        "--life, --members and --draws: at least 1"
    );
    let outcome = outcome(options);
    if options.json {
        let both = serde_json::json!({"assumed": options, "follows": outcome});
        writeln!(std::io::stdout().lock(), "{both}")?;
        return Ok(());
    }
    writeln!(std::io::stdout().lock(), "{}", lines(options, &outcome).join("\n"))?;
    Ok(())
}

fn lines(options: &FleetOptions, o: &Outcome) -> Vec<String> {
    let watchers = if options.flat { "a watcher for each node" } else { "a watcher for each site" };
    let timeouts = o.one_timeout_in.map_or("none".to_owned(), |n| format!("one in {n:.0}"));
    vec![
        format!(
            "{} nodes at {} sites, {} SAs for {} s, {watchers}",
            options.nodes, options.sites, options.sas, options.life
        ),
        format!(
            "  store     {:.0} MB, {:.0} rekeys/s, {:.0} writes/s",
            o.store_megabytes, o.rekeys_a_second, o.writes_a_second
        ),
        format!(
            "  watches   {:.0} a member, {:.0} events/s in all, {:.1} MB/s a member, {:.0} kB/s to a site",
            o.watchers_of_a_member,
            o.events_a_second,
            o.megabytes_a_second_of_a_member,
            o.kilobytes_a_second_to_a_site
        ),
        format!(
            "  answers   {:.0}/s sent and {:.0}/s received by a node, not through the store",
            o.acknowledgements_a_second_of_a_node, o.acknowledgements_a_second_to_a_node
        ),
        format!("  cold      {:.1} GB from the store when all nodes start at once", o.cold_start_gigabytes),
        format!(
            "  barrier   p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms; longer than {:.0} ms: {timeouts}",
            o.wait_p50_ms, o.wait_p99_ms, o.wait_longest_ms, options.barrier_ms
        ),
    ]
}

fn outcome(options: &FleetOptions) -> Outcome {
    let (nodes, sites) = (options.nodes as f64, options.sites as f64);
    let watchers = if options.flat { nodes } else { sites };
    let rekeys = options.sas as f64 / 2.0 / options.life as f64;
    let writes = rekeys * options.writes as f64;
    let record = options.record_bytes as f64;
    let events = writes * watchers;
    // The inbound SA and the choice of the outbound one are waited for.
    let answers = rekeys * 2.0;
    let waits = waits(options);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    let late = waits.iter().filter(|wait| **wait > options.barrier_ms).count();
    Outcome {
        rekeys_a_second: rekeys,
        writes_a_second: writes,
        watchers_of_a_member: watchers / options.members as f64,
        events_a_second: events,
        megabytes_a_second_of_a_member: events * record / options.members as f64 / 1e6,
        kilobytes_a_second_to_a_site: writes * record * (watchers / sites) / 1e3,
        acknowledgements_a_second_to_a_node: answers,
        acknowledgements_a_second_of_a_node: answers,
        store_megabytes: options.sas as f64 * record / 1e6,
        cold_start_gigabytes: options.sas as f64 * record * watchers / 1e9,
        wait_p50_ms: at(0.5),
        wait_p99_ms: at(0.99),
        wait_longest_ms: at(1.0),
        one_timeout_in: (late > 0).then(|| waits.len() as f64 / late as f64),
    }
}

/// How long each drawn negotiation waits for the slowest node, milliseconds, sorted.
fn waits(options: &FleetOptions) -> Vec<f64> {
    let mut chance = Chance(options.seed);
    let sites: Vec<Place> = (0..options.sites).map(|_| Place::draw(&mut chance)).collect();
    let nodes_of_a_site = options.nodes / options.sites;
    let mut waits: Vec<f64> = (0..options.draws)
        .map(|_| {
            let owner = &sites[(chance.next() * sites.len() as f64) as usize % sites.len()];
            // The store lies at the first site.
            let committed = owner.ms_to(&sites[0]) * 2.0 + chance.skewed(options.commit_us, 5.0) / 1e3;
            let mut slowest = 0.0f64;
            for site in &sites {
                let way = sites[0].ms_to(site) + site.ms_to(owner);
                for _ in 0..nodes_of_a_site {
                    let hop = if options.flat { 0.0 } else { chance.skewed(IN_A_SITE_US, 5.0) };
                    let applied = (hop + chance.skewed(options.apply_us, 3.0)) / 1e3;
                    let pause = if chance.next() * options.pause_every < 1.0 {
                        chance.next() * LONGEST_PAUSE_MS
                    } else {
                        0.0
                    };
                    slowest = slowest.max(way + applied + pause);
                }
            }
            committed + slowest
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    waits
}

/// A place on the globe.
struct Place {
    latitude: f64,
    longitude: f64,
}

impl Place {
    fn draw(chance: &mut Chance) -> Self {
        // People live between 40 degrees south and 60 north.
        let latitude = (-40.0 + chance.next() * 100.0) * PI / 180.0;
        Self { latitude, longitude: chance.next() * 2.0 * PI }
    }

    /// One way.
    fn ms_to(&self, other: &Self) -> f64 {
        let between = self.latitude.sin() * other.latitude.sin()
            + self.latitude.cos() * other.latitude.cos() * (self.longitude - other.longitude).cos();
        between.clamp(-1.0, 1.0).acos() * EARTH_RADIUS_KM / KM_A_MS
    }
}

/// Random numbers that are the same for the same seed (SplitMix64).
struct Chance(u64);

impl Chance {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Log-normal about `middle`; one in a hundred is `factor` times as long or longer.
    fn skewed(&mut self, middle: f64, factor: f64) -> f64 {
        let normal = (-2.0 * (1.0 - self.next()).ln()).sqrt() * (2.0 * PI * self.next()).cos();
        middle * (factor.ln() / P99 * normal).exp()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        options: FleetOptions,
    }

    fn with(words: &[&str]) -> Outcome {
        let words = ["x", "--draws", "50"].iter().chain(words);
        outcome(&Only::parse_from(words).options)
    }

    #[test]
    fn a_relay_divides_what_the_store_sends_by_the_nodes_of_a_site() {
        let (relayed, flat) = (with(&[]), with(&["--flat"]));
        assert_eq!(flat.events_a_second / relayed.events_a_second, 25.0);
        assert_eq!(flat.cold_start_gigabytes / relayed.cold_start_gigabytes, 25.0);
        assert_eq!(relayed.writes_a_second, flat.writes_a_second);
    }

    #[test]
    fn a_hundred_thousand_records_are_read_as_the_store_has_them() {
        let cold = with(&["--sas", "100000", "--record-bytes", "450", "--flat"]);
        assert_eq!(cold.cold_start_gigabytes, 225.0);
    }

    #[test]
    fn the_slowest_of_more_nodes_is_slower() {
        let few = with(&["--nodes", "20", "--sites", "20", "--apply-us", "50000"]);
        let many = with(&["--nodes", "2000", "--sites", "20", "--apply-us", "50000"]);
        assert!(few.wait_p50_ms > 60.0 && many.wait_p50_ms > few.wait_p50_ms + 30.0);
    }

    #[test]
    fn pauses_beyond_the_barrier_are_counted() {
        let paused =
            with(&["--pause-every", "10", "--barrier-ms", "300", "--nodes", "1000", "--sites", "20"]);
        assert_eq!(paused.one_timeout_in, Some(1.0));
    }

    #[test]
    fn one_in_a_hundred_is_as_skewed_as_it_says() {
        let mut chance = Chance(7);
        let drawn: Vec<f64> = (0..100_000).map(|_| chance.skewed(10.0, 5.0)).collect();
        let share = |over: f64| drawn.iter().filter(|value| **value > over).count() as f64 / 1e5;
        assert!((share(10.0) - 0.5).abs() < 0.01 && (share(50.0) - 0.01).abs() < 0.002);
    }
}
