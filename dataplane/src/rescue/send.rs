//! To the owner: within the budgets, in a new outer packet, by the underlay's way to that node.
//!
//! The new packet may be cut by anybody on the way. It has no UDP checksum, over IPv6 either (RFC 6935): what is inside
//! has its own. Its ECN field is "not capable" (RFC 6040 4.3), so that no mark can be lost where it is taken off.

use std::net::IpAddr;

use zerocopy::IntoBytes;

use crate::budget::Budget;
use crate::burst::{Meta, Next};
use crate::drop_reason::DropReason;
use crate::flow;
use crate::frame::{Buffer, Driver};
use crate::ids::EndpointId;
use crate::ike::{self, Arrival};
use crate::pipeline::{Context, Onward, Pipeline};
use crate::route::underlay;
use crate::tables::tunnel::DEFAULT_TTL;
use crate::tables::{Adjacency, Fleet, Limits, Snapshot};
use crate::terminate::is_from_remote;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::protocol;
use crate::wire::rescue::RescueHeader;
use crate::wire::udp::UdpHeader;

/// Between the outer IP header and the packet.
const AROUND: usize = UdpHeader::LEN + RescueHeader::LEN;
const BLOCK: usize = Ipv6Header::LEN + AROUND;
/// The first port that nobody is registered for, and how many there are (RFC 6335 6).
const FIRST_SOURCE_PORT: u16 = 0xc000;
const SOURCE_PORTS: u16 = 0x4000;
/// Of a second: what may come at once.
const AT_ONCE: u32 = 20;
const DSCP_MASK: u8 = 0xfc;

/// How much ESP a worker hands to other nodes. IKE has its own budgets.
///
/// Whoever invents SPIs may let any node be their owner; whoever also invents a customer's address has to know it.
#[derive(Debug)]
pub(crate) struct RescueBudget {
    remotes: Budget,
    strangers: Budget,
}

impl RescueBudget {
    pub fn new(limits: &Limits, hz: u64, now: u64) -> Self {
        let budget = |rate: u32| Budget::new(rate, rate.div_ceil(AT_ONCE), hz, now);
        Self { remotes: budget(limits.rescue_rate), strangers: budget(limits.rescue_rate_strangers) }
    }

    fn take(&mut self, is_remote: bool, now: u64) -> bool {
        let budget = if is_remote { &mut self.remotes } else { &mut self.strangers };
        budget.refill(now);
        budget.take()
    }
}

impl<D: Driver> Pipeline<D> {
    /// Empties the rescue lane.
    #[inline(always)]
    pub(crate) fn rescue(&mut self, tables: &Snapshot) {
        if !self.lanes.is_empty(Next::Rescue) {
            self.hand_to_owners(tables);
        }
    }

    #[inline(never)]
    fn hand_to_owners(&mut self, tables: &Snapshot) {
        self.each_leaving(Next::Rescue, tables, |packet, meta, cx| hand_over(packet, meta, cx, tables));
    }
}

fn hand_over<'a, D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &'a Snapshot,
) -> Result<Onward<&'a Adjacency>, DropReason> {
    // 1. The way to the owner.
    let number = meta.found as u16;
    let fleet = tables.fleet().ok_or(DropReason::RescueUnreachable)?;
    let owner = fleet.node(number).ok_or(DropReason::RescueUnreachable)?;
    let way = underlay(owner.underlay, packet, meta, tables).map_err(|_| DropReason::RescueUnreachable)?;
    let adjacency = tables.adjacencies.get(way as usize).ok_or(DropReason::RescueUnreachable)?;
    // 2. Within the budgets.
    admit(packet, meta, cx, tables)?;
    // 3. The new headers.
    wrap(packet, meta, fleet, owner.address, &mut cx.next_ip_id)?;
    meta.slot = way;
    if let Some(counters) = cx.stats.node(number) {
        counters.rescued_out.add(1);
    }
    if packet.total_len() > usize::from(adjacency.mtu) {
        meta.limit = adjacency.mtu;
        return Ok(Onward::Lane(Next::FragmentOuter));
    }
    Ok(Onward::Leave(adjacency))
}

