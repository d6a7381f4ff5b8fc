//! Explicit congestion notification through a tunnel (RFC 6040).
//!
//! Going in, the outer header takes the inner codepoint (normal mode, 4.1). Coming out, the two are combined
//! by the table of 4.2: congestion seen on the way is told to an inner packet that understands it, and a
//! packet that does not is dropped, because loss is the only signal its sender knows.

/// Not ECN-capable.
pub const NOT_ECT: u8 = 0b00;
/// ECN-capable, codepoint 1.
pub const ECT_1: u8 = 0b01;
/// ECN-capable, codepoint 0.
pub const ECT_0: u8 = 0b10;
/// Congestion experienced.
pub const CE: u8 = 0b11;

/// The packet must be dropped: congestion was marked outside, and the inner packet cannot carry the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcnDrop;

/// The outer codepoint for an inner one, in normal mode (RFC 6040 4.1).
#[inline(always)]
pub const fn encap(inner: u8) -> u8 {
    inner & 0b11
}

const DROP: u8 = 0xff;

/// RFC 6040 4.2, figure 4, as `[inner][outer]`.
const DECAP: [[u8; 4]; 4] = [
    // outer: Not-ECT, ECT(1), ECT(0), CE
    [NOT_ECT, NOT_ECT, NOT_ECT, DROP],
    [ECT_1, ECT_1, ECT_1, CE],
    [ECT_0, ECT_1, ECT_0, CE],
    [CE, CE, CE, CE],
];

/// The inner codepoint after decapsulation, from the two low bits of each argument.
#[inline(always)]
pub const fn decap(inner: u8, outer: u8) -> Result<u8, EcnDrop> {
    match DECAP[(inner & 0b11) as usize][(outer & 0b11) as usize] {
        DROP => Err(EcnDrop),
        ecn => Ok(ecn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encapsulation_copies() {
        for ecn in [NOT_ECT, ECT_1, ECT_0, CE] {
            assert_eq!(encap(0b1011_1000 | ecn), ecn);
        }
    }

    #[test]
    fn decapsulation_follows_rfc_6040_figure_4() {
        let figure = [
            (NOT_ECT, [Ok(NOT_ECT), Ok(NOT_ECT), Ok(NOT_ECT), Err(EcnDrop)]),
            (ECT_0, [Ok(ECT_0), Ok(ECT_0), Ok(ECT_1), Ok(CE)]),
            (ECT_1, [Ok(ECT_1), Ok(ECT_1), Ok(ECT_1), Ok(CE)]),
            (CE, [Ok(CE), Ok(CE), Ok(CE), Ok(CE)]),
        ];
        for (inner, row) in figure {
            for (outer, expected) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                assert_eq!(decap(inner, outer), expected, "inner {inner:02b} outer {outer:02b}");
                assert_eq!(decap(inner | 0xb8, outer | 0x28), expected, "DSCP bits must not matter");
            }
        }
    }
}
