//! Initialization vectors that no two packets share.
//!
//! Many cores on many machines encrypt under one key, and two packets with the same key and IV break AES-GCM.
//! So an IV is a sender ID and a counter (RFC 6054 section 2): 24 bits that are leased for one worker of one
//! process start, and 40 bits that this worker counts. [`Iv`] can only come from a [`Sender`], which owns a
//! [`Lease`], which only a [`LeaseStore`] grants: no lease, no encryption.
//!
//! The counter belongs to the lease, not to the SA: an SA that is taken out and put in again at the same
//! worker goes on where the worker is. Nothing here can be copied, built from parts, reset or turned back:
//!
//! ```compile_fail,E0451
//! # use penstock_dataplane::esp::iv::{Lease, SenderId};
//! let lease = Lease { id: SenderId::new(7).unwrap() }; // no lease from parts
//! ```
//! ```compile_fail,E0451
//! # use penstock_dataplane::esp::iv::{Lease, Sender};
//! fn rewind(lease: Lease) -> Sender {
//!     Sender { next: 1, end: 2, lease } // no counter from parts
//! }
//! ```
//! ```compile_fail,E0423
//! # use penstock_dataplane::esp::iv::Iv;
//! let iv = Iv(7); // no IV from a number
//! ```
//! ```compile_fail,E0277
//! # use penstock_dataplane::esp::iv::Iv;
//! let iv = Iv::from(7); // nor by conversion
//! ```
//! ```compile_fail,E0599
//! # use penstock_dataplane::esp::iv::Lease;
//! fn twice(lease: Lease) -> (Lease, Lease) {
//!     (lease.clone(), lease) // a lease is one
//! }
//! ```
//! ```compile_fail,E0382
//! # use penstock_dataplane::esp::iv::{Lease, Sender};
//! fn twice(lease: Lease) -> (Sender, Sender) {
//!     (Sender::new(lease), Sender::new(lease)) // and makes one sender
//! }
//! ```
//! ```compile_fail,E0599
//! # use penstock_dataplane::esp::iv::Sender;
//! fn twice(sender: Sender) -> (Sender, Sender) {
//!     (sender.clone(), sender) // whose counter is one
//! }
//! ```
//! ```compile_fail,E0616
//! # use penstock_dataplane::esp::iv::Sender;
//! fn rewind(sender: &mut Sender) {
//!     sender.next = 1; // and only goes up
//! }
//! ```
//! ```compile_fail,E0382
//! # use penstock_dataplane::esp::iv::Iv;
//! fn twice(iv: Iv) -> [[u8; 8]; 2] {
//!     [iv.to_be_bytes(), iv.to_be_bytes()] // each IV serves one packet
//! }
//! ```
//! ```compile_fail,E0599
//! # use penstock_dataplane::esp::iv::Iv;
//! fn twice(iv: Iv) -> (Iv, Iv) {
//!     (iv.clone(), iv)
//! }
//! ```

/// Bits of a sender ID.
const ID_BITS: u32 = 24;
/// Bits of a sender's counter: 15 hours at 20 million packets a second.
const COUNTER_BITS: u32 = 64 - ID_BITS;

/// Names one lease in all IVs that are made under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SenderId(u32);

impl SenderId {
    /// How many there are.
    pub const COUNT: u32 = 1 << ID_BITS;

