//! The other nodes in the workers' tables: where packets go that belong to one of them.

use penstock_dataplane::tables::fleet::{Token, Tokens};
use penstock_fleet::seal::TokenKind;

use super::State;
use crate::api::FleetRescue;
use crate::compile::FleetSpec;

impl State {
    /// Nodes came or went, or keys changed.
    pub(super) fn set_rescue(&mut self) {
        let Some(fleet) = &self.fleet else { return };
        let mut tokens = fleet.keyring.tokens(TokenKind::Data).map(|token| Token::new(token.short()));
        let Some(current) = tokens.next() else { return };
        let tokens = Tokens { current, other: tokens.next() };
        let nodes =
            fleet.members.live().map(|member| (member.record.number.0, member.record.address)).collect();
        let (number, address, port) = (fleet.us.number.0, fleet.config.address, fleet.config.port);
        if self.compiler.set_fleet(Some(FleetSpec { number, address, port, tokens, nodes })) {
            self.publish();
        }
    }

    pub(super) fn show_rescue(&self) -> FleetRescue {
        let workers = || self.dataplane.workers.iter();
        let dropped = |worker: &crate::runtime::workers::RunningWorker| -> u64 {
            let reasons = penstock_dataplane::drop_reason::DropReason::ALL.iter();
            let of_rescue = reasons.filter(|reason| reason.name().starts_with("rescue_"));
            of_rescue.map(|reason| worker.stats.drops(*reason)).sum()
        };
        FleetRescue {
            sent: workers().map(|worker| worker.stats.rescued_out()).sum(),
            received: workers().map(|worker| worker.stats.rescued_in()).sum(),
            refused: workers().map(dropped).sum(),
        }
    }
}
