//! The explicit IV of one packet (RFC 4106 section 3.1).

/// Eight bytes that are used once under a key. Not `Clone`: whoever seals with it has consumed it.
pub struct Iv(u64);

impl Iv {
    /// The IV with this number.
    #[cfg_attr(not(test), expect(dead_code, reason = "the senders that give IVs out come with it"))]
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    /// As it stands on the wire.
    pub const fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}
