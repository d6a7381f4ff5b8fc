//! Many threads against the naive rule: every number once, none from below the window.

use std::sync::Barrier;
use std::sync::atomic::AtomicU32;
use std::thread;

use super::*;

const THREADS: u64 = 4;

/// A stream of numbers in disorder, which each thread sees in another one.
fn shuffled(thread: u64, count: u64, disorder: u64) -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(thread + 1);
    (1..=count).map(move |sequence| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (sequence + (state >> 33) % disorder).clamp(1, count)
    })
}

/// All threads mark overlapping streams, by ones and by bursts; returns how often each number was accepted.
fn contend(window: &ReplayWindow, count: u64, disorder: u64) -> Vec<u32> {
    let accepted: Vec<_> = (0..=count).map(|_| AtomicU32::new(0)).collect();
    let together = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (accepted, together) = (&accepted, &together);
            scope.spawn(move || {
                let count_one = |sequence: u64, bottom: u64| {
                    assert!(sequence + window.size > bottom, "{sequence} was below the window already");
                    accepted[sequence as usize].fetch_add(1, Relaxed);
                };
                let stream: Vec<_> = shuffled(thread, count, disorder).collect();
                let mut verdicts = [false; 64];
                together.wait();
                for (index, burst) in stream.chunks(1 + 7 * (thread as usize % 3)).enumerate() {
                    let bottom = window.newest();
                    if index % 2 == 0 {
                        let verdicts = &mut verdicts[..burst.len()];
                        window.mark_all(burst, verdicts);
                        for (&sequence, _) in burst.iter().zip(verdicts).filter(|(_, good)| **good) {
                            count_one(sequence, bottom);
                        }
                    } else {
                        for &sequence in burst {
                            if window.check(sequence as u32).is_ok() && window.mark(sequence).is_ok() {
                                count_one(sequence, bottom);
                            }
                        }
                    }
                }
            });
        }
    });
    accepted.into_iter().map(AtomicU32::into_inner).collect()
}

#[test]
fn of_threads_with_the_same_number_one_wins() {
    for (size, disorder) in [(64, 20), (64, 500), (256, 100), (1024, 2000), (65_536, 1000)] {
        let window = ReplayWindow::new(size, false).unwrap();
        let accepted = contend(&window, 20_000, disorder);
        assert!(accepted.iter().all(|&times| times <= 1), "a number was accepted twice (window {size})");
        assert_eq!(window.newest(), 20_000);
    }
}

#[test]
fn inside_the_window_none_is_lost() {
    let window = ReplayWindow::new(65_536, false).unwrap();
    let (count, disorder) = (20_000, 300);
    let accepted = contend(&window, count, disorder);
    let mut seen = vec![0; count as usize + 1];
    for thread in 0..THREADS {
        shuffled(thread, count, disorder).for_each(|sequence| seen[sequence as usize] = 1);
    }
    assert_eq!(accepted, seen);
}
