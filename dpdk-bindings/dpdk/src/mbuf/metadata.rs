//! What the device said about a packet, and hints to the processor.

use super::{Mbuf, start};

/// What the device found of the IPv4 header checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpChecksum {
    /// Not looked at.
    Unknown,
    /// Right.
    Good,
    /// Wrong.
    Bad,
}

impl Mbuf {
    /// Port that received the packet.
    #[inline(always)]
    #[must_use]
    pub fn port(&self) -> u16 {
        self.head().port
    }

    /// Names the port that received the packet.
    #[inline(always)]
    pub fn set_port(&mut self, port: u16) {
        self.head_mut().port = port;
    }

    /// All flags, as DPDK defines them.
    #[inline(always)]
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.head().ol_flags
    }

    /// What the device found of the IPv4 header checksum.
    #[inline(always)]
    #[must_use]
    pub fn ip_checksum(&self) -> IpChecksum {
        match self.flags() & dpdk_sys::PENSTOCK_RX_IP_CKSUM_MASK {
            dpdk_sys::PENSTOCK_RX_IP_CKSUM_GOOD => IpChecksum::Good,
            dpdk_sys::PENSTOCK_RX_IP_CKSUM_BAD => IpChecksum::Bad,
            _ => IpChecksum::Unknown,
        }
    }

    /// Hash that the device computed over the packet's flow.
    #[inline(always)]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        (self.flags() & dpdk_sys::PENSTOCK_RX_RSS_HASH != 0).then(|| self.head().hash_rss)
    }

    /// VLAN tag that the device took off the packet.
    #[inline(always)]
    #[must_use]
    pub fn stripped_vlan(&self) -> Option<u16> {
        (self.flags() & dpdk_sys::PENSTOCK_RX_VLAN_STRIPPED != 0).then(|| self.head().vlan_tci)
    }

    /// Tells the processor to fetch the buffer's header.
    #[inline(always)]
    pub fn prefetch_header(&self) {
        prefetch(self.raw.as_ptr().cast());
    }

    /// Tells the processor to fetch the first bytes. Reads the header.
    #[inline(always)]
    pub fn prefetch_data(&self) {
        prefetch(start(self.head()));
    }

    /// Takes over port and flow hash, which a fragment inherits.
    pub(crate) fn inherit(&mut self, from: &Self) {
        let source = from.head();
        let (port, hash) = (source.port, source.hash_rss);
        let flags = source.ol_flags & dpdk_sys::PENSTOCK_RX_RSS_HASH;
        let head = self.head_mut();
        head.port = port;
        head.hash_rss = hash;
        head.ol_flags = flags;
    }
}

#[inline(always)]
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint, for any address; SSE is part of x86-64.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
