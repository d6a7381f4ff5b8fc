//! Messages of every shape.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;

use penstock_dataplane::esp::sa::Spi;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::ike::protocol::*;
use crate::secret::Secret;

fn ip(v6: bool) -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(move |bits| {
        if v6 { IpAddr::from(bits.to_be_bytes()) } else { IpAddr::from((bits as u32).to_be_bytes()) }
    })
}

fn ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let end = |v6| (ip(v6), any::<u16>()).prop_map(SocketAddr::from);
    any::<bool>().prop_flat_map(move |v6| (end(v6), end(v6)))
}

fn an_end() -> impl Strategy<Value = SocketAddr> {
    ends().prop_map(|(end, _)| end)
}

fn spi() -> impl Strategy<Value = Spi> {
    (Spi::FIRST.0..=u32::MAX).prop_map(Spi)
}

fn id() -> impl Strategy<Value = SaId> {
    (ends(), spi()).prop_map(|((src, dst), spi)| SaId { src, dst, spi })
}

fn secret(most: usize) -> impl Strategy<Value = Secret> {
    vec(any::<u8>(), 0..=most).prop_map(|bytes| Secret::new(Zeroizing::new(bytes.into())))
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß€]{0,64}"
}

fn selector() -> impl Strategy<Value = TrafficSelectorSpec> {
    let ports = prop_oneof![
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b))),
        Just((u16::MAX, 0))
    ];
    let range = any::<bool>().prop_flat_map(|v6| (ip(v6), ip(v6)));
    (any::<u8>(), ports, range).prop_map(|(protocol, (from_port, to_port), (a, b))| TrafficSelectorSpec {
        protocol,
        from_port,
        to_port,
        first: a.min(b),
        last: a.max(b),
    })
}

fn flags() -> impl Strategy<Value = SaFlags> {
    any::<[bool; 5]>().prop_map(|[inbound, initiator, encap, esn, update]| SaFlags {
        inbound,
        initiator,
        encap,
        esn,
        update,
    })
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::None, Mode::Transport, Mode::Tunnel, Mode::Beet, Mode::Pass, Mode::Drop])
}

fn lifetimes() -> impl Strategy<Value = Lifetimes> {
    let limit = || {
        any::<[u64; 2]>().prop_map(|[hard, soft]| Limit {
            hard: NonZeroU64::new(hard),
            soft: NonZeroU64::new(if soft % 3 == 0 { 0 } else { soft }),
        })
    };
    (limit(), limit(), limit()).prop_map(|(seconds, bytes, packets)| Lifetimes { seconds, bytes, packets })
}

/// An SA with keys and selectors of any number and length.
pub(crate) fn an_sa() -> impl Strategy<Value = AddSa> {
    let how = (flags(), any::<u32>(), mode(), any::<u32>(), lifetimes(), any::<u32>(), any::<u16>());
    let keys = (any::<u16>(), secret(100), any::<u16>(), secret(64));
    let inner = (vec(selector(), 0..5), vec(selector(), 0..5));
    (id(), how, keys, inner).prop_map(|(id, how, keys, (src_ts, dst_ts))| {
        let (flags, reqid, mode, replay_window, lifetimes, tfc, ipcomp) = how;
        let (encryption, key, integrity, auth_key) = keys;
        AddSa {
            id,
            flags,
            reqid,
            mode,
            encryption,
            key,
            integrity,
            auth_key,
            replay_window,
            lifetimes,
            tfc,
            ipcomp,
            src_ts,
            dst_ts,
        }
    })
}

fn update() -> impl Strategy<Value = UpdateSa> {
    (id(), ends(), any::<bool>(), any::<bool>(), any::<u32>()).prop_map(
        |(id, (src, dst), encap, new_encap, new_reqid)| UpdateSa {
            id,
            src,
            dst,
            encap,
            new_encap,
            new_reqid,
        },
    )
}

fn policy() -> impl Strategy<Value = PolicySpec> {
    let direction = prop::sample::select(vec![Direction::In, Direction::Out, Direction::Forward]);
    let action = prop::sample::select(vec![PolicyAction::Ipsec, PolicyAction::Pass, PolicyAction::Drop]);
    let what = (direction, action, mode(), any::<u32>(), option::of(spi()));
    (what, an_end(), an_end(), selector(), selector()).prop_map(
        |((direction, action, mode, reqid, spi), src, dst, src_ts, dst_ts)| PolicySpec {
            direction,
            action,
            mode,
            reqid,
            spi,
            src,
            dst,
            src_ts,
            dst_ts,
        },
    )
}

/// Any request.
pub(crate) fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (text(), text()).prop_map(|(charon, plugin)| Request::Hello(Hello { charon, plugin })),
        vec((any::<bool>(), id()).prop_map(|(inbound, id)| Installed { inbound, id }), 0..20)
            .prop_map(Request::Sync),
        ends().prop_map(|(src, dst)| Request::GetSpi(GetSpi { src, dst })),
        an_sa().prop_map(|sa| Request::AddSa(Box::new(sa))),
        update().prop_map(Request::UpdateSa),
        id().prop_map(Request::DelSa),
        id().prop_map(Request::QuerySa),
        Just(()).prop_map(|()| Request::FlushSas),
        policy().prop_map(Request::AddPolicy),
        policy().prop_map(Request::DelPolicy),
        Just(()).prop_map(|()| Request::FlushPolicies),
    ]
}

/// Any answer, and a type that it can be the answer to.
pub(super) fn any_answer() -> impl Strategy<Value = (Kind, Answer)> {
    let requests = || prop::sample::select(Kind::ALL[..11].to_vec());
    let empty = requests()
        .prop_filter("has a payload", |kind| !matches!(kind, Kind::Sync | Kind::GetSpi | Kind::QuerySa));
    let usage = (any::<u64>(), any::<u64>(), option::of(0..u64::MAX))
        .prop_map(|(bytes, packets, idle_s)| Usage { bytes, packets, idle_s });
    let code = prop::sample::select(ErrorCode::ALL.to_vec());
    prop_oneof![
        empty.prop_map(|kind| (kind, Answer::Done)),
        spi().prop_map(|spi| (Kind::GetSpi, Answer::Spi(spi))),
        usage.prop_map(|usage| (Kind::QuerySa, Answer::Usage(usage))),
        vec(id(), 0..20).prop_map(|ids| (Kind::Sync, Answer::Unknown(ids))),
        (requests(), code, text())
            .prop_map(|(kind, code, reason)| (kind, Answer::Refused(Refused { code, reason }))),
    ]
}

/// Any event.
pub(super) fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (id(), any::<bool>()).prop_map(|(id, hard)| Event::Expire { id, hard }),
        (id(), an_end()).prop_map(|(id, remote)| Event::Mapping { id, remote }),
    ]
}
