//! Datagrams in, fragments out.
//!
//! Every fragment is a copy in one buffer, with the pool's headroom in front: encapsulation follows.

use super::{IPV6_FRAGMENT_HEADER, IPV6_HEADER, Ipv4, be16, write_ipv4_checksum};
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;
use arrayvec::ArrayVec;
use dpdk_sys::{rte_mbuf, rte_mempool};
use std::ptr::NonNull;

/// Least MTU of IPv6 (RFC 8200, section 5).
const IPV6_MIN_MTU: u16 = 1280;

/// Why a packet was not fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// Not a valid packet of that IP version.
    #[error("not a valid IP packet")]
    Malformed,
    /// IPv4 with DF set.
    #[error("the packet must not be fragmented")]
    DontFragment,
    /// No room for 8 bytes of data behind the header (IPv4) or below 1280 (IPv6).
    #[error("the MTU is too small")]
    Mtu,
    /// More fragments than the burst has room for.
    #[error("more fragments than the burst has room for")]
    NoRoom,
    /// The pool is empty, or its buffers smaller than a fragment.
    #[error("no packet buffer is free")]
    NoBuffer,
}

type Fragmenter = unsafe extern "C" fn(
    *mut rte_mbuf,
    *mut *mut rte_mbuf,
    u16,
    u16,
    *mut rte_mempool,
    *mut rte_mempool,
) -> i32;

/// Cuts an IPv4 packet, whose data begin at its IPv4 header, into fragments of at most `mtu` bytes and adds
/// them to `out`. Options that belong into the first fragment only stay there (RFC 791). A packet that is a
/// fragment itself is cut further. Says how many; `packet` keeps its data.
///
/// # Errors
/// [`FragmentError`]; `out` is as it was.
pub fn fragment_v4<const N: usize>(
    packet: &mut Mbuf,
    mtu: u16,
    pool: &Mempool,
    out: &mut ArrayVec<Mbuf, N>,
) -> Result<usize, FragmentError> {
    let header = Ipv4::parse(packet.data(), packet.total_len()).ok_or(FragmentError::Malformed)?;
    if header.dont_fragment {
        return Err(FragmentError::DontFragment);
    }
    let payload = header.total_len - header.header_len;
    let room = room(mtu, header.header_len)?;
    if header.total_len > usize::from(u16::MAX) || !packet.truncate(header.total_len) {
        return Err(FragmentError::Malformed);
    }
    check_room(payload, room, mtu, pool, out.remaining_capacity())?;
    let first = out.len();
    if packet.is_contiguous() {
        copy_fragments(packet, mtu, pool, out)?;
    } else {
        indirect_fragments(packet, mtu, pool, dpdk_sys::rte_ipv4_fragment_packet, out)?;
    }
    for fragment in &mut out[first..] {
        fragment.inherit(packet);
        // The library leaves it at zero.
        write_ipv4_checksum(fragment.data_mut());
    }
    Ok(out.len() - first)
}

/// Cuts an IPv6 packet, whose data begin at its IPv6 header, into fragments of at most `mtu` bytes and adds
/// them to `out`. All that follows the IPv6 header is cut, so there must be no hop-by-hop or routing header.
/// `id` goes into the fragment headers; it must not repeat soon between the same two addresses. Says how
/// many; `packet` keeps its data.
///
/// # Errors
/// [`FragmentError`]; `out` is as it was.
pub fn fragment_v6<const N: usize>(
    packet: &mut Mbuf,
    mtu: u16,
    id: u32,
    pool: &Mempool,
    out: &mut ArrayVec<Mbuf, N>,
) -> Result<usize, FragmentError> {
    let data = packet.data();
    if data.len() < IPV6_HEADER || data[0] >> 4 != 6 {
        return Err(FragmentError::Malformed);
    }
    let payload = usize::from(be16(data, 4));
    if !packet.truncate(IPV6_HEADER + payload) {
        return Err(FragmentError::Malformed);
    }
    if mtu < IPV6_MIN_MTU {
        return Err(FragmentError::Mtu);
    }
    let room = room(mtu, IPV6_HEADER + IPV6_FRAGMENT_HEADER)?;
    check_room(payload, room, mtu, pool, out.remaining_capacity())?;
    let first = out.len();
    indirect_fragments(packet, mtu, pool, dpdk_sys::rte_ipv6_fragment_packet, out)?;
    for fragment in &mut out[first..] {
        fragment.inherit(packet);
        // The library leaves it at zero.
        if let Some(field) = fragment.data_mut().get_mut(IPV6_HEADER + 4..IPV6_HEADER + IPV6_FRAGMENT_HEADER)
        {
            field.copy_from_slice(&id.to_be_bytes());
        }
    }
    Ok(out.len() - first)
}

