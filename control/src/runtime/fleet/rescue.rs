//! The other nodes in the workers' tables: where packets go that belong to one of them.

use penstock_dataplane::tables::fleet::{Token, Tokens};
use penstock_fleet::seal::TokenKind;

use super::{FleetState, State};
use crate::api::FleetRescue;
use crate::compile::FleetSpec;

impl FleetState {
    fn tokens(&self, kind: TokenKind) -> Option<Tokens> {
        let mut tokens = self.keyring.tokens(kind).map(|token| Token::new(token.short()));
        Some(Tokens { current: tokens.next()?, other: tokens.next() })
    }

    fn rescue(&self) -> Option<FleetSpec> {
        let tokens = self.tokens(TokenKind::Data)?;
        let nodes =
            self.members.live().map(|member| (member.record.number.0, member.record.address)).collect();
        let (number, address, port) = (self.us.number.0, self.config.address, self.config.port);
        Some(FleetSpec { number, address, port, tokens, nodes })
    }
}

impl State {
    /// Nodes came or went, or keys changed.
    pub(super) fn set_rescue(&mut self) {
        let Some(spec) = self.fleet.as_ref().and_then(FleetState::rescue) else { return };
        let probe_keys = self.fleet.as_ref().and_then(|fleet| fleet.tokens(TokenKind::Probe));
        let has_new_keys = probe_keys.is_some_and(|keys| self.set_probe_keys(keys));
        if self.compiler.set_fleet(Some(spec)) || has_new_keys {
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
