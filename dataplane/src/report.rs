//! Packets that cannot go on: too big, out of hops, nowhere to go. The sender is told by ICMP within
//! the worker's budget; what may be fragmented is.

use arrayvec::ArrayVec;

use crate::burst::{Meta, Next};
use crate::drop_reason::DropReason;
use crate::forward::ORIGIN_TTL;
use crate::frame::{Buffer, Driver, Fragmentation, MAX_FRAGMENTS, Pool};
use crate::icmp::{v4, v6};
use crate::ids::{InterfaceId, VrfId};
use crate::pipeline::{Context, Pipeline};
use crate::tables::Snapshot;
use crate::tables::tunnel::MIN_PATH_MTU_V6;
use crate::watch::{End, Origin, Watch};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;

/// Longest ICMP error: 1280 bytes over IPv6 (RFC 4443 2.4).
const MAX_ERROR: usize = 1280;

/// What the sender is told, in both families' terms.
#[derive(Clone, Copy)]
enum Report {
    TimeExceeded,
    Unreachable,
    TooBig(u16),
}

impl<D: Driver> Pipeline<D> {
    /// Empties the lanes of packets that go no further as they are.
    #[inline(always)]
    pub(crate) fn report_exceptions(&mut self, tables: &Snapshot) {
        const EXCEPTIONS: [Next; 5] =
            [Next::NoRoute, Next::Blackhole, Next::Unreachable, Next::TooBig, Next::Expired];
        if EXCEPTIONS.iter().any(|lane| !self.lanes.is_empty(*lane)) {
            self.exceptions(tables);
        }
    }

    #[inline(never)]
    fn exceptions(&mut self, tables: &Snapshot) {
        self.each(Next::Blackhole, |_, _, _| Err(DropReason::Blackhole));
        self.each(Next::NoRoute, |packet, meta, cx| {
            report(packet, meta, cx, tables, Report::Unreachable);
            Err(DropReason::NoRoute)
        });
        self.each(Next::Unreachable, |packet, meta, cx| {
            report(packet, meta, cx, tables, Report::Unreachable);
            Err(DropReason::Unreachable)
        });
        self.each(Next::Expired, |packet, meta, cx| {
            report(packet, meta, cx, tables, Report::TimeExceeded);
            Err(DropReason::TtlExpired)
        });
        self.each(Next::TooBig, |packet, meta, cx| {
            if may_fragment(packet, meta) {
                return Ok(Next::TooBig);
            }
            report(packet, meta, cx, tables, Report::TooBig(meta.limit));
            Err(DropReason::TooBig)
        });
        // What is left may be cut: before encapsulation (RFC 7588), and each piece takes the same hop.
        self.each_taken(Next::TooBig, |this, i, packet| {
            let meta = this.meta[i];
            let next = if meta.into_tunnel { Next::Encap } else { Next::Forward };
            this.cut(i, packet, meta.limit, meta, next);
        });
    }

    /// Cuts encapsulated packets to the size of the underlay's link.
    #[inline(always)]
    pub(crate) fn fragment_outer(&mut self, tables: &Snapshot) {
        if self.lanes.is_empty(Next::FragmentOuter) {
            return;
        }
        self.each_taken(Next::FragmentOuter, |this, i, packet| {
            let meta = this.meta[i];
            let link = tables.adjacencies.get(meta.slot as usize).map_or(meta.limit, |a| a.mtu);
            this.cut(i, packet, meta.limit.min(link), meta, Next::Egress);
        });
    }

    fn cut(&mut self, i: usize, packet: D::Buffer, mtu: u16, meta: Meta, next: Next) {
        let mut pieces = ArrayVec::<D::Buffer, MAX_FRAGMENTS>::new();
        let is_cut = self.cx.fragmentation.fragment(packet, usize::from(mtu), &mut pieces);
        let is_cut = is_cut && !pieces.is_empty();
        if let Some(watch) = self.cx.watch.recorder() {
            let end = if is_cut {
                End::Cut { pieces: pieces.len() as u8, mtu }
            } else {
                End::Dropped(DropReason::FragmentFailed)
            };
            watch.end(i, end, D::now());
        }
        if !is_cut {
            self.cx.stats.drop_add(DropReason::FragmentFailed, 1);
            return;
        }
        self.cx.stats.generated.add(pieces.len() as u64 - 1);
        for piece in pieces {
            if let Err(piece) = self.cx.defer(piece, meta, next) {
                self.cx.stats.drop_add(DropReason::FragmentFailed, 1);
                if let Some(watch) = self.cx.watch.recorder() {
                    watch.lose(&piece, Origin::Piece, DropReason::FragmentFailed, D::now());
                }
            }
        }
    }
}

