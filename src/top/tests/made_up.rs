//! A gateway that is made up: five tunnels of two tenants, two workers, and numbers that go up in waves.

use std::time::Instant;

use penstock_control::api::{
    CoreRole, CoreRow, DropRow, Link, PoolUse, PortCounters, PortRow, SaBudget, SaDirection, SaLeft, SaRow,
    SaState, Status, TunnelRow, TunnelState, UpCount,
};

use serde_json::json;

use crate::top::look::Look;

/// What a counter has come to after so many looks: `rate` a second, a third more or less in waves.
fn counted(rate: u64, looks: u32) -> u64 {
    let wave = |look: u32| [0, 2, 3, 3, 2, 0, 1, 1].get(look as usize % 8).copied().unwrap_or(0);
    (0..looks).map(|look| rate * (6 + wave(look)) / 9).sum()
}

/// From JSON, as a client gets it: what a newer gateway adds does not matter.
fn tunnel(tenant: &str, name: &str, state: TunnelState, rates: (u64, u64), drops: u64) -> TunnelRow {
    let row = json!({
        "tenant": tenant,
        "name": name,
        "type": if name == "berlin" { "ipsec" } else { "gre" },
        "endpoint": "anycast4",
        "local": "203.0.113.1",
        "remote": "192.0.2.77",
        "state": state,
        "reason": (state != TunnelState::Up).then_some("keepalives do not come back"),
        "underlay": "edge0 via 192.0.2.254",
        "mtu": 1476,
        "mss_v4": 1436,
        "mss_v6": 1416,
        "encap": {"packets": rates.0, "bytes": rates.0 * 1100},
        "decap": {"packets": rates.1, "bytes": rates.1 * 90},
        "drops": drops,
        "clamped_syns": 12,
        "keepalives_answered": 0,
    });
    serde_json::from_value(row).unwrap()
}

fn core(core: u32, looks: u32, rate: u64) -> CoreRow {
    let packets = counted(rate, looks);
    CoreRow {
        core,
        role: CoreRole::Worker,
        generation: Some(if core == 3 { 41 } else { 42 }),
        current_generation: 42,
        rx_packets: packets,
        tx_packets: packets,
        rx_bursts: packets / 12,
        busy_cycles: packets * 160,
        cycles_hz: 2_000_000_000,
        pool: Some(PoolUse { name: "packets0".to_owned(), in_use: 5133, size: 65_535 }),
        ..CoreRow::default()
    }
}

fn port(name: &str, up: bool, looks: u32, rates: (u64, u64)) -> PortRow {
    let (rx_packets, tx_packets) = (counted(rates.0, looks), counted(rates.1, looks));
    PortRow {
        name: name.to_owned(),
        link: Link { up, speed_mbps: up.then_some(100_000) },
        counters: PortCounters {
            rx_packets,
            rx_bytes: rx_packets * 1100,
            rx_missed: u64::from(looks) * 3,
            tx_packets,
            tx_bytes: tx_packets * 90,
            ..PortCounters::default()
        },
        ..PortRow::default()
    }
}

fn sa(direction: SaDirection, spi: &str) -> SaRow {
    SaRow {
        tenant: "acme".to_owned(),
        tunnel: "berlin".to_owned(),
        direction,
        state: SaState::Current,
        spi: spi.to_owned(),
        cipher: "aes128gcm16".to_owned(),
        peer: None,
        node: None,
        age_s: Some(1800),
        budget: Some(SaBudget {
            seconds: SaLeft { rekey: Some(900), end: Some(1800) },
            ..SaBudget::default()
        }),
        backend: "vaes".to_owned(),
        esn: false,
        replay_window: None,
        numbering: None,
        pinned_core: None,
        sequence: 7,
        sequence_left: (direction == SaDirection::Outbound).then_some(4_000_000_000),
        soft_limit: None,
        local: Vec::new(),
        remote: Vec::new(),
        packets: 7,
        bytes: 700,
        drops: 0,
        last_used_s: Some(0),
        per_core: Vec::new(),
    }
}

/// The look of this number.
pub(super) fn look(at: Instant, number: u32) -> Look {
    let both = |encap, decap| (counted(encap, number), counted(decap, number));
    let dropped = counted(25, number);
    Look {
        at,
        status: Status {
            node: "fra1-a".to_owned(),
            uptime_s: 266_400 + u64::from(number),
            tunnels: UpCount { up: 3, total: 5 },
            ports: UpCount { up: 2, total: 3 },
            workers: UpCount { up: 1, total: 2 },
            dropped,
            attention: vec![
                "port spare0: no link; check the cable and the switch port".to_owned(),
                "2 of 5 tunnels are not up: penstock show tunnels --state down, --state unresolved".to_owned(),
            ],
            ..Status::default()
        },
        ports: vec![
            port("core0", true, number, (2_400_000, 5_100_000)),
            port("edge0", true, number, (5_000_000, 2_500_000)),
            port("spare0", false, 0, (0, 0)),
        ],
        cores: vec![core(2, number, 5_200_000), core(3, number, 2_200_000)],
        drops: vec![
            DropRow {
                reason: "no_route".to_owned(),
                packets: dropped,
                per_core: Vec::new(),
                help: "No route to the destination in the table of this tenant (or of the underlay). See `penstock show routes`."
                    .to_owned(),
            },
            DropRow {
                reason: "gre_key_wrong".to_owned(),
                packets: 3,
                per_core: Vec::new(),
                help: "The packet's GRE key is not the tunnel's key, or it has one where the tunnel has none.".to_owned(),
            },
            DropRow { reason: "esp_auth".to_owned(), ..DropRow::default() },
        ],
        tunnels: vec![
            tunnel("acme", "amsterdam", TunnelState::Up, both(800_000, 350_000), 0),
            tunnel("acme", "berlin", TunnelState::Up, both(1_900_000, 900_000), 0),
            tunnel("acme", "paris", TunnelState::Down, both(0, 0), 0),
            tunnel("globex", "madrid", TunnelState::Up, both(12_000, 90_000), dropped),
            tunnel("globex", "oslo", TunnelState::Unresolved, both(3, 0), 0),
        ],
        sas: vec![sa(SaDirection::Inbound, "0x01a00001"), sa(SaDirection::Outbound, "0xc7d2f3a0")],
    }
}
