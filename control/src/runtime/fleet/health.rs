//! Tunnels' health between the nodes: answers to the node that probed, and what each node finds.

use std::time::Instant;

use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::probe::ProbeAnswer;
use penstock_fleet::names::NodeNumber;
use penstock_fleet::peer::HealthNews;

use super::State;
use crate::health::Answer;

/// Number of no tunnel.
const OTHER_TUNNEL: TunnelId = TunnelId(u32::MAX);

impl State {
    /// An answer to a probe of another node: that one waits for it.
    pub(in crate::runtime) fn hand_answer_on(&self, seen: &ProbeAnswer) {
        let Some(fleet) = &self.fleet else { return };
        let Some(member) = fleet.members.numbered(NodeNumber(seen.probe.node)) else { return };
        let via = match seen.via {
            None => None,
            // A tunnel that is not probed is not the one that was.
            Some(tunnel) => match self.health.tag(tunnel) {
                Some(tag) => Some(tag),
                None => return,
            },
        };
        let news = HealthNews::Answer { serial: seen.probe.serial, tunnel: seen.probe.tunnel, via };
        fleet.acknowledgements.peers().say_health(&member.record.name, news);
    }

    /// Takes what the other nodes said, and tells them what this one finds.
    pub(in crate::runtime) fn exchange_health(&mut self, now: Instant) {
        let Some(fleet) = &self.fleet else { return };
        for heard in fleet.acknowledgements.peers().take_health() {
            match heard.news {
                HealthNews::Answer { serial, tunnel, via } => {
                    let tunnel = TunnelId(tunnel);
                    let own = self.health.tag(tunnel);
                    let via = via.map(|via| if Some(via) == own { tunnel } else { OTHER_TUNNEL });
                    self.health.answer(now, &Answer { tunnel, serial, via, at: now });
                }
                HealthNews::States { number, total, sick } => {
                    self.health.fleet.hear(now, heard.node, heard.incarnation, number, total, &sick);
                }
            }
        }
        if let Some(news) = self.health.report(now) {
            fleet.acknowledgements.peers().say_health_to_all(&news);
        }
    }
}