/// IKE takes from this node's budgets for IKE, as if it were for this one: otherwise an invented SPI would be a way
/// around them.
fn admit<D: Driver>(
    packet: &D::Buffer,
    meta: &Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
) -> Result<(), DropReason> {
    let (l3, v6, endpoint) = (packet.data(), meta.v6, EndpointId(meta.slot as u16));
    if let Some(message) = ike::message(l3, v6) {
        let arrival = Arrival { message, l3, v6, to: Some(endpoint), rescued: false };
        return cx.ike_budget.admit(&arrival, tables, cx.now).map(|_| ());
    }
    let is_remote = is_from_remote(l3, v6, endpoint, tables);
    if cx.rescue_budget.take(is_remote, cx.now) { Ok(()) } else { Err(DropReason::RescueRate) }
}

/// Puts the headers in front of the packet.
fn wrap<B: Buffer>(
    packet: &mut B,
    meta: &mut Meta,
    fleet: &Fleet,
    to: IpAddr,
    next_ip_id: &mut u16,
) -> Result<(), DropReason> {
    let l3 = packet.data();
    let (flow, tos) = if meta.v6 {
        (flow::hash_v6(l3), Ipv6Header::view(l3).map_or(0, Ipv6Header::traffic_class))
    } else {
        (flow::hash_v4(l3), Ipv4Header::view(l3).map_or(0, |header| header.tos))
    };
    let tos = tos & DSCP_MASK;
    // Longer than an IP packet can be: no way to cut it either.
    let udp_len = u16::try_from(packet.total_len() + AROUND).map_err(|_| DropReason::FragmentFailed)?;
    let udp = UdpHeader {
        src_port: (FIRST_SOURCE_PORT + flow as u16 % SOURCE_PORTS).into(),
        dst_port: fleet.port().into(),
        len: udp_len.into(),
        checksum: 0.into(),
    };
    let mut block = [0; BLOCK];
    let (ip, around) = block.split_at_mut(Ipv6Header::LEN);
    around[..UdpHeader::LEN].copy_from_slice(udp.as_bytes());
    around[UdpHeader::LEN..].copy_from_slice(RescueHeader::new(fleet.current_token()).as_bytes());
    let ip_len = match (fleet.address(), to) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total_len = udp_len.checked_add(Ipv4Header::LEN as u16).ok_or(DropReason::FragmentFailed)?;
            let mut header = Ipv4Header {
                version_ihl: 0x45,
                tos,
                total_len: total_len.into(),
                id: (*next_ip_id).into(),
                flags_fragment: 0.into(),
                ttl: DEFAULT_TTL,
                protocol: protocol::UDP,
                checksum: 0.into(),
                src: u32::from(src).into(),
                dst: u32::from(dst).into(),
            };
            header.fill_checksum();
            *next_ip_id = next_ip_id.wrapping_add(1);
            ip[Ipv6Header::LEN - Ipv4Header::LEN..].copy_from_slice(header.as_bytes());
            Ipv4Header::LEN
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = Ipv6Header {
                vtc_flow: (0x6000_0000 | u32::from(tos) << 20 | flow & 0xf_ffff).into(),
                payload_len: udp_len.into(),
                next_header: protocol::UDP,
                hop_limit: DEFAULT_TTL,
                src: u128::from(src).into(),
                dst: u128::from(dst).into(),
            };
            ip.copy_from_slice(header.as_bytes());
            Ipv6Header::LEN
        }
        // Nodes whose data addresses are of different families cannot reach each other.
        _ => return Err(DropReason::RescueUnreachable),
    };
    if !packet.push_block(&block, ip_len + AROUND) {
        return Err(DropReason::NoHeadroom);
    }
    meta.v6 = to.is_ipv6();
    Ok(())
}
