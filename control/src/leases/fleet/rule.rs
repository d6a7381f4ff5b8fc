//! Which slots may be taken in a fleet: the rule itself, without clock or store.
//!
//! A slot of 1/128 s begins at the same time for all nodes, but their clocks need not agree when that is. It is taken
//! while it has not begun by any clock, and used when it has.

use std::time::Duration;

use penstock_dataplane::esp::iv::SenderId;

use super::super::rule::{CLOCK_UNSET_BEFORE, MOST_AT_ONCE};

/// No key may be in use in a fleet for longer than this, from the first packet that was sealed with it by any node to the
/// last by any node. Sender IDs repeat after 36.4 hours.
pub const FLEET_MAX_KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// No worker may encrypt under a lease that was given to it longer ago than this: a node that was without the store for so
/// long stops encrypting. The worker that gets the same ID next may have keys that this one has.
pub const FLEET_LEASE_LIFE: Duration = Duration::from_secs(10 * 3600);

/// A worker whose lease is older gets another one. 5 000 nodes of 16 workers take 8 leases a second then.
pub const FLEET_RENEW_AFTER: Duration = Duration::from_secs(3 * 3600);

/// Slots in a second.
const SLOTS_A_SECOND: u64 = 128;

/// No two clocks of nodes that take slots are further apart than this.
pub(super) const SKEW: Duration = Duration::from_secs(2);

/// A node whose clock shows so much more or less than ours is too far away. Half of what is safe: how far clocks are apart
/// is not known better than the store is fast.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(1);

/// By so much earlier than they must be slots are taken, for the time that the store needs.
pub(super) const ALLOWANCE: Duration = Duration::from_millis(250);
/// The same, when the store was slower.
pub(super) const MOST_ALLOWANCE: Duration = Duration::from_secs(2);

/// Slots that begin later are not taken yet: so a claim is either used or given up soon.
pub(super) const LEAD: Duration = Duration::from_secs(10);

/// Slots that could not be used so long after they began are given up.
pub(super) const USE_WITHIN: Duration = Duration::from_secs(5);

/// What the clocks of a whole fleet may gain within a day and a half.
const CLOCKS_SET: Duration = Duration::from_secs(2 * 3600);

const SECONDS_AROUND: u64 = SenderId::COUNT as u64 / SLOTS_A_SECOND;
const SECONDS_TO_BEGIN: u64 = MOST_AT_ONCE as u64 / SLOTS_A_SECOND + USE_WITHIN.as_secs() + SKEW.as_secs();
const _: () = assert!(
    FLEET_MAX_KEY_LIFE.as_secs() + FLEET_LEASE_LIFE.as_secs() + SECONDS_TO_BEGIN + CLOCKS_SET.as_secs()
        < SECONDS_AROUND,
    "of two workers with the same ID the first has stopped a key's life before the second begins"
);
const _: () = assert!(2 * CLOCKS_DIFFER.as_secs() <= SKEW.as_secs());
const _: () = assert!(
    SKEW.as_secs() + MOST_ALLOWANCE.as_secs() + MOST_AT_ONCE as u64 / SLOTS_A_SECOND < LEAD.as_secs(),
    "as many leases as can be asked for can be had"
);
const _: () =
    assert!(FLEET_RENEW_AFTER.as_secs() * 3 < FLEET_LEASE_LIFE.as_secs(), "there is time to try again");

/// A 128th of a second, counted from 1970.
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

    /// The one so many later.
    pub(super) fn later(self, by: usize) -> Self {
        Self(self.0.saturating_add(by as u64))
    }

    /// The ID that it stands for.
    pub(super) fn id(self) -> SenderId {
        SenderId::from_low_bits(self.0)
    }
}

/// What can be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Take slots from this one on.
    Take(Slot),
    /// Others have taken what can be taken: ask again after this time.
    Wait(Duration),
    /// Slots were taken that begin so long from now that no clock can have been right then and ours now.
    ClockBehind(Duration),
    /// The clock was never set.
    ClockUnset,
}

