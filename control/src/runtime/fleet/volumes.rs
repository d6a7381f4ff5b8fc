//! Limits in bytes and packets: what nodes tell one another once a second of what went through their SAs.

use std::collections::BTreeMap;

use penstock_dataplane::esp::sa::Spi;
use penstock_fleet::names::Name;
use penstock_fleet::peer::SaUsage;

use super::{State, now};
use crate::fleet::Others;
use crate::fleet::nodes::peers::Reported;
use crate::ike::sad::{Direction, Told};

impl State {
    /// Once a second.
    pub(super) fn exchange_volumes(&mut self) {
        let Some(fleet) = &self.fleet else { return };
        let peers = fleet.acknowledgements.peers().clone();
        let reported = peers.take_reported();
        // Of two with one number the last one, as everywhere.
        let mut records: Vec<_> = fleet.members.live().map(|member| &member.record).collect();
        records.sort_by_key(|record| record.started);
        let numbers: BTreeMap<u16, (Name, u64)> = records
            .iter()
            .map(|record| (record.number.0, (record.name.clone(), record.incarnation.0)))
            .collect();
        let others = Others {
            nodes: numbers.len() as u64 + 1,
            life: fleet.us.incarnation.0,
            owner: |number| numbers.get(&number).map(|(_, life)| *life),
        };
        let (negotiated, mut gear) = self.negotiating();
        negotiated.used_elsewhere(reported.iter().flat_map(told), &mut gear);
        for (owner, told) in negotiated.tell_usage(&others, &mut gear, now()) {
            if let Some((name, _)) = numbers.get(&owner) {
                peers.report(name, told.iter().map(usage).collect());
            }
        }
        self.publish_fleet();
    }
}

fn told(reported: &Reported) -> impl Iterator<Item = Told> + '_ {
    reported.sas.iter().map(|sa| Told {
        life: reported.incarnation.0,
        spi: Spi(sa.spi),
        direction: if sa.outbound { Direction::Outbound } else { Direction::Inbound },
        runs_out: sa.runs_out,
        bytes: sa.bytes,
        packets: sa.packets,
    })
}

fn usage(told: &Told) -> SaUsage {
    SaUsage {
        spi: told.spi.0,
        outbound: told.direction == Direction::Outbound,
        runs_out: told.runs_out,
        bytes: told.bytes,
        packets: told.packets,
    }
}
