//! AES's rounds over several vectors at once (FIPS 197 section 5.1).
//!
//! Written as instructions: the compiler puts one vector's rounds after another's and keeps round keys in
//! registers that it does not have. Costs a quarter more then.
#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::{__m256i, __m512i, _mm256_xor_si256, _mm512_xor_si512};

use super::key::GcmKey;
use super::vector::{four_times, twice};

/// All rounds but the whitening of vectors of one width: the class of their registers, the instruction that fills
/// one with a round key, and where the keys lie.
macro_rules! rounds {
    ($class:ident $broadcast:literal $key:ident, $offsets:literal, $last:literal: $($pad:ident)*) => {
        // SAFETY: reads the round keys 1 to 10 or 14 of `key`, which has them, and writes registers only. The
        // instructions are those of the function's features.
        unsafe {
            asm!(
                concat!(".irp offset, ", $offsets),
                concat!($broadcast, " {key}, xmmword ptr [{keys} + \\offset]"),
                $(concat!("vaesenc {", stringify!($pad), "}, {", stringify!($pad), "}, {key}"),)*
                ".endr",
                concat!($broadcast, " {key}, xmmword ptr [{keys} + ", $last, "]"),
                $(concat!("vaesenclast {", stringify!($pad), "}, {", stringify!($pad), "}, {key}"),)*
                keys = in(reg) $key.round_keys(),
                key = out($class) _,
                $($pad = inout($class) *$pad,)*
                options(pure, readonly, nostack, preserves_flags),
            );
        }
    };
}

/// The rounds of a key of either length, for as many vectors as there are.
macro_rules! of_lengths {
    ($class:ident $broadcast:literal $key:ident $pads:ident: $($($pad:ident)* ;)*) => {
        match &mut $pads[..] {
            $([$($pad),*] => if ROUNDS == 10 {
                rounds!($class $broadcast $key, "16, 32, 48, 64, 80, 96, 112, 128, 144", "160": $($pad)*);
            } else {
                rounds!(
                    $class $broadcast $key, "16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208", "224": $($pad)*
                );
            },)*
            _ => unreachable!(),
        }
    };
}

/// Encrypts counter blocks, two a vector: the pads.
///
/// `ROUNDS` is 10 or 14, and `pads` at most nine vectors.
#[inline]
#[target_feature(enable = "avx2,vaes")]
pub(super) fn encrypt<const ROUNDS: usize, const N: usize>(key: &GcmKey, pads: &mut [__m256i; N]) {
    const { assert!(N >= 1 && N <= 9 && (ROUNDS == 10 || ROUNDS == 14)) };
    let whitening = twice(key.round(0));
    for pad in &mut *pads {
        *pad = _mm256_xor_si256(*pad, whitening);
    }
    of_lengths!(
        ymm_reg "vbroadcasti128" key pads:
        a; a b; a b c; a b c d; a b c d e; a b c d e f; a b c d e f g; a b c d e f g h; a b c d e f g h i;
    );
}

/// [`encrypt`] with four blocks a vector, and at most five vectors.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
pub(super) fn encrypt_wide<const ROUNDS: usize, const N: usize>(key: &GcmKey, pads: &mut [__m512i; N]) {
    const { assert!(N >= 1 && N <= 5 && (ROUNDS == 10 || ROUNDS == 14)) };
    let whitening = four_times(key.round(0));
    for pad in &mut *pads {
        *pad = _mm512_xor_si512(*pad, whitening);
    }
    of_lengths!(zmm_reg "vbroadcasti32x4" key pads: a; a b; a b c; a b c d; a b c d e;);
}