fn may_fragment<B: Buffer>(packet: &B, meta: &Meta) -> bool {
    !meta.v6 && Ipv4Header::view(packet.data()).is_some_and(|header| !header.dont_fragment())
}

/// Sends an ICMP error to the packet's source, routed in the table of where it came from.
fn report<D: Driver>(
    packet: &D::Buffer,
    meta: &Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
    report: Report,
) {
    let mut error = [0u8; MAX_ERROR];
    let written = if meta.v6 {
        write_v6(packet.data(), meta, tables, report, &mut error)
    } else {
        write_v4(packet.data(), meta, tables, report, &mut error)
    };
    // Where the RFCs forbid an error, none is owed and no budget is spent.
    let Some((len, dst_v4)) = written else { return };
    set_origin_ttl(&mut error, meta.v6);
    if !cx.icmp_budget.take() {
        cx.stats.icmp_suppressed.add(1);
        return;
    }
    let Some(message) = error.get(..len).and_then(|bytes| cx.pool.copy_of(bytes)) else {
        cx.stats.icmp_suppressed.add(1);
        return;
    };
    let mut back = Meta::new(InterfaceId(meta.interface), VrfId(meta.vrf));
    back.v6 = meta.v6;
    back.dst_v4 = dst_v4;
    let next = if meta.v6 { Next::RouteV6 } else { Next::RouteV4 };
    if cx.defer(message, back, next).is_ok() {
        cx.stats.generated.add(1);
        cx.stats.icmp_sent.add(1);
    }
}

fn set_origin_ttl(l3: &mut [u8], v6: bool) {
    if v6 {
        if let Some(header) = Ipv6Header::view_mut(l3) {
            header.hop_limit = ORIGIN_TTL;
        }
    } else if let Some(header) = Ipv4Header::view_mut(l3) {
        header.ttl = ORIGIN_TTL;
        header.fill_checksum();
    }
}

/// Our address towards the sender: of the tunnel it came out of, else of the interface, else of any.
fn reporter<A: Copy + Default + PartialEq>(
    meta: &Meta,
    tables: &Snapshot,
    of_tunnel: impl Fn(&crate::tables::Tunnel) -> A,
    of_interface: impl Fn(&crate::tables::Interface) -> A,
) -> Option<A> {
    let none = A::default();
    meta.tunnel_in()
        .and_then(|id| tables.tunnels.get(id.index()))
        .map(of_tunnel)
        .filter(|address| *address != none)
        .or_else(|| {
            tables.interfaces.get(InterfaceId(meta.interface)).map(&of_interface).filter(|a| *a != none)
        })
        .or_else(|| tables.interfaces.iter().map(|(_, i)| of_interface(i)).find(|a| *a != none))
}

fn write_v4(
    l3: &[u8],
    meta: &Meta,
    tables: &Snapshot,
    report: Report,
    out: &mut [u8],
) -> Option<(usize, u32)> {
    let error = match report {
        Report::TimeExceeded => v4::Error::TimeExceeded,
        Report::Unreachable => v4::Error::NetUnreachable,
        Report::TooBig(mtu) => v4::Error::FragmentationNeeded { mtu },
    };
    let from = reporter(meta, tables, |tunnel| tunnel.address_v4, |interface| interface.address_v4)?;
    let len = v4::write(out, error, from, l3, false)?;
    Some((len, Ipv4Header::view(l3)?.src.get()))
}

fn write_v6(
    l3: &[u8],
    meta: &Meta,
    tables: &Snapshot,
    report: Report,
    out: &mut [u8],
) -> Option<(usize, u32)> {
    let error = match report {
        Report::TimeExceeded => v6::Error::TimeExceeded,
        Report::Unreachable => v6::Error::NoRoute,
        Report::TooBig(mtu) => v6::Error::PacketTooBig { mtu: u32::from(mtu.max(MIN_PATH_MTU_V6)) },
    };
    let from = reporter(meta, tables, |tunnel| tunnel.address_v6, |interface| interface.address_v6)?;
    let len = v6::write(out, error, from, l3, false)?;
    Some((len, 0))
}
