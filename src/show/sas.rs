//! `show sas`: security associations, never a key.

use penstock_control::api::{Page, SaBudget, SaCore, SaDirection, SaLeft, SaNumbering, SaRow, SaState};

use super::footer;
use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, block, count, duration, maybe};

pub fn text(page: &Page<SaRow>, width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Text("TENANT"),
        Text("TUNNEL"),
        Text("DIRECTION"),
        Text("STATE"),
        Text("SPI"),
        Text("CIPHER"),
        Text("BACKEND"),
        Text("NUMBERS"),
        Number("LEFT"),
        Number("AGE"),
        Number("REKEY IN"),
        Number("PACKETS"),
        Number("BYTES"),
        Number("DROPS"),
        Text("LAST"),
        Text("CORES"),
    ]);
    for sa in &page.rows {
        table.row(vec![
            sa.tenant.clone(),
            sa.tunnel.clone(),
            direction(sa.direction).to_owned(),
            state(sa.state).to_owned(),
            sa.spi.clone(),
            sa.cipher.clone(),
            sa.backend.clone(),
            numbers(sa),
            maybe(sa.sequence_left.map(count)),
            maybe(sa.age_s.map(duration)),
            maybe(sa.budget.as_ref().and_then(rekey_in)),
            count(sa.packets),
            count(sa.bytes),
            count(sa.drops),
            maybe(sa.last_used_s.map(duration)),
            shares(sa),
        ]);
    }
    table.text(width) + &footer(page, "security associations")
}

pub fn detail(page: &Page<SaRow>) -> String {
    let blocks: Vec<String> = page.rows.iter().map(one).collect();
    blocks.join("\n") + &footer(page, "security associations")
}

fn one(sa: &SaRow) -> String {
    let list =
        |prefixes: &[String]| if prefixes.is_empty() { "none".to_owned() } else { prefixes.join(", ") };
    let ago =
        sa.last_used_s.map_or_else(|| "never".to_owned(), |seconds| format!("{} ago", duration(seconds)));
    let mut lines = vec![
        ("tunnel", format!("{} of {}", sa.tunnel, sa.tenant)),
        ("direction", direction(sa.direction).to_owned()),
        ("state", state(sa.state).to_owned()),
        ("SPI", spi(sa)),
        ("cipher", format!("{}, by {}", sa.cipher, sa.backend)),
        ("numbers", numbers(sa)),
        ("newest number", sa.sequence.to_string()),
    ];
    if let (Some(left), Some(soft)) = (sa.sequence_left, sa.soft_limit) {
        lines.push(("numbers left", format!("{left}, a rekey is asked for at {soft}")));
    }
    if let Some(peer) = &sa.peer {
        lines.push(("peer", peer.clone()));
    }
    if let Some(age) = sa.age_s {
        lines.push(("negotiated", format!("{} ago", duration(age))));
    }
    if let Some(budget) = &sa.budget {
        lines.push(("time left", left(budget.seconds, duration)));
        lines.push(("bytes left", left(budget.bytes, |bytes| bytes.to_string())));
        lines.push(("packets left", left(budget.packets, |packets| packets.to_string())));
    }
    lines.extend([
        ("our side", list(&sa.local)),
        ("customer's side", list(&sa.remote)),
        ("packets", format!("{} packets, {} bytes", sa.packets, sa.bytes)),
        ("dropped", sa.drops.to_string()),
        ("last packet", ago),
    ]);
    let cores: Vec<(String, String)> = sa.per_core.iter().map(core).collect();
    lines.extend(cores.iter().map(|(core, share)| (core.as_str(), share.clone())));
    block(&lines)
}

fn core(core: &SaCore) -> (String, String) {
    (
        format!("core {}", core.core),
        format!("{} packets, {} bytes, {} dropped", core.packets, core.bytes, core.drops),
    )
}

fn direction(direction: SaDirection) -> &'static str {
    match direction {
        SaDirection::Inbound => "inbound",
        SaDirection::Outbound => "outbound",
    }
}

fn state(state: SaState) -> &'static str {
    match state {
        SaState::Current => "current",
        SaState::Pending => "pending",
        SaState::Retiring => "retiring",
        SaState::Stopped => "stopped",
        SaState::Orphan => "orphan",
    }
}

fn spi(sa: &SaRow) -> String {
    sa.node.map_or_else(|| sa.spi.clone(), |node| format!("{}, of node {node}", sa.spi))
}

