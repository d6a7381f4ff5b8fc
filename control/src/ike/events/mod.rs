//! What charon says, as one line for each negotiation that fails, with what to do, and one for each tunnel that comes,
//! goes or is rekeyed.
//!
//! charon logs some thirty lines for a negotiation, spread over its threads. [`saying`] knows those that matter,
//! [`negotiation`] collects them for each IKE SA, and when charon sends its refusal, the cause found so far becomes a
//! sentence ([`failure`]). A scanner must not fill the log: [`limiter`]. Deliberately no more is read out of a text than
//! a sentence needs: nothing here decides anything.

mod failure;
mod limiter;
mod negotiation;
mod saying;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

pub use failure::Failure;

use super::vici::Section;
use super::wanted::Wanted;
use crate::api::IkeEvents;
use limiter::Limiter;
use negotiation::Negotiations;
use saying::{Peers, Saying};

/// The events to subscribe to.
pub const EVENTS: [&str; 6] = ["log", "ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey"];

/// Threads of charon that are told apart.
const MAX_THREADS: usize = 4096;

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whether something went wrong.
    pub failed: bool,
    /// What.
    pub text: String,
}

impl Line {
    fn good(text: String) -> Self {
        Self { failed: false, text }
    }
}

/// Reads events.
#[derive(Debug, Default)]
pub struct Watcher {
    /// Between which addresses the packet was that each of charon's threads works on.
    threads: HashMap<u64, Peers>,
    negotiations: Negotiations,
    /// The last failure of each tunnel.
    failures: BTreeMap<String, Failure>,
    /// Tunnels that have failed and not come up since.
    failing: BTreeSet<String>,
    limiter: Limiter,
    counts: IkeEvents,
}

impl Watcher {
    /// What has happened, counted.
    pub fn counts(&self) -> IkeEvents {
        self.counts
    }

    /// What the last negotiation of a tunnel that failed failed of.
    pub fn failure(&self, tunnel: &str) -> Option<&Failure> {
        self.failures.get(tunnel)
    }

    /// Tunnels whose last negotiation has failed: they have not come up since.
    pub fn failing(&self) -> impl Iterator<Item = &str> {
        self.failing.iter().map(String::as_str)
    }

    /// Forgets tunnels that are not wanted any more.
    pub fn keep(&mut self, wanted: &Wanted) {
        self.failures.retain(|tunnel, _| wanted.connections.contains_key(tunnel));
        self.failing.retain(|tunnel| wanted.connections.contains_key(tunnel));
    }

    /// charon is another one: its numbers begin again.
    pub fn restarted(&mut self) {
        self.threads.clear();
        self.negotiations = Negotiations::default();
    }

    /// Takes an event.
    pub fn take(&mut self, now: Instant, event: &str, message: &Section, wanted: &Wanted) -> Vec<Line> {
        if event == "child-updown" && message.is("up") {
            message.sections().for_each(|(tunnel, _)| {
                self.failing.remove(tunnel);
            });
        }
        match event {
            "log" => self.log(now, message, wanted),
            // That one ended before it stood has been said with its reason.
            "ike-updown" if !message.is("up") && self.negotiations.is_unfinished(message) => Vec::new(),
            _ => {
                let said = change(event, message, wanted);
                if said.is_some() {
                    self.count(event, message.is("up"));
                }
                said.into_iter().map(Line::good).collect()
            }
        }
    }

    /// Once a minute or so: what was kept out of the log meanwhile.
    pub fn summary(&mut self, now: Instant) -> Option<Line> {
        self.limiter.summary(now).map(|text| Line { failed: true, text })
    }

