//! Every interleaving of two or three cores at one window, by loom.

use loom::sync::Arc;
use loom::thread;

use super::*;

/// Eight words, one of them spare: numbers 256 apart share a word.
fn window() -> Arc<ReplayWindow> {
    Arc::new(ReplayWindow::with_words(224, true, 8))
}

/// Runs every interleaving in which cores are interrupted at most three times; all of them would take hours.
fn every(test: fn()) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

/// What each core does, at the same time; returns how often each of its marks was accepted.
fn cores<const N: usize>(window: &Arc<ReplayWindow>, marks: [&'static [u64]; N]) -> Vec<Vec<bool>> {
    let core = |sequences: &'static [u64]| {
        let window = Arc::clone(window);
        move || sequences.iter().map(|&sequence| window.mark(sequence).is_ok()).collect()
    };
    let threads: Vec<_> = marks[1..].iter().map(|sequences| thread::spawn(core(sequences))).collect();
    let mut accepted = vec![core(marks[0])()];
    accepted.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    accepted
}

#[test]
fn one_core_wins() {
    every(|| {
        let window = window();
        let accepted = cores(&window, [&[5], &[5], &[5]]);
        assert_eq!(accepted.iter().flatten().filter(|&&good| good).count(), 1);
        assert_eq!(window.newest(), 5);
    });
}

#[test]
fn neighbours_in_a_word_do_not_harm_each_other() {
    every(|| {
        let window = window();
        let accepted = cores(&window, [&[5, 7], &[6]]);
        assert!(accepted.iter().flatten().all(|&good| good));
        assert_eq!((5..8).map(|low| window.check(low).is_ok()).collect::<Vec<_>>(), [false; 3]);
        assert_eq!(window.newest(), 7);
    });
}

#[test]
fn a_word_that_was_taken_over_is_not_taken_back() {
    every(|| {
        let window = window();
        let accepted = cores(&window, [&[5], &[5 + 256], &[5]]);
        assert!(accepted[1][0], "what is ahead is always accepted");
        assert!(!(accepted[0][0] && accepted[2][0]), "the number was accepted twice");
        assert_eq!(window.newest(), 261);
        assert_eq!(window.mark(5), Err(ReplayError::TooOld));
        assert_eq!(window.mark(261), Err(ReplayError::Duplicate));
        assert_eq!(window.mark(260), Ok(()));
    });
}

#[test]
fn a_resumed_window_lets_nothing_in_again() {
    every(|| {
        let window = Arc::new(ReplayWindow::resume(64, true, 40).unwrap());
        let accepted = cores(&window, [&[40, 41], &[41, 30], &[296]]);
        assert!(!accepted[0][0] && !accepted[1][1], "they were received before");
        assert!(!(accepted[0][1] && accepted[1][0]), "the number was accepted twice");
        assert!(accepted[2][0]);
        assert_eq!(window.newest(), 296);
    });
}

#[test]
fn the_newest_number_never_goes_back() {
    every(|| {
        let window = window();
        let accepted = cores(&window, [&[40, 80], &[300, 41]]);
        assert!(accepted[1][0]);
        assert!(!accepted[1][1], "41 was below the window of the core that marked 300");
        assert_eq!(window.newest(), 300);
    });
}

#[test]
fn a_burst_meets_single_numbers() {
    every(|| {
        let window = window();
        let burst = {
            let window = Arc::clone(&window);
            thread::spawn(move || {
                let mut accepted = [false; 4];
                window.mark_all(&[30, 31, 32, 31], &mut accepted);
                accepted
            })
        };
        let single: Vec<_> = [31, 32].map(|sequence| window.mark(sequence).is_ok()).into();
        let burst = burst.join().unwrap();
        assert!(burst[0], "nobody else has it");
        assert_eq!(u8::from(burst[1]) + u8::from(single[0]) + u8::from(burst[3]), 1);
        assert!(!burst[3]);
        assert_eq!(u8::from(burst[2]) + u8::from(single[1]), 1);
        assert_eq!(window.newest(), 32);
    });
}
