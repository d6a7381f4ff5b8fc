use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// What the window must do, by RFC 4303 and nothing clever.
struct Naive {
    size: u64,
    esn: bool,
    newest: u64,
    /// All numbers up to this one are marked.
    resumed_at: u64,
    marked: HashSet<u64>,
}

impl Naive {
    fn new(size: u32, esn: bool) -> Self {
        Self::resume(size, esn, 0)
    }

    fn resume(size: u32, esn: bool, newest: u64) -> Self {
        Self { size: u64::from(size), esn, newest, resumed_at: newest, marked: HashSet::new() }
    }

    /// Appendix A2.2, case by case. The high half is never below zero: no sender was there.
    fn whole(&self, low: u32) -> u64 {
        if !self.esn {
            return u64::from(low);
        }
        let (top, high) = (self.newest & 0xffff_ffff, self.newest >> 32);
        let low = u64::from(low);
        let high = if top >= self.size - 1 {
            if low + self.size > top { high } else { high + 1 }
        } else if low + self.size > top + (1 << 32) {
            high.saturating_sub(1)
        } else {
            high
        };
        (high << 32) | low
    }

    fn verdict(&self, sequence: u64) -> Result<(), ReplayError> {
        if sequence == 0 || sequence + self.size <= self.newest {
            Err(ReplayError::TooOld)
        } else if sequence <= self.resumed_at || self.marked.contains(&sequence) {
            Err(ReplayError::Duplicate)
        } else {
            Ok(())
        }
    }

    fn check(&self, low: u32) -> Result<u64, ReplayError> {
        let sequence = self.whole(low);
        self.verdict(sequence).map(|()| sequence)
    }

    fn mark(&mut self, sequence: u64) -> Result<(), ReplayError> {
        self.verdict(sequence)?;
        self.marked.insert(sequence);
        self.newest = self.newest.max(sequence);
        Ok(())
    }
}

/// So far above what an untouched word holds that it could be taken for a newer one.
const FAR: u64 = 15 << 32;

/// A step from the newest number to the next one tried.
fn steps() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => -3..4i64,
        4 => -140..140i64,
        2 => -70_000..70_000i64,
        1 => (6..18u32, -33..34i64).prop_map(|(bits, off)| off - (1 << bits)),
        1 => (6..18u32, -33..34i64).prop_map(|(bits, off)| off + (1 << bits)),
        1 => 0..(1i64 << 31),
    ]
}

/// Where a test begins: at the start, and around the ends of the low half.
fn starts(esn: bool) -> BoxedStrategy<u64> {
    let around = |at: u64| (at - 200)..(at + 200);
    if esn {
        prop_oneof![0..3u64, around(1 << 31), around(1 << 32), around(2 << 32), around(5 << 32)].boxed()
    } else {
        prop_oneof![0..3u64, around(1 << 31), ((1u64 << 32) - 70_000)..(1 << 32)].boxed()
    }
}

/// Moves both windows to a number, in steps that a receiver could see.
fn walk(window: &ReplayWindow, naive: &mut Naive, to: u64) {
    let mut at = 0;
    while at < to {
        at = to.min(at + (1 << 31));
        assert_eq!(window.mark(at), naive.mark(at));
    }
}

fn cases() -> impl Strategy<Value = (u32, bool, u64, Vec<i64>)> {
    (6..17u32, any::<bool>()).prop_flat_map(|(bits, esn)| {
        (Just(1 << bits), Just(esn), starts(esn), prop::collection::vec(steps(), 1..400))
    })
}

/// The number a step leads to; without ESN it has 32 bits.
fn step(newest: u64, by: i64, esn: bool) -> u64 {
    let next = newest.saturating_add_signed(by);
    if esn { next } else { next.min(u64::from(u32::MAX)) }
}

#[test]
fn sizes_are_powers_of_two() {
    for bits in 6..=16 {
        assert!(ReplayWindow::new(1 << bits, false).is_ok());
    }
    for size in [0, 1, 32, 63, 65, 96, 65_535, 65_537, 131_072, u32::MAX] {
        assert_eq!(ReplayWindow::new(size, true).err(), Some(ReplayWindowError(size)));
    }
}

#[test]
fn a_window_has_room_for_what_it_holds() {
    for bits in 6..=16 {
        let window = ReplayWindow::new(1 << bits, false).unwrap();
        let words = (window.ring.len() * LINE) as u64;
        assert!(words.is_power_of_two() && words > window.size / BLOCK);
    }
    assert_eq!(size_of::<ReplayWindow>(), 64);
    assert_eq!(size_of::<Line>(), 64);
}

#[test]
fn zero_is_never_sent() {
    for esn in [false, true] {
        let window = ReplayWindow::new(64, esn).unwrap();
        assert_eq!(window.check(0), Err(ReplayError::TooOld));
        assert_eq!(window.mark(0), Err(ReplayError::TooOld));
        assert_eq!(window.check(1), Ok(1));
    }
    // But the low half is, with ESN.
    let window = ReplayWindow::new(64, true).unwrap();
    window.mark((1 << 32) - 1).unwrap();
    assert_eq!(window.check(0), Ok(1 << 32));
}