    fn log(&mut self, now: Instant, message: &Section, wanted: &Wanted) -> Vec<Line> {
        let saying = message.value("msg").and_then(Saying::read);
        let thread = message.number("thread").unwrap_or_default();
        if let Some(Saying::Received(peers)) = saying {
            // As many as charon has threads; the number is charon's, so a bound all the same.
            if self.threads.len() > MAX_THREADS {
                self.threads.clear();
            }
            self.threads.insert(thread, peers);
            return Vec::new();
        }
        let failed = match message.number("ikesa-uniqueid") {
            Some(id) => {
                let name = message.value("ikesa-name").filter(|name| wanted.connections.contains_key(*name));
                let peers = self.threads.get(&thread).copied();
                self.negotiations.take(now, id, name, peers, saying, wanted)
            }
            None => saying.and_then(negotiation::without_sa),
        };
        failed.map(|failed| self.fail(now, failed, wanted)).into_iter().flatten().collect()
    }

    fn count(&mut self, event: &str, up: bool) {
        let counts = &mut self.counts;
        match (event, up) {
            ("ike-updown", true) => counts.established += 1,
            ("ike-updown", false) => counts.ended += 1,
            ("ike-rekey", _) => counts.rekeyed += 1,
            ("ike-update", _) => counts.moved += 1,
            ("child-updown", true) => counts.children_established += 1,
            ("child-updown", false) => counts.children_ended += 1,
            ("child-rekey", _) => counts.children_rekeyed += 1,
            _ => {}
        }
    }

    fn fail(&mut self, now: Instant, failed: negotiation::Failed, wanted: &Wanted) -> Option<Line> {
        self.counts.failed += 1;
        let text = failure::sentence(&failed, wanted);
        for tunnel in &failed.tunnels {
            let before = self.failures.get(tunnel).map_or(0, |failure| failure.count);
            let failure = Failure { text: text.clone(), at: now, count: before + 1 };
            self.failures.insert(tunnel.clone(), failure);
            self.failing.insert(tunnel.clone());
        }
        let known = !failed.tunnels.is_empty();
        let before = self.limiter.admit(now, &failed.limited_by(), failed.cause.kind(), known)?;
        let again = if before > 0 { format!(" ({before} more like this before)") } else { String::new() };
        Some(Line { failed: true, text: format!("{}: {text}{again}", failed.subject()) })
    }
}

/// The sentence for a tunnel that came, went, moved or was rekeyed.
fn change(event: &str, message: &Section, wanted: &Wanted) -> Option<String> {
    let (name, sa) = message.sections().find(|(name, _)| wanted.connections.contains_key(*name))?;
    let up = message.is("up");
    let peer = |sa: &Section| {
        format!("{}:{}", sa.value("remote-host").unwrap_or("?"), sa.value("remote-port").unwrap_or("?"))
    };
    let spis = |child: &Section| {
        format!(
            "SPI in {}, out {}",
            child.value("spi-in").unwrap_or("?"),
            child.value("spi-out").unwrap_or("?")
        )
    };
    let child = |sa: &Section| {
        sa.section("child-sas").and_then(|all| all.sections().next().map(|(_, sa)| sa.clone()))
    };
    Some(match event {
        "ike-updown" if up => format!(
            "tunnel {name}: IKE SA with {} ({}) established, {}{}",
            peer(sa),
            sa.value("remote-id").unwrap_or("?"),
            super::show::suite(sa),
            if sa.is("nat-any") { ", through a NAT" } else { "" }
        ),
        "ike-updown" => format!("tunnel {name}: IKE SA with {} ended", peer(sa)),
        "ike-rekey" => format!("tunnel {name}: IKE SA with {} rekeyed", peer(sa.section("new")?)),
        "ike-update" => format!(
            "tunnel {name}: the peer moved from {} to {}:{}",
            peer(sa),
            message.value("remote-host")?,
            message.value("remote-port")?
        ),
        "child-updown" => {
            let child = child(sa)?;
            let selectors =
                || format!("{} === {}", child.list("local-ts").join(" "), child.list("remote-ts").join(" "));
            match up {
                true => format!(
                    "tunnel {name}: up, {}, {}, {}",
                    super::show::child_suite(&child),
                    spis(&child),
                    selectors()
                ),
                false => format!("tunnel {name}: security associations ended, {}", spis(&child)),
            }
        }
        "child-rekey" => format!("tunnel {name}: rekeyed, {}", spis(child(sa)?.section("new")?)),
        _ => return None,
    })
}