/// Bytes of payload in each fragment but the last.
fn room(mtu: u16, headers: usize) -> Result<usize, FragmentError> {
    match usize::from(mtu).saturating_sub(headers) & !7 {
        0 => Err(FragmentError::Mtu),
        room => Ok(room),
    }
}

/// Tells the reasons apart that the library returns as one number.
fn check_room(
    payload: usize,
    room: usize,
    mtu: u16,
    pool: &Mempool,
    slots: usize,
) -> Result<(), FragmentError> {
    if payload == 0 {
        return Err(FragmentError::Malformed);
    }
    if mtu > pool.data_room() {
        return Err(FragmentError::NoBuffer);
    }
    if payload.div_ceil(room) > slots { Err(FragmentError::NoRoom) } else { Ok(()) }
}

fn slots<const N: usize>(out: &ArrayVec<Mbuf, N>) -> u16 {
    out.remaining_capacity().min(usize::from(u16::MAX)) as u16
}

/// From one buffer: the library copies.
fn copy_fragments<const N: usize>(
    packet: &Mbuf,
    mtu: u16,
    pool: &Mempool,
    out: &mut ArrayVec<Mbuf, N>,
) -> Result<(), FragmentError> {
    let len = out.len();
    // SAFETY: a valid packet of one segment, which is only read; the slots are inside the ArrayVec; the
    // library fills `made` of them with fresh packets of one owner, or none and returns an error.
    unsafe {
        let to = out.as_mut_ptr().add(len).cast();
        let made = dpdk_sys::rte_ipv4_fragment_copy_nonseg_packet(
            packet.as_ptr(),
            to,
            slots(out),
            mtu,
            pool.as_ptr(),
        );
        let made = usize::try_from(made).map_err(|_| FragmentError::NoBuffer)?;
        out.set_len(len + made);
    }
    Ok(())
}

/// From a chain: the library makes fragments that refer to the packet's buffers; each is then copied.
fn indirect_fragments<const N: usize>(
    packet: &Mbuf,
    mtu: u16,
    pool: &Mempool,
    fragment: Fragmenter,
    out: &mut ArrayVec<Mbuf, N>,
) -> Result<(), FragmentError> {
    let mut referring = ArrayVec::<Mbuf, N>::new();
    // SAFETY: a valid packet, whose buffers only get another reference; the slots are inside the ArrayVec; the
    // library fills `made` of them with fresh packets of one owner, or none and returns an error. Header and
    // referring buffers can be of one pool.
    unsafe {
        let to = referring.as_mut_ptr().cast();
        let made = fragment(packet.as_ptr(), to, slots(out), mtu, pool.as_ptr(), pool.as_ptr());
        let made = usize::try_from(made).map_err(|_| FragmentError::NoBuffer)?;
        referring.set_len(made);
    }
    let first = out.len();
    for fragment in &referring {
        match fragment.copy(pool) {
            Some(copy) => out.push(copy),
            None => {
                out.truncate(first);
                return Err(FragmentError::NoBuffer);
            }
        }
    }
    Ok(())
}

// The library takes the raw pointer type of an owner.
const _: () = assert!(size_of::<Mbuf>() == size_of::<NonNull<rte_mbuf>>());