/// When a rekey is asked for at the latest; then, how much is left in all.
fn rekey_in(budget: &SaBudget) -> Option<String> {
    budget.seconds.rekey.or(budget.seconds.end).map(duration)
}

/// Until a rekey, and until the end.
fn left(left: SaLeft, words: impl Fn(u64) -> String) -> String {
    match (left.rekey, left.end) {
        (Some(rekey), Some(end)) => format!("{}, {} to a rekey", words(end), words(rekey)),
        (Some(rekey), None) => format!("{} to a rekey", words(rekey)),
        (None, Some(end)) => words(end),
        (None, None) => "unlimited".to_owned(),
    }
}

/// Who numbers what is sent; how far back what is received may come.
fn numbers(sa: &SaRow) -> String {
    let mode = match (sa.numbering, sa.replay_window) {
        (Some(SaNumbering::PerCore), _) => "per core".to_owned(),
        (Some(SaNumbering::Shared), _) => "shared".to_owned(),
        (Some(SaNumbering::Pinned), _) => format!("on core {}", maybe(sa.pinned_core)),
        (None, Some(window)) => format!("window {window}"),
        (None, None) => "unchecked".to_owned(),
    };
    if sa.esn { format!("{mode}, esn") } else { mode }
}

/// Each core's share of the packets.
fn shares(sa: &SaRow) -> String {
    let share = |core: &SaCore| format!("{}:{}", core.core, count(core.packets));
    sa.per_core.iter().map(share).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> SaRow {
        SaRow {
            tenant: "acme".into(),
            tunnel: "dc1".into(),
            direction: SaDirection::Outbound,
            state: SaState::Pending,
            spi: "0x00002001".into(),
            peer: Some("192.0.2.77:4500".into()),
            node: None,
            age_s: Some(60),
            budget: Some(SaBudget {
                seconds: SaLeft { rekey: Some(3000), end: Some(3540) },
                bytes: SaLeft { rekey: None, end: Some(1_000_000) },
                packets: SaLeft::default(),
            }),
            cipher: "aes128gcm16".into(),
            backend: "ipsec-mb".into(),
            esn: true,
            replay_window: None,
            numbering: Some(SaNumbering::Pinned),
            pinned_core: Some(3),
            sequence: 12,
            sequence_left: Some(4_294_967_283),
            soft_limit: Some(3_221_225_472),
            local: vec!["0.0.0.0/0".into(), "::/0".into()],
            remote: vec![],
            packets: 12,
            bytes: 1200,
            drops: 0,
            last_used_s: Some(3),
            per_core: vec![SaCore { core: 3, packets: 12, bytes: 1200, drops: 0 }],
        }
    }

    #[test]
    fn an_association_is_one_line() {
        assert_eq!(
            text(&Page::all(vec![row()]), None),
            "TENANT  TUNNEL  DIRECTION  STATE    SPI         CIPHER       BACKEND   NUMBERS          LEFT  AGE  REKEY IN  \
             PACKETS  BYTES  DROPS  LAST  CORES\n\
             acme    dc1     outbound   pending  0x00002001  aes128gcm16  ipsec-mb  on core 3, esn  4.29G   1m       50m  \
             \x20    12   1200      0  3s    3:12\n"
        );
        assert_eq!(text(&Page::all(vec![]), None).lines().last(), Some("no security associations"));
    }

    #[test]
    fn numbers_say_what_the_mode_is() {
        let with =
            |numbering, replay_window| numbers(&SaRow { numbering, replay_window, esn: false, ..row() });
        assert_eq!(with(Some(SaNumbering::PerCore), None), "per core");
        assert_eq!(with(Some(SaNumbering::Shared), None), "shared");
        assert_eq!(with(None, Some(64)), "window 64");
        assert_eq!(with(None, None), "unchecked");
    }

    #[test]
    fn the_detail_has_every_field() {
        let text = detail(&Page::all(vec![row()]));
        for part in [
            "dc1 of acme",
            "aes128gcm16, by ipsec-mb",
            "on core 3, esn",
            "4294967283, a rekey is asked for at 3221225472",
            "0.0.0.0/0, ::/0",
            "none",
            "3s ago",
            "192.0.2.77:4500",
            "59m, 50m to a rekey",
            "unlimited",
            "core 3           12 packets, 1200 bytes, 0 dropped",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