    /// The ID of this number; `None` when it has more than 24 bits.
    pub const fn new(number: u32) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// The ID of the low 24 bits of a number.
    pub const fn from_low_bits(number: u64) -> Self {
        Self((number % Self::COUNT as u64) as u32)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for SenderId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where sender IDs come from. All of nonce safety rests on the implementation.
pub trait LeaseStore {
    /// Why there is no ID to be had.
    type Error;

    /// An ID that no start of any process was given while a key lives that is still in use, and that none
    /// will be given, whatever happens to this process or its disk: on stable storage before it returns.
    ///
    /// # Errors
    /// When that cannot be promised.
    fn next_sender(&mut self) -> Result<SenderId, Self::Error>;
}

/// The right of one worker to make IVs.
#[derive(Debug)]
pub struct Lease {
    id: SenderId,
}

impl Lease {
    /// Takes a lease that nobody else has.
    ///
    /// # Errors
    /// Those of the store.
    pub fn take<S: LeaseStore>(store: &mut S) -> Result<Self, S::Error> {
        store.next_sender().map(|id| Self { id })
    }

    /// The ID that it is for.
    pub fn id(&self) -> SenderId {
        self.id
    }
}

/// Makes the IVs of one worker, for all of its SAs.
#[derive(Debug)]
pub struct Sender {
    /// The IV that comes next: ID and counter.
    next: u64,
    /// The first that is not ours.
    end: u64,
    lease: Lease,
}

impl Sender {
    /// Starts to count under a lease. A worker whose counter runs low goes on with a new sender.
    pub fn new(lease: Lease) -> Self {
        let first = u64::from(lease.id.0) << COUNTER_BITS;
        // The last value is given up, so that the end of the last ID is a number too. So is zero: an IV is
        // never all zeros.
        Self { next: first + 1, end: first | ((1 << COUNTER_BITS) - 1), lease }
    }

    /// A sender whose lease has so many IVs left; those before are given up.
    #[cfg(test)]
    pub(crate) fn almost_used_up(lease: Lease, left: u64) -> Self {
        let mut sender = Self::new(lease);
        sender.next = sender.next.max(sender.end - left);
        sender
    }

    /// An IV that nobody else has; `None` for ever when the lease is used up.
    #[inline(always)]
    pub fn next_iv(&mut self) -> Option<Iv> {
        let iv = self.next;
        if iv == self.end {
            return None;
        }
        self.next = iv + 1;
        Some(Iv(iv))
    }

    /// The ID that it counts under.
    pub fn id(&self) -> SenderId {
        self.lease.id
    }

    /// How many IVs are left.
    pub fn remaining(&self) -> u64 {
        self.end - self.next
    }
}

/// The IV of one packet, unique under every key. Sealing consumes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Iv(u64);

impl Iv {
    /// As it stands in the packet (RFC 4106 section 3.1).
    #[inline(always)]
    pub fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The IV of a published vector.
    #[cfg(test)]
    pub(crate) fn of_vector(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::convert::Infallible;

    use super::*;

    /// Counts; good for the life of one test.
    struct Counting(u32);

    impl LeaseStore for Counting {
        type Error = Infallible;

        fn next_sender(&mut self) -> Result<SenderId, Infallible> {
            self.0 += 1;
            Ok(SenderId(self.0 - 1))
        }
    }

    fn sender(store: &mut Counting) -> Sender {
        Sender::new(Lease::take(store).unwrap())
    }

    #[test]
    fn an_iv_is_the_id_and_the_counter() {
        let mut sender = sender(&mut Counting(0x00ab_cdef));
        assert_eq!(sender.id().get(), 0x00ab_cdef);
        assert_eq!(sender.next_iv().unwrap().to_be_bytes(), [0xab, 0xcd, 0xef, 0, 0, 0, 0, 1]);
        assert_eq!(sender.next_iv(), Some(Iv::of_vector([0xab, 0xcd, 0xef, 0, 0, 0, 0, 2])));
    }

    #[test]
    fn an_id_has_24_bits() {
        assert_eq!(SenderId::new(0x00ff_ffff).map(SenderId::get), Some(0x00ff_ffff));
        assert_eq!(SenderId::new(0x0100_0000), None);
        assert_eq!(SenderId::from_low_bits(0x0765_4321_1234_5678).get(), 0x0034_5678);
    }

    #[test]
    fn a_lease_ends_before_it_wraps() {
        for id in [0, 1, SenderId::COUNT - 1] {
            let mut sender = sender(&mut Counting(id));
            assert_eq!(sender.remaining(), (1 << 40) - 2);
            sender.next += sender.remaining() - 1;
            assert_eq!(sender.remaining(), 1);
            let last = sender.next_iv().unwrap();
            assert_eq!(last.0 >> 40, u64::from(id));
            assert_eq!(last.0 & 0xff_ffff_ffff, (1 << 40) - 2);
            assert_eq!(sender.remaining(), 0);
            assert!((0..3).all(|_| sender.next_iv().is_none()), "stays at its end");
        }
    }

    #[test]
    fn senders_share_no_iv() {
        let mut store = Counting(0);
        let mut senders: Vec<_> = (0..16).map(|_| sender(&mut store)).collect();
        let mut seen = HashSet::new();
        for sender in &mut senders {
            assert!((0..1000).all(|_| seen.insert(sender.next_iv().unwrap().to_be_bytes())));
        }
    }
}
