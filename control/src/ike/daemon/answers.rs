//! What the task says of charon and of the tunnels, when it is asked and without.

use std::time::Instant;

use super::lock;
use super::task::Daemon;
use crate::api::{self, CharonState, IkeFilter};
use crate::ike::charon::Charon;
use crate::ike::show::{self, Listed};
use crate::ike::vici::{Message, Section};

impl Daemon {
    pub(super) fn refusals(&self) -> Vec<String> {
        self.refused.iter().map(|(what, why)| refusal(what, why)).collect()
    }

    /// What charon lists, by tunnel.
    pub(super) async fn list(&mut self, message: &Message) -> Listed {
        let mut listed = Listed::new();
        let Some(session) = &mut self.session else { return listed };
        let take = |section: Section| {
            for (name, sa) in section.sections() {
                listed.entry(name.to_owned()).or_default().push(sa.clone());
            }
        };
        if let Err(error) = session.client.stream("list-sas", "list-sa", message, take).await {
            self.lost(&error.to_string());
            return Listed::new();
        }
        self.up = listed
            .iter()
            .filter(|(name, _)| self.wanted.connections.contains_key(*name))
            .filter(|(_, sas)| sas.iter().any(show::has_children))
            .map(|(name, _)| name.clone())
            .collect();
        self.tell_tunnels();
        listed
    }

    pub(super) async fn show(&mut self, filter: &IkeFilter) -> api::Ike {
        let listed = self.list(&Message::new()).await;
        let (mut ike_sas, mut half_open) = (None, None);
        if let Some(session) = &mut self.session
            && let Ok(stats) = session.client.request("stats", &Message::new()).await
        {
            let count = |name| stats.section("ikesas").and_then(|sas| sas.number(name));
            (ike_sas, half_open) = (count("total"), count("half-open"));
        }
        let now = Instant::now();
        let matching = self
            .wanted
            .connections
            .iter()
            .filter(|(_, tunnel)| filter.selects(&tunnel.tenant, &tunnel.tunnel));
        let page = api::Page::take(matching, filter.limit, |(name, tunnel)| {
            show::row(name, tunnel, &listed, self.refused.get(name), self.watcher.failure(name), now)
        });
        let uptime = match &self.charon {
            Some(charon) => charon.uptime(),
            None => self.since.map(|since| since.elapsed()),
        };
        let known = lock(&self.shared).charon.clone();
        let charon =
            api::Charon { uptime_s: uptime.map(|uptime| uptime.as_secs()), ike_sas, half_open, ..known };
        api::Ike { charon: Some(charon), total: page.total, rows: page.rows }
    }

    /// Notes how charon is.
    pub(super) fn tell(&mut self, state: CharonState, problem: Option<String>) {
        let refused = self.refusals();
        let mut shared = lock(&self.shared);
        let before = &mut shared.charon;
        *before = api::Charon {
            managed: self.charon.is_some(),
            state,
            problem: problem.filter(|_| state != CharonState::Running),
            pid: self.charon.as_ref().and_then(Charon::pid),
            version: self.session.as_ref().map(|session| session.version.clone()),
            plugin: None,
            uptime_s: None,
            restarts: self.restarts,
            ike_sas: None,
            half_open: None,
            vici_socket: self.vici.display().to_string(),
            plugin_socket: self.plugin_socket.display().to_string(),
            log: self.charon.as_ref().map(|charon| charon.log().display().to_string()),
            refused,
        };
    }

    /// Notes how the tunnels are.
    pub(super) fn tell_tunnels(&mut self) {
        let failing = self.watcher.failing().filter(|tunnel| !self.up.contains(*tunnel));
        let failing: Vec<String> = failing.map(str::to_owned).collect();
        let mut shared = lock(&self.shared);
        shared.negotiated = self.up.len() as u64;
        shared.tunnels = self.wanted.connections.len() as u64;
        shared.failing = failing;
    }
}

pub(super) fn refusal(what: &str, why: &str) -> String {
    // A file's name begins with a slash, a tunnel's does not.
    if what.starts_with('/') { format!("{what}: {why}") } else { format!("tunnel {what}: {why}") }
}
