//! Which sender IDs may be given out: the rule itself, without clock or file.
//!
//! A sender ID names a slot of time, 1/8 s long. A lease takes a slot that has begun, and that is newer than
//! each one taken before. So every ID that was ever given out lies in the past, and a store that was lost or
//! rolled back is made up for by the clock: what may be unknown is at most as new as the last start of the
//! machine, because a file in memory (the anchor) knows the rest.
//!
//! 24 bits of slot number come round after 24 days. No key lives that long.

use std::time::Duration;

use penstock_dataplane::esp::iv::SenderId;

/// No key may be in use for longer than this, from the first packet that was sealed with it to the last.
/// Sender IDs repeat after 24 days and 6 hours; the rest is room for a clock that is set forward.
pub const MAX_KEY_LIFE: Duration = Duration::from_secs(21 * 24 * 3600);

/// Slots in a second. 64 workers need the slots of 8 s.
const SLOTS_A_SECOND: u64 = 8;

/// Unused slots this old are still taken. Starts in quick succession live on them, without waiting.
///
/// Also the reason why keys may only move to another machine a minute after this one stopped.
const RESERVE: Duration = Duration::from_secs(40);

/// By so much the clock may have lost over a restart of the machine, besides the time that this takes.
pub(super) const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// A clock that is behind by no more than this is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Leases that can be taken at once.
pub(super) const MOST_AT_ONCE: usize = 256;

/// 2026-01-01 00:00 UTC: a clock that shows less was never set.
pub(super) const CLOCK_UNSET_BEFORE: Duration = Duration::from_secs(1_767_225_600);

const _: () = assert!(MOST_AT_ONCE as u64 <= RESERVE.as_secs() * SLOTS_A_SECOND);
const _: () = assert!(
    MAX_KEY_LIFE.as_secs() + 3 * 24 * 3600 + RESERVE.as_secs() < SenderId::COUNT as u64 / SLOTS_A_SECOND,
    "within the life of a key the IDs do not come round"
);

/// An eighth of a second, counted from 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(pub(super) u64);

impl Slot {
    /// The slot of a time since 1970.
    pub(super) fn at(time: Duration) -> Self {
        let whole = time.as_secs().saturating_mul(SLOTS_A_SECOND);
        Self(whole.saturating_add(u64::from(time.subsec_nanos()) * SLOTS_A_SECOND / 1_000_000_000))
    }

    /// When it begins, since 1970.
    pub(super) fn begins(self) -> Duration {
        let part = self.0 % SLOTS_A_SECOND * (1_000_000_000 / SLOTS_A_SECOND);
        Duration::new(self.0 / SLOTS_A_SECOND, part as u32)
    }

    /// The ID that it stands for.
    pub(super) fn id(self) -> SenderId {
        SenderId::from_low_bits(self.0)
    }
}

/// What is known of the slots that were taken since the machine started, whoever took them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThisBoot {
    /// None is newer than this one.
    Known(Slot),
    /// None was taken; process 1 started at this time.
    Untouched(Duration),
    /// Some were, but there is no telling which.
    Lost,
}

/// A bound for all slots that were ever taken, from what the store and the anchor know.
///
/// What was taken before the machine started was not newer than the clock at that time.
pub(super) fn newest_taken(store: Slot, this_boot: ThisBoot, now: Duration) -> Slot {
    store.max(match this_boot {
        ThisBoot::Known(newest) => newest,
        ThisBoot::Untouched(started) => Slot::at(started + CLOCK_SLACK),
        ThisBoot::Lost => Slot::at(now + CLOCK_SLACK),
    })
}

/// What can be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Take slots from this one on.
    Take(Slot),
    /// Ask again after this time.
    Wait(Duration),
    /// The clock shows less than it did when slots were taken, by this much.
    ClockBehind(Duration),
    /// The clock was never set.
    ClockUnset,
}

/// Chooses `count` slots, the oldest ones that can be taken, of those newer than `newest`.
pub(super) fn choose(newest: Slot, now: Duration, count: usize) -> Choice {
    if now < CLOCK_UNSET_BEFORE {
        return Choice::ClockUnset;
    }
    let behind = newest.begins().saturating_sub(now);
    if behind > PATIENCE {
        return Choice::ClockBehind(behind);
    }
    let first = Slot((newest.0 + 1).max(Slot::at(now.saturating_sub(RESERVE)).0));
    let last = Slot(first.0 + (count as u64).saturating_sub(1));
    if last <= Slot::at(now) { Choice::Take(first) } else { Choice::Wait(last.begins() - now) }
}

/// The longest that `count` leases are waited for.
pub(super) fn longest_wait(count: usize) -> Duration {
    PATIENCE + CLOCK_SLACK + Slot(count as u64 + 1).begins()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    #[test]
    fn a_slot_is_an_eighth_of_a_second() {
        assert_eq!(Slot::at(Duration::from_millis(125)), Slot(1));
        assert_eq!(Slot::at(Duration::from_millis(1124)), Slot(8));
        assert_eq!(Slot(9).begins(), Duration::from_millis(1125));
    }

    #[test]
    fn an_id_comes_back_after_more_than_the_life_of_a_key() {
        let (first, again) = (Slot::at(NOW), Slot(Slot::at(NOW).0 + u64::from(SenderId::COUNT)));
        assert_eq!(first.id(), again.id());
        let three_days = Duration::from_secs(3 * 86_400);
        assert!(again.begins() - first.begins() > MAX_KEY_LIFE + three_days + RESERVE);
    }

    #[test]
    fn what_is_not_known_is_as_new_as_it_can_be() {
        let (old, now) = (Slot::at(NOW), NOW + Duration::from_secs(100));
        let taken = |this_boot| newest_taken(old, this_boot, now);
        assert_eq!(taken(ThisBoot::Known(Slot(1))), old);
        assert_eq!(taken(ThisBoot::Known(Slot::at(now))), Slot::at(now));
        assert_eq!(taken(ThisBoot::Untouched(now)), Slot::at(now + CLOCK_SLACK));
        assert_eq!(taken(ThisBoot::Untouched(Duration::ZERO)), old);
        assert_eq!(taken(ThisBoot::Lost), Slot::at(now + CLOCK_SLACK));
    }

    proptest! {
        #[test]
        fn a_choice_is_new_and_has_begun(
            newest in -1000..1000i64,
            now in (0..10_000u64).prop_map(|millis| NOW + Duration::from_millis(millis)),
            count in 1..=MOST_AT_ONCE,
        ) {
            let newest = Slot(Slot::at(now).0.saturating_add_signed(newest));
            match choose(newest, now, count) {
                Choice::Take(first) => {
                    prop_assert!(first > newest);
                    prop_assert!(first.begins() + RESERVE + Duration::from_millis(125) > now);
                    prop_assert!(Slot(first.0 + count as u64 - 1).begins() <= now);
                }
                Choice::Wait(time) => {
                    prop_assert!(time > Duration::ZERO && time <= longest_wait(count));
                    prop_assert!(matches!(choose(newest, now + time, count), Choice::Take(_)));
                }
                Choice::ClockBehind(by) => prop_assert!(by > PATIENCE && newest.begins() == now + by),
                Choice::ClockUnset => prop_assert!(false),
            }
        }
    }
}