/// Chooses `count` slots, at least one, of those newer than `newest`, the oldest ones that will still be far enough ahead
/// after `allowance`.
pub(super) fn choose(newest: Slot, now: Duration, count: usize, allowance: Duration) -> Choice {
    if now < CLOCK_UNSET_BEFORE {
        return Choice::ClockUnset;
    }
    let behind = newest.begins().saturating_sub(now);
    if behind > LEAD + SKEW {
        return Choice::ClockBehind(behind);
    }
    let first = newest.max(Slot::at(now + SKEW + allowance)).later(1);
    let last = first.later(count.saturating_sub(1));
    let ahead = last.begins().saturating_sub(now);
    if ahead <= LEAD { Choice::Take(first) } else { Choice::Wait(ahead - LEAD) }
}

/// Whether a slot that was taken before `now` was taken early enough: by no clock has it begun.
pub(super) fn is_ahead(first: Slot, now: Duration) -> bool {
    first.begins() > now + SKEW
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    #[test]
    fn a_slot_is_a_128th_of_a_second() {
        assert_eq!(Slot::at(Duration::from_micros(7_812)), Slot(0));
        assert_eq!(Slot::at(Duration::from_micros(7_813)), Slot(1));
        assert_eq!(Slot(129).begins(), Duration::from_nanos(1_007_812_500));
        assert_eq!(Slot::at(Slot(129).begins()), Slot(129));
    }

    #[test]
    fn an_id_comes_back_when_its_keys_are_gone() {
        let (first, again) = (Slot::at(NOW), Slot(Slot::at(NOW).0 + u64::from(SenderId::COUNT)));
        assert_eq!(first.id(), again.id());
        let around = again.begins() - first.begins();
        assert_eq!(around, Duration::from_secs(131_072));
        assert!(around > FLEET_MAX_KEY_LIFE + FLEET_LEASE_LIFE + Duration::from_secs(2 * 3600));
    }

    #[test]
    fn a_clock_from_before_this_program_gives_nothing() {
        assert_eq!(choose(Slot(0), Duration::from_secs(86_400), 1, ALLOWANCE), Choice::ClockUnset);
    }

    #[test]
    fn of_a_store_that_forgot_everything_slots_are_as_new() {
        let Choice::Take(first) = choose(Slot(0), NOW, 256, ALLOWANCE) else { panic!("nothing is taken") };
        assert!(is_ahead(first, NOW + ALLOWANCE));
        assert_eq!(choose(Slot::at(NOW), NOW, 256, ALLOWANCE), Choice::Take(first));
    }

    proptest! {
        #[test]
        fn a_choice_is_new_and_ahead(
            newest in -3000..3000i64,
            now in (0..10_000u64).prop_map(|millis| NOW + Duration::from_millis(millis)),
            count in 1..=MOST_AT_ONCE,
            allowance in (250..=2000u64).prop_map(Duration::from_millis),
        ) {
            let newest = Slot(Slot::at(now).0.saturating_add_signed(newest));
            match choose(newest, now, count, allowance) {
                Choice::Take(first) => {
                    prop_assert!(first > newest && is_ahead(first, now + allowance));
                    prop_assert!(first.later(count - 1).begins() <= now + LEAD);
                    let earlier = Slot(first.0 - 1);
                    prop_assert!(earlier == newest || !is_ahead(earlier, now + allowance));
                }
                Choice::Wait(time) => {
                    prop_assert!(time > Duration::ZERO && time <= LEAD);
                    prop_assert!(matches!(choose(newest, now + time, count, allowance), Choice::Take(_)));
                }
                Choice::ClockBehind(by) => prop_assert!(by > LEAD + SKEW && newest.begins() == now + by),
                Choice::ClockUnset => prop_assert!(false),
            }
        }
    }
}
