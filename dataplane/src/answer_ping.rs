//! Our own address inside a tunnel answers ping (RFC 792, 4443), so that a customer can tell that the
//! tunnel works, and answers to our health probes end there. Nothing else is served. The reply is made in place
//! and routed in the tenant's table.

use crate::burst::{Meta, Next};
use crate::drop_reason::DropReason;
use crate::forward::ORIGIN_TTL;
use crate::frame::{Buffer, Driver};
use crate::pipeline::Pipeline;
use crate::probe;
use crate::tables::Snapshot;
use crate::wire::icmp::{self, IcmpHeader};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::{checksum, protocol};

impl<D: Driver> Pipeline<D> {
    /// Empties the tunnel address lane into the route lanes.
    #[inline(always)]
    pub(crate) fn answer_ping(&mut self, tables: &Snapshot) {
        if !self.lanes.is_empty(Next::TunnelAddress) {
            self.each(Next::TunnelAddress, |packet, meta, cx| match answer(packet, meta) {
                Some(next) => Ok(next),
                None => {
                    probe::note_answer(packet, meta, cx, tables).unwrap_or(Err(DropReason::TunnelAddress))
                }
            });
        }
    }
}

#[inline(never)]
fn answer<B: Buffer>(packet: &mut B, meta: &mut Meta) -> Option<Next> {
    if meta.v6 { answer_v6(packet.data_mut()) } else { answer_v4(packet.data_mut(), meta) }
}

fn answer_v4(l3: &mut [u8], meta: &mut Meta) -> Option<Next> {
    let header = Ipv4Header::view_mut(l3)?;
    if header.protocol != protocol::ICMP || header.is_fragment() {
        return None;
    }
    let len = header.header_len();
    (header.src, header.dst) = (header.dst, header.src);
    meta.dst_v4 = header.dst.get();
    header.ttl = ORIGIN_TTL;
    header.fill_checksum();
    echo_reply(l3.get_mut(len..)?, icmp::V4_ECHO_REQUEST, icmp::V4_ECHO_REPLY)?;
    Some(Next::RouteV4)
}

fn answer_v6(l3: &mut [u8]) -> Option<Next> {
    let header = Ipv6Header::view_mut(l3)?;
    if header.next_header != protocol::ICMPV6 {
        return None;
    }
    (header.src, header.dst) = (header.dst, header.src);
    header.hop_limit = ORIGIN_TTL;
    // The pseudo header's sum does not change when source and destination are swapped.
    echo_reply(l3.get_mut(Ipv6Header::LEN..)?, icmp::V6_ECHO_REQUEST, icmp::V6_ECHO_REPLY)?;
    Some(Next::RouteV6)
}

fn echo_reply(l4: &mut [u8], request: u8, reply: u8) -> Option<()> {
    let header = IcmpHeader::view(l4)?;
    if header.kind != request || header.code != 0 {
        return None;
    }
    let sum = checksum::update16(header.checksum.get(), u16::from(request) << 8, u16::from(reply) << 8);
    *l4.get_mut(0)? = reply;
    l4.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}
