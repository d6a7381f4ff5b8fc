//! AES's rounds over several vectors at once (FIPS 197 section 5.1).
//!
//! Written as instructions: the compiler puts one vector's rounds after another's and keeps round keys in
//! registers that it does not have. Costs a quarter more then.
#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::{__m256i, _mm256_xor_si256};

use super::key::GcmKey;

/// Encrypts counter blocks, two a vector: the pads.
///
/// `ROUNDS` is 10 or 14, and `pads` at most nine vectors.
#[inline]
#[target_feature(enable = "avx2,vaes")]
pub(super) fn encrypt<const ROUNDS: usize, const N: usize>(key: &GcmKey, pads: &mut [__m256i; N]) {
    const { assert!(N >= 1 && N <= 9 && (ROUNDS == 10 || ROUNDS == 14)) };
    let whitening = key.round(0);
    for pad in &mut *pads {
        *pad = _mm256_xor_si256(*pad, whitening);
    }
    macro_rules! rounds {
        ($offsets:literal, $last:literal: $($pad:ident)*) => {
            // SAFETY: reads the round keys 1 to 10 or 14 of `key`, which has them, and writes registers only. The
            // instructions are those of the function's features.
            unsafe {
                asm!(
                    concat!(".irp offset, ", $offsets),
                    "vbroadcasti128 {key}, xmmword ptr [{keys} + \\offset]",
                    $(concat!("vaesenc {", stringify!($pad), "}, {", stringify!($pad), "}, {key}"),)*
                    ".endr",
                    concat!("vbroadcasti128 {key}, xmmword ptr [{keys} + ", $last, "]"),
                    $(concat!("vaesenclast {", stringify!($pad), "}, {", stringify!($pad), "}, {key}"),)*
                    keys = in(reg) key.round_keys(),
                    key = out(ymm_reg) _,
                    $($pad = inout(ymm_reg) *$pad,)*
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
        };
    }
    macro_rules! of_lengths {
        ($($($pad:ident)* ;)*) => {
            match &mut pads[..] {
                $([$($pad),*] => if ROUNDS == 10 {
                    rounds!("16, 32, 48, 64, 80, 96, 112, 128, 144", "160": $($pad)*);
                } else {
                    rounds!("16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208", "224": $($pad)*);
                },)*
                _ => unreachable!(),
            }
        };
    }
    of_lengths!(
        a; a b; a b c; a b c d; a b c d e; a b c d e f; a b c d e f g; a b c d e f g h; a b c d e f g h i;
    );
}
