//! From a frame to an IP packet at layer 3: whose frame is it, which interface, is the header sound.
//!
//! Removes the layer 2 header and trailing padding. What is not IP, or is sent to a group, goes to
//! the kernel as it came. Looks at no table but the interfaces.

use crate::burst::{Lane, Meta, Next};
use crate::drop_reason::DropReason;
use crate::frame::{BURST, Buffer, Driver};
use crate::ids::{InterfaceId, PortId, VrfId};
use crate::pipeline::Pipeline;
use crate::tables::{Interfaces, Snapshot};
use crate::watch::{Step, Watch};
use crate::wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, EthernetHeader, VlanTag};
use crate::wire::ipv4::{Ipv4Error, Ipv4Header, PlainV4};
use crate::wire::ipv6::{Ipv6Error, Ipv6Header};

/// Bytes that are joined when a header spans buffers: Ethernet, VLAN, IPv6, GRE and an inner header.
pub(crate) const PULL_UP: usize = 256;
/// Frames ahead whose first bytes are fetched.
const PREFETCH_AHEAD: usize = 4;
const MAC_MASK: u64 = 0xffff_ffff_ffff;

/// The interface of untagged frames, precomputed for a burst.
struct Ingress<'a> {
    port: PortId,
    /// Our MAC in the order of a little-endian load.
    mac: u64,
    /// What is known of an untagged IPv4 packet beforehand.
    meta: Meta,
    untagged: Option<(InterfaceId, VrfId)>,
    interfaces: &'a Interfaces,
}

impl<D: Driver> Pipeline<D> {
    /// Sorts the first `count` slots into the route lanes and the punt lane.
    #[inline(always)]
    pub(crate) fn classify(&mut self, count: usize, port: PortId, tables: &Snapshot) {
        let untagged = tables.interfaces.untagged(port);
        let interface = untagged.and_then(|id| tables.interfaces.get(id));
        let ingress = Ingress {
            port,
            // No frame's 48 bits equal all ones of 64.
            mac: interface.map_or(u64::MAX, |interface| mac_as_u64(interface.mac)),
            meta: untagged.zip(interface).map_or(Meta::EMPTY, |(id, interface)| {
                let mut meta = Meta::new(id, interface.vrf);
                meta.l2_len = EthernetHeader::LEN as u8;
                meta
            }),
            untagged: untagged.zip(interface.map(|interface| interface.vrf)),
            interfaces: &tables.interfaces,
        };
        self.sort(count, &ingress);
    }

    #[inline(never)]
    fn sort(&mut self, count: usize, ingress: &Ingress<'_>) {
        let mut plain = Lane::EMPTY;
        self.slots.iter().take(PREFETCH_AHEAD).flatten().for_each(Buffer::prefetch);
        for i in 0..count.min(BURST) {
            // Past the burst's end slots are empty, or hold what was fetched before.
            if let Some(frame) = &self.slots[(i + PREFETCH_AHEAD) % BURST] {
                frame.prefetch();
            }
            let Some(frame) = &mut self.slots[i] else { continue };
            if let Some(dst) = plain_v4(frame, ingress) {
                self.meta[i] = ingress.meta;
                self.meta[i].dst_v4 = dst;
                plain.push(i);
                continue;
            }
            match classify_frame(frame, &mut self.meta[i], ingress) {
                Ok(next) => self.lanes.push(next, i),
                Err(reason) => self.kill(i, reason),
            }
        }
        self.lanes.add(Next::RouteV4, plain);
        if let Some(watch) = self.cx.watch.recorder() {
            for (i, _) in self.slots.iter().take(count).enumerate().filter(|(_, slot)| slot.is_some()) {
                let (interface, vrf) = (InterfaceId(self.meta[i].interface), VrfId(self.meta[i].vrf));
                watch.note(i, Step::Classified { interface, vrf });
            }
        }
    }
}

/// What nearly every frame is: untagged, for us, IPv4 without options, and sound. Takes
/// its layer 2 header off and returns the destination. `None`, and nothing changed, when it is not,
/// for whatever reason.
#[inline(always)]
fn plain_v4<B: Buffer>(frame: &mut B, ingress: &Ingress<'_>) -> Option<u32> {
    const L2: usize = EthernetHeader::LEN;
    let start = frame.data().first_chunk::<{ L2 + Ipv4Header::LEN }>()?;
    if !is_to(start, ingress.mac) || u16::from_be_bytes([start[12], start[13]]) != ETHERTYPE_IPV4 {
        return None;
    }
    let header = PlainV4::parse(start.last_chunk()?, frame.total_len().wrapping_sub(L2))?;
    if is_invalid_source_v4(header.src) {
        return None;
    }
    frame.narrow(L2, usize::from(header.total_len)).then_some(header.dst)
}

/// Any other frame, and the reason where it goes nowhere.
#[inline(never)]
fn classify_frame<B: Buffer>(
    frame: &mut B,
    meta: &mut Meta,
    ingress: &Ingress<'_>,
) -> Result<Next, DropReason> {
    const L2: usize = EthernetHeader::LEN;
    if let Some((id, vrf)) = ingress.untagged
        && let Some(start) = frame.data().first_chunk::<L2>()
        && is_to(start, ingress.mac)
    {
        *meta = Meta::new(id, vrf);
        match u16::from_be_bytes([start[12], start[13]]) {
            ETHERTYPE_IPV4 => return ipv4(frame, meta, L2),
            ETHERTYPE_IPV6 => return ipv6(frame, meta, L2),
            _ => {}
        }
    }
    classify_other(frame, meta, ingress)
}

