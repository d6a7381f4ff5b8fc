//! The flow hash: which member of a group a packet takes, and its outer flow label.
//!
//! Over addresses and protocol, and ports where the packet shows them. All fragments of a datagram
//! hash alike only by addresses, so a fragment never reads ports.

use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::protocol;

/// The hash of an IPv4 packet at layer 3; 0 when it has no full header.
#[inline]
pub(crate) fn hash_v4(l3: &[u8]) -> u32 {
    let Some(header) = Ipv4Header::view(l3) else { return 0 };
    let addresses = (u64::from(header.src.get()) << 32) | u64::from(header.dst.get());
    let ports = if header.is_fragment() { 0 } else { ports(l3, header.header_len(), header.protocol) };
    fold(addresses, ports, header.protocol)
}

/// The hash of an IPv6 packet at layer 3; 0 when it has no full header.
#[inline]
pub(crate) fn hash_v6(l3: &[u8]) -> u32 {
    let Some(header) = Ipv6Header::view(l3) else { return 0 };
    let (src, dst) = (header.src.get(), header.dst.get());
    let addresses = mix(src as u64 ^ mix((src >> 64) as u64)) ^ mix(dst as u64 ^ mix((dst >> 64) as u64 ^ 1));
    match ipv6::transport(l3) {
        Some(t) if t.fragment.is_none() => fold(addresses, ports(l3, t.offset, t.protocol), t.protocol),
        _ => fold(addresses, 0, 0),
    }
}

#[inline]
fn ports(l3: &[u8], offset: usize, protocol: u8) -> u32 {
    match protocol {
        protocol::TCP | protocol::UDP => {
            l3.get(offset..).and_then(|l4| l4.first_chunk()).map_or(0, |ports| u32::from_ne_bytes(*ports))
        }
        _ => 0,
    }
}

#[inline]
fn fold(addresses: u64, ports: u32, protocol: u8) -> u32 {
    (mix(addresses ^ mix((u64::from(ports) << 8) | u64::from(protocol))) >> 32) as u32
}

/// Folded multiply by an odd constant.
#[inline]
fn mix(x: u64) -> u64 {
    let product = u128::from(x ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    product as u64 ^ (product >> 64) as u64
}