#[test]
fn the_edges_of_the_window() {
    let window = ReplayWindow::new(64, false).unwrap();
    window.mark(1000).unwrap();
    assert_eq!(window.check(1000), Err(ReplayError::Duplicate));
    assert_eq!(window.check(937), Ok(937));
    assert_eq!(window.check(936), Err(ReplayError::TooOld));
    assert_eq!(window.mark(937), Ok(()));
    assert_eq!(window.mark(937), Err(ReplayError::Duplicate));
    assert_eq!(window.mark(936), Err(ReplayError::TooOld));
    assert_eq!(window.newest(), 1000);
}

#[test]
fn a_resumed_window_takes_nothing_again() {
    for newest in [1, 31, 32, 63, 64, 1000, u64::from(u32::MAX) - 1] {
        let window = ReplayWindow::resume(64, false, newest).unwrap();
        for sequence in newest.saturating_sub(200)..=newest {
            assert!(window.check(sequence as u32).is_err() && window.mark(sequence).is_err(), "{sequence}");
        }
        assert_eq!(window.check(newest as u32 + 1), Ok(newest + 1));
        assert_eq!(window.mark(newest + 1), Ok(()));
    }
}

#[test]
fn an_unauthentic_packet_moves_nothing() {
    let window = ReplayWindow::new(64, false).unwrap();
    assert_eq!(window.check(4_000_000), Ok(4_000_000));
    assert_eq!(window.check(1), Ok(1));
    assert_eq!(window.newest(), 0);
}

#[test]
fn a_number_at_the_end_of_all_numbers_is_refused() {
    assert_eq!(infer(3, u64::MAX - 10, 64), Err(ReplayError::TooOld));
    assert_eq!(infer(u32::MAX, u64::MAX - 10, 64), Ok(u64::MAX));
}

#[test]
fn mark_all_records_only_what_it_can_answer() {
    let window = ReplayWindow::new(64, false).unwrap();
    let mut accepted = [true; 4];
    window.mark_all(&[5, 6], &mut accepted);
    assert_eq!(accepted, [true, true, false, false]);
    window.mark_all(&[40, 7, 8], &mut accepted[..1]);
    assert_eq!(window.mark(7), Ok(()));
    assert_eq!(window.newest(), 40);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_window_is_the_naive_set((size, esn, start, steps) in cases()) {
        let window = ReplayWindow::new(size, esn).unwrap();
        let mut naive = Naive::new(size, esn);
        walk(&window, &mut naive, start);
        for by in steps {
            let sequence = step(naive.newest, by, esn);
            let whole = window.check(sequence as u32);
            if naive.newest > FAR {
                break;
            }
            prop_assert_eq!(whole, naive.check(sequence as u32));
            // What a receiver does, and what it must survive: the packet of another high half.
            if let Ok(whole) = whole {
                prop_assert_eq!(window.mark(whole), naive.mark(whole));
            }
            prop_assert_eq!(window.mark(sequence), naive.mark(sequence));
            prop_assert_eq!(window.newest(), naive.newest);
        }
    }

    #[test]
    fn a_resumed_window_has_seen_everything_before(
        (size, esn, start, steps) in cases(),
        // With ESN there is no end to how far a window may have come.
        far in prop_oneof![Just(0u64), (1..40u32).prop_map(|bits| 1 << (20 + bits))],
    ) {
        let start = if esn { start + far } else { start };
        let window = ReplayWindow::resume(size, esn, start).unwrap();
        let mut naive = Naive::resume(size, esn, start);
        prop_assert_eq!(window.newest(), start);
        for by in steps {
            let sequence = step(naive.newest, by, esn);
            let whole = window.check(sequence as u32);
            if naive.newest - start > FAR {
                break;
            }
            prop_assert_eq!(whole, naive.check(sequence as u32));
            if let Ok(whole) = whole {
                prop_assert_eq!(window.mark(whole), naive.mark(whole));
            }
            prop_assert_eq!(window.newest(), naive.newest);
        }
    }

    #[test]
    fn with_one_spare_word_too(steps in prop::collection::vec(-300..300i64, 1..600)) {
        let window = ReplayWindow::with_words(224, true, 8);
        let mut naive = Naive::new(224, true);
        for by in steps {
            let sequence = step(naive.newest, by, true);
            prop_assert_eq!(window.check(sequence as u32), naive.check(sequence as u32));
            prop_assert_eq!(window.mark(sequence), naive.mark(sequence));
        }
    }

    #[test]
    fn a_burst_is_its_numbers_one_by_one(
        (size, esn, start, steps) in cases(),
        lengths in prop::collection::vec(1..65usize, 1..20),
    ) {
        let burst = ReplayWindow::new(size, esn).unwrap();
        let mut naive = Naive::new(size, esn);
        walk(&burst, &mut naive, start);
        let mut at = naive.newest;
        let mut steps = steps.into_iter();
        for length in lengths {
            let sequences: Vec<_> = steps.by_ref().take(length).map(|by| {
                at = step(at, by, esn);
                at
            }).collect();
            let expected: Vec<_> = sequences.iter().map(|&sequence| naive.mark(sequence).is_ok()).collect();
            let mut accepted = vec![true; sequences.len()];
            burst.mark_all(&sequences, &mut accepted);
            prop_assert_eq!(accepted, expected);
            prop_assert_eq!(burst.newest(), naive.newest);
        }
    }
}
