//! Comparing integrity check values without telling by the time taken how much of them is right.

use core::hint::black_box;

/// Whether two 16-byte values are the same.
#[inline(always)]
pub(super) fn same16(a: &[u8; 16], b: &[u8; 16]) -> bool {
    black_box(u128::from_ne_bytes(*a) ^ u128::from_ne_bytes(*b)) == 0
}

/// Whether two values of the same length are the same. The time depends on the length alone, which is no
/// secret: all differences are gathered before one is looked at.
#[inline]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (a_words, a_rest) = a.as_chunks::<4>();
    let (b_words, b_rest) = b.as_chunks::<4>();
    let mut difference = 0;
    for (a, b) in a_words.iter().zip(b_words) {
        difference |= u32::from_ne_bytes(*a) ^ u32::from_ne_bytes(*b);
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        difference |= u32::from(a ^ b);
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_anywhere_makes_them_differ() {
        for length in [1, 4, 12, 16, 24, 32, 35] {
            let value: Vec<u8> = (0..length).collect();
            assert!(same(&value, &value));
            for bit in 0..usize::from(length) * 8 {
                let mut other = value.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!same(&value, &other), "bit {bit} of {length} bytes");
                if let (Ok(a), Ok(b)) = (value[..].try_into(), other[..].try_into()) {
                    assert!(!same16(a, b));
                }
            }
        }
        assert!(!same(&[1, 2], &[1]));
    }
}