/// Frames with a VLAN tag, to a group, for another station, or of another protocol.
#[inline(never)]
fn classify_other<B: Buffer>(
    frame: &mut B,
    meta: &mut Meta,
    ingress: &Ingress<'_>,
) -> Result<Next, DropReason> {
    let header = EthernetHeader::parse(frame.data()).ok_or(DropReason::FrameTruncated)?;
    let (id, ethertype, l2_len) = if header.ethertype.get() == ETHERTYPE_VLAN {
        let tag = frame.data().get(EthernetHeader::LEN..).and_then(VlanTag::parse);
        let tag = tag.ok_or(DropReason::FrameTruncated)?;
        // VLAN 0 is a priority tag on an untagged frame (IEEE 802.1Q 6.9.1).
        let id = match tag.vid() {
            0 => ingress.untagged.map(|(id, _)| id),
            vid => ingress.interfaces.tagged(ingress.port, vid),
        };
        (id.ok_or(DropReason::VlanUnknown)?, tag.ethertype.get(), EthernetHeader::LEN + size_of::<VlanTag>())
    } else {
        let (id, _) = ingress.untagged.ok_or(DropReason::VlanUnknown)?;
        (id, header.ethertype.get(), EthernetHeader::LEN)
    };
    let interface = ingress.interfaces.get(id).ok_or(DropReason::VlanUnknown)?;
    *meta = Meta::new(id, interface.vrf);
    if header.to_group() {
        return Ok(Next::Punt);
    }
    if header.dst != interface.mac {
        return Err(DropReason::NotOurMac);
    }
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, meta, l2_len),
        ETHERTYPE_IPV6 => ipv6(frame, meta, l2_len),
        _ => Ok(Next::Punt),
    }
}

/// An IPv4 packet behind `l2_len` bytes, which are taken off.
#[inline(always)]
pub(crate) fn ipv4<B: Buffer>(frame: &mut B, meta: &mut Meta, l2_len: usize) -> Result<Next, DropReason> {
    let packet_len = frame.total_len().wrapping_sub(l2_len);
    let l3 = frame.data().get(l2_len..).unwrap_or_default();
    let header = match Ipv4Header::parse_first(l3, packet_len) {
        Ok(header) => header,
        Err(error) => return retry_joined(frame, meta, l2_len, ipv4_reason(error), ipv4),
    };
    if is_invalid_source_v4(header.src.get()) {
        return Err(DropReason::SourceInvalid);
    }
    let total_len = usize::from(header.total_len.get());
    meta.dst_v4 = header.dst.get();
    meta.l2_len = l2_len as u8;
    frame.narrow(l2_len, total_len);
    Ok(Next::RouteV4)
}

/// As `ipv4`.
#[inline(always)]
pub(crate) fn ipv6<B: Buffer>(frame: &mut B, meta: &mut Meta, l2_len: usize) -> Result<Next, DropReason> {
    let packet_len = frame.total_len().wrapping_sub(l2_len);
    let l3 = frame.data().get(l2_len..).unwrap_or_default();
    let header = match Ipv6Header::parse_first(l3, packet_len) {
        Ok(header) => header,
        Err(error) => return retry_joined(frame, meta, l2_len, ipv6_reason(error), ipv6),
    };
    if is_invalid_source_v6(header.src.get()) {
        return Err(DropReason::SourceInvalid);
    }
    let total_len = header.packet_len();
    meta.v6 = true;
    meta.l2_len = l2_len as u8;
    frame.narrow(l2_len, total_len);
    Ok(Next::RouteV6)
}

/// A header that does not parse may only be split over buffers: join them and try once more.
#[inline(never)]
fn retry_joined<B: Buffer>(
    frame: &mut B,
    meta: &mut Meta,
    l2_len: usize,
    reason: DropReason,
    parse: fn(&mut B, &mut Meta, usize) -> Result<Next, DropReason>,
) -> Result<Next, DropReason> {
    if frame.is_contiguous() || frame.data().len() >= PULL_UP.min(frame.total_len()) {
        return Err(reason);
    }
    if !frame.pull_up(PULL_UP) {
        return Err(DropReason::HeaderSplit);
    }
    parse(frame, meta, l2_len)
}

pub(crate) fn ipv4_reason(error: Ipv4Error) -> DropReason {
    match error {
        Ipv4Error::Truncated => DropReason::FrameTruncated,
        Ipv4Error::Checksum => DropReason::Ipv4Checksum,
        _ => DropReason::Ipv4Header,
    }
}

pub(crate) fn ipv6_reason(error: Ipv6Error) -> DropReason {
    match error {
        Ipv6Error::Truncated => DropReason::FrameTruncated,
        _ => DropReason::Ipv6Header,
    }
}

/// Sources that no router forwards (RFC 1812 5.3.7): "this network", loopback, multicast and above.
#[inline(always)]
pub(crate) fn is_invalid_source_v4(src: u32) -> bool {
    let first = (src >> 24) as u8;
    // One comparison for 0 and for 224 and above.
    first == 127 || first.wrapping_sub(1) >= 223
}

/// Multicast, unspecified and loopback (RFC 4291 2.5.2, 2.5.3, 2.7). Neighbour discovery uses the
/// unspecified source only towards groups, which were punted before.
#[inline(always)]
pub(crate) fn is_invalid_source_v6(src: u128) -> bool {
    (src >> 120 == 0xff) | (src <= 1)
}

#[inline(always)]
fn is_to(frame: &[u8], mac: u64) -> bool {
    frame.first_chunk().is_some_and(|start| u64::from_le_bytes(*start) & MAC_MASK == mac)
}

fn mac_as_u64(mac: [u8; 6]) -> u64 {
    u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0])
}
