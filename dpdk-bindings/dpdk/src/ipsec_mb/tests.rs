//! Published vectors, packets of every length, and packets that were tampered with.

mod batch;
mod gcm;
mod vectors;

use super::{Library, Manager};

/// The library, which the machine that runs these tests has, or they were not built.
fn library() -> Library {
    Library::load().unwrap_or_else(|error| panic!("{error}"))
}

fn manager() -> Manager {
    Manager::new(&library()).unwrap_or_else(|error| panic!("{error}"))
}

/// `"00 01ff"` as bytes.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| u8::try_from(digit).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Bytes that look random and are the same in every run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn says_what_it_is() {
    let library = library();
    assert!(library.version().starts_with("1."), "{library:?}");
    assert!(["SSE", "AVX", "AVX2", "AVX512", "AVX512 with VAES"].contains(&library.architecture()));
}

/// So that they write to no common memory (see `instance`).
#[test]
fn managers_of_one_process_run_code_of_their_own() {
    let library = library();
    let managers: Vec<_> = (0..20).map(|_| Manager::new(&library).unwrap()).collect();
    let mut addresses: Vec<_> = managers.iter().map(|manager| manager.gcm.seal[0] as usize).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), managers.len());
}
