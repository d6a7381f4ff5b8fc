//! How wide the vectors are that the processor has the instructions for.

use std::fmt;

/// Bits of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Width {
    /// AVX2: two blocks.
    Bits256,
    /// AVX-512 F and BW: four blocks, where a packet has so many.
    Bits512,
}

impl Width {
    /// The widest here; `None` without AES, AVX2, VAES and VPCLMULQDQ.
    pub(in super::super) fn widest() -> Option<Self> {
        let any = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq");
        let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        any.then_some(if wide { Self::Bits512 } else { Self::Bits256 })
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bits256 => "256 bits",
            Self::Bits512 => "512 bits",
        })
    }
}
