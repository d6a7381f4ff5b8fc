//! What the operator reads in the log.

use super::Negotiated;
use crate::fleet::{Sender, foreign};
use crate::ike::sad::{Direction, Notice, Serial};
use crate::static_sas::TunnelName;

/// Tunnels that are named each when they change at once.
const MOST_NAMED: usize = 16;

impl Negotiated {
    pub(super) fn log(&self, notice: &Notice) {
        match *notice {
            Notice::Switched { reqid, to: Some(spi) } => {
                tracing::info!(tunnel = self.name(reqid), %spi, "a tunnel sends under another SA");
            }
            Notice::Switched { reqid, to: None } => {
                tracing::warn!(tunnel = self.name(reqid), "a tunnel has no outbound SA any more and is down");
            }
            Notice::Ended { reqid, id, limit, another: true, .. } => {
                let tunnel = self.name(reqid);
                tracing::warn!(tunnel, %id, "an old SA was stopped, {limit}; the peer had not deleted it");
            }
            Notice::Ended { reqid, id, direction, limit, orphan, another: false, asked } => {
                let what = match direction {
                    Direction::Inbound => "packets of the peer are dropped",
                    Direction::Outbound => "the tunnel is down",
                };
                let why = if orphan {
                    "its charon died, and the peer has not negotiated again since: see show ike"
                } else if !asked {
                    // Between two looks more went through than lies between the two limits.
                    "charon had not been asked for a rekey before: the limit for that is too close to this one for so much \
                     traffic, raise ike.esp_rekey_bytes and ike.esp_rekey_packets"
                } else {
                    "the peer has not agreed to a rekey in time: see show ike and the lines of IKE before this one"
                };
                tracing::error!(tunnel = self.name(reqid), %id, "an SA was stopped, {limit}; {what}. {why}");
            }
            Notice::Orphans(sas) => tracing::warn!(
                sas,
                "charon is another one than before: SAs of the old one go on to the end of their life, or until their peers \
                 have negotiated again"
            ),
            Notice::Uprooted { reqid, sas } => {
                let tunnel = self.name(reqid);
                tracing::warn!(tunnel, sas, "SAs went with their tunnel, which was removed or moved");
            }
            Notice::Forgotten { reqid, id } => {
                let tunnel = self.name(reqid);
                tracing::info!(tunnel, %id, "an SA goes that charon does not have any more");
            }
        }
    }

    /// One tunnel sends under one SA, whatever the selectors.
    pub(super) fn warn_of_other_selectors(&self, serial: Serial) {
        let Some(sa) = self.sad.get(serial).filter(|sa| sa.direction == Direction::Outbound) else { return };
        let current = self.sad.current(sa.reqid).filter(|current| current.serial != serial);
        if current.is_some_and(|current| *current.key.selectors != *sa.key.selectors) {
            tracing::warn!(
                tunnel = self.name(sa.reqid),
                id = %sa.id,
                "the new SA has other traffic selectors than the one in use. A tunnel sends under the newest only: if the peer \
                 makes an SA for each pair of networks, give each pair a tunnel of its own, or have the peer agree to all in \
                 one SA"
            );
        }
    }
}

/// What happens to SAs of other nodes.
pub(super) fn log_foreign(notice: &foreign::Notice) {
    match notice {
        foreign::Notice::NoRoom(sa) => tracing::error!(
            %sa,
            "the workers have no room for an SA of another node, whose packets are handed on to that node meanwhile"
        ),
        foreign::Notice::Twice(sa) => {
            tracing::error!(%sa, "an SA of another node has an SPI that is in use here: do two nodes have one number?");
        }
        foreign::Notice::Elsewhere { name, there, here } => tracing::error!(
            sa = %name, %there, %here,
            "an SA of another node is for another of our addresses than its tunnel has here: give all nodes the same \
             configuration of tenants and endpoints"
        ),
        foreign::Notice::Forgotten(sas) => tracing::warn!(
            sas,
            "the store does not know SAs any more that it had: was it restored? They go on to their ends here, and their \
             owners write them again"
        ),
    }
}

/// What tunnels send under, when that is another node's. At a start that is all of them.
pub(super) fn log_senders(switched: &[(TunnelName, Option<Sender>)]) {
    let to_foreign = switched.iter().filter_map(|(tunnel, sender)| match sender {
        Some(Sender::Foreign(sa)) => Some((tunnel, sa)),
        Some(Sender::Own) | None => None,
    });
    let tunnels = to_foreign.clone().count();
    if tunnels > MOST_NAMED {
        tracing::info!(tunnels, "tunnels send under SAs of other nodes");
        return;
    }
    for ((tenant, tunnel), sa) in to_foreign {
        tracing::info!(tunnel = format!("{tenant}/{tunnel}"), %sa, "a tunnel sends under an SA of another node");
    }
}
