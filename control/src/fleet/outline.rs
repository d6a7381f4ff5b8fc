//! What of an SA of this node goes into its record, beside its keys.

use penstock_dataplane::esp::sa::Spi;

use super::MAX_SHARED_KEY_LIFE;
use super::arbiter::Arbitrated;
use super::record::{Choice, Date, Owner, SaRecord, State};
use crate::ike::protocol::{AddSa, SaId};
use crate::ike::sad::{Direction, GRACE, Kinds, Moment, Sad, Serial};
use crate::static_sas::TunnelName;

/// Ends of a life that are nearer to one another are the same: they are counted from another clock each time.
const SAME_END_MS: u64 = 1000;

/// What of an SA goes into its record, beside its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Where in its life it is.
    pub state: State,
    /// When it was chosen.
    pub choice: Option<Choice>,
    /// The SA of the other direction.
    pub paired: Option<Spi>,
    /// Its addresses.
    pub id: SaId,
    /// In UDP.
    pub encap: bool,
    /// When it was installed.
    pub born: Date,
    /// Its end.
    pub hard_end: Date,
}

impl Outline {
    /// Of an SA in `sad`. `choice` is what the arbiter knows of it. `None`: there is no such SA.
    pub(super) fn of<K: Kinds>(
        serial: Serial,
        choice: Option<Choice>,
        sad: &Sad<Arbitrated<K>>,
        now: Moment,
    ) -> Option<Self> {
        let sa = sad.get(serial)?;
        let date = Date::from(now.date);
        let saved = sad.saved(serial);
        let state = match &saved {
            None => State::Ended,
            Some(saved) => match (saved.direction, saved.retiring_until) {
                (_, Some(until)) => {
                    let age = GRACE.saturating_sub(until.saturating_sub(now.uptime));
                    State::Retiring { since: date.before(age) }
                }
                (Direction::Outbound, None) if saved.current => State::Current,
                (Direction::Outbound, None) if saved.was_replaced => State::Retiring { since: date },
                (Direction::Outbound, None) => State::Pending,
                (Direction::Inbound, None) => State::Current,
            },
        };
        let born = Date::from(sa.born.date);
        let (_, left) = sa.time_left(now);
        Some(Self {
            state,
            choice: choice.filter(|_| sa.direction == Direction::Outbound),
            paired: saved.and_then(|saved| saved.pair).and_then(|pair| sad.get(pair)).map(|pair| pair.id.spi),
            id: sa.id,
            encap: sa.encap,
            born,
            hard_end: date.after(left).min(born.after(MAX_SHARED_KEY_LIFE)),
        })
    }

    /// Of a record.
    pub(super) fn written(record: &SaRecord) -> Self {
        let SaRecord { state, choice, paired, born, hard_end, ref sa, .. } = *record;
        Self { state, choice, paired, id: sa.id, encap: sa.flags.encap, born, hard_end }
    }

    /// The record; `sa` is the SA as charon gave it.
    pub fn record(&self, owner: Owner, tunnel: TunnelName, mut sa: AddSa) -> SaRecord {
        (sa.id, sa.flags.encap) = (self.id, self.encap);
        let Self { state, choice, paired, born, hard_end, .. } = *self;
        SaRecord { owner, tunnel, state, choice, paired, born, hard_end, sa }
    }

    /// Whether the record that the store has had of it says the same, so that it need not be written again.
    pub fn says_the_same(&self, written: &Self) -> bool {
        let count = |outline: &Self| outline.choice.map(|choice| choice.count);
        // A revision was unknown when the record was written that made it; one that is unknown now has to be made.
        let has_revision = |outline: &Self| outline.choice.is_some_and(|choice| choice.revision.is_some());
        std::mem::discriminant(&self.state) == std::mem::discriminant(&written.state)
            && count(self) == count(written)
            && (has_revision(self) || !has_revision(written))
            && (self.paired, self.id, self.encap) == (written.paired, written.id, written.encap)
            && self.hard_end.0.abs_diff(written.hard_end.0) <= SAME_END_MS
    }
}
