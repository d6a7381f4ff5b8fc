//! Frames from the input, length-prefixed, through the whole pipeline: no panic, and every frame ends in
//! exactly one place.
#![no_main]

#[path = "../../dataplane/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::Lab;

fuzz_target!(|input: &[u8]| {
    let mut lab = Lab::new();
    let mut rest = input;
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(tail.len());
        let (frame, tail) = tail.split_at(len);
        lab.rx.push(frame);
        rest = tail;
    }
    while lab.worker.turn() > 0 {}
    lab.assert_balanced();
});
