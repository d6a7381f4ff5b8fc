//! `show ike`: charon, and the tunnels that it negotiates.

use penstock_control::api::{Charon, CharonState, Ike, IkeChild, IkeFailure, IkeRow, IkeState, Page};

use super::footer;
use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, block, duration, maybe};

pub fn text(ike: &Ike, width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Text("TENANT"),
        Text("TUNNEL"),
        Text("STATE"),
        Text("PEER"),
        Text("IDENTITIES"),
        Text("NAT"),
        Text("SUITE"),
        Text("AGE"),
        Text("REKEY"),
        Number("CHILDREN"),
        Text("LAST FAILURE"),
    ]);
    for row in &ike.rows {
        table.row(vec![
            row.tenant.clone(),
            row.tunnel.clone(),
            state(row.state).to_owned(),
            row.peer.clone().unwrap_or_else(|| row.remote.clone()),
            identities(row),
            maybe(row.nat.map(yes)),
            maybe(row.suite.clone()),
            maybe(row.age_s.map(duration)),
            maybe(row.rekey_s.map(duration)),
            row.children.len().to_string(),
            trouble(row),
        ]);
    }
    header(ike) + &table.text(width) + &end(ike)
}

pub fn detail(ike: &Ike) -> String {
    let blocks: Vec<String> = ike.rows.iter().map(one).collect();
    header(ike) + &blocks.join("\n") + &end(ike)
}

fn end(ike: &Ike) -> String {
    footer(&Page { total: ike.total, rows: ike.rows.iter().collect() }, "negotiated tunnels")
}

/// What stands above the table.
fn header(ike: &Ike) -> String {
    let Some(charon) = &ike.charon else { return String::new() };
    let mut text = format!("charon: {}\n", words(charon).join(", "));
    if let Some(problem) = &charon.problem {
        text.push_str(&format!("  {problem}\n"));
    }
    for refused in &charon.refused {
        text.push_str(&format!("  {refused}\n"));
    }
    let log = charon.log.as_ref().map_or_else(String::new, |log| format!(", log {log}"));
    text.push_str(&format!("  vici {}, plugin {}{log}\n\n", charon.vici_socket, charon.plugin_socket));
    text
}

fn words(charon: &Charon) -> Vec<String> {
    let state = match charon.state {
        CharonState::Idle => "not needed",
        CharonState::Starting => "starting",
        CharonState::Running => "running",
        CharonState::Failed => "does not run",
    };
    let mut words = vec![state.to_owned(), if charon.managed { "managed" } else { "external" }.to_owned()];
    words.extend(charon.pid.map(|pid| format!("process {pid}")));
    words.extend(charon.version.as_ref().map(|version| format!("version {version}")));
    words.extend(charon.plugin.as_ref().map(|plugin| format!("plugin {plugin}")));
    words.extend(charon.uptime_s.map(|uptime| format!("up {}", duration(uptime))));
    match charon.restarts {
        0 => {}
        1 => words.push("1 restart".to_owned()),
        many => words.push(format!("{many} restarts")),
    }
    if let (Some(all), Some(half_open)) = (charon.ike_sas, charon.half_open) {
        words.push(format!("{all} IKE SAs, {half_open} half open"));
    }
    words
}

fn one(row: &IkeRow) -> String {
    let mut lines = vec![
        ("tunnel", format!("{} of {}", row.tunnel, row.tenant)),
        ("state", state(row.state).to_owned()),
        ("addresses", format!("{} to {}", row.local, row.remote)),
        ("peer", maybe(row.peer.clone())),
        ("identities", identities(row)),
        ("NAT", maybe(row.nat.map(yes))),
        ("IKE suite", maybe(row.suite.clone())),
        ("IKE SPIs", maybe(row.spis.clone())),
        ("age", maybe(row.age_s.map(duration))),
        ("rekey in", maybe(row.rekey_s.map(duration))),
    ];
    let children: Vec<(String, String)> =
        row.children.iter().enumerate().map(|(n, sa)| (format!("child {}", n + 1), child(sa))).collect();
    lines.extend(children.iter().map(|(name, text)| (name.as_str(), text.clone())));
    if let Some(refused) = &row.refused {
        lines.push(("refused", refused.clone()));
    }
    if let Some(last) = &row.last_failure {
        lines.push(("last failure", failure(last)));
        lines.push(("failures", last.count.to_string()));
    }
    block(&lines)
}

fn child(sa: &IkeChild) -> String {
    let list = |selectors: &[String]| selectors.join(" ");
    format!(
        "{}, SPI in {}, out {}, {}{}, {} === {}, age {}, rekey in {}",
        sa.state,
        maybe(sa.spi_in.clone()),
        maybe(sa.spi_out.clone()),
        sa.suite,
        if sa.encapsulated { " in UDP" } else { "" },
        list(&sa.local),
        list(&sa.remote),
        maybe(sa.age_s.map(duration)),
        maybe(sa.rekey_s.map(duration)),
    )
}

fn state(state: IkeState) -> &'static str {
    match state {
        IkeState::Up => "up",
        IkeState::Connecting => "connecting",
        IkeState::Down => "down",
        IkeState::Refused => "refused",
    }
}

fn identities(row: &IkeRow) -> String {
    format!("{} - {}", row.local_id, row.remote_id)
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// What charon did not take comes before what failed.
fn trouble(row: &IkeRow) -> String {
    let last = || row.last_failure.as_ref().map(failure);
    row.refused.clone().or_else(last).unwrap_or_else(|| maybe(None::<String>))
}

fn failure(failure: &IkeFailure) -> String {
    format!("{} ago: {}", duration(failure.age_s), failure.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ike() -> Ike {
        let row = IkeRow {
            tenant: "acme".into(),
            tunnel: "dc1".into(),
            state: IkeState::Up,
            local: "192.0.2.1".into(),
            remote: "any".into(),
            peer: Some("198.51.100.9:4500".into()),
            local_id: "gw.example".into(),
            remote_id: "r1.example".into(),
            nat: Some(true),
            suite: Some("AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256".into()),
            age_s: Some(61),
            rekey_s: Some(13_000),
            spis: Some("00aa 00bb".into()),
            children: vec![IkeChild {
                state: "installed".into(),
                spi_in: Some("0x00400001".into()),
                spi_out: Some("0xc0000002".into()),
                suite: "AES_GCM_16_128".into(),
                encapsulated: true,
                age_s: Some(61),
                rekey_s: None,
                local: vec!["10.1.0.0/16".into()],
                remote: vec!["10.2.0.0/16".into()],
            }],
            refused: None,
            last_failure: Some(IkeFailure { reason: "wrong pre-shared key".into(), age_s: 120, count: 3 }),
        };
        let down = IkeRow {
            tunnel: "dc2".into(),
            state: IkeState::Refused,
            remote: "192.0.2.77".into(),
            peer: None,
            nat: None,
            suite: None,
            age_s: None,
            rekey_s: None,
            spis: None,
            children: vec![],
            refused: Some("charon refuses it".into()),
            last_failure: None,
            ..row.clone()
        };
        let charon = Charon {
            managed: true,
            state: CharonState::Running,
            pid: Some(77),
            version: Some("5.9.8".into()),
            plugin: Some("0.1.0".into()),
            uptime_s: Some(3600),
            restarts: 1,
            ike_sas: Some(2),
            half_open: Some(1),
            vici_socket: "/run/penstock/ike/charon.vici".into(),
            plugin_socket: "/run/penstock/ike/charon.sock".into(),
            log: Some("/run/penstock/ike/charon.log".into()),
            ..Charon::default()
        };
        Ike { charon: Some(charon), total: 2, rows: vec![row, down] }
    }

    #[test]
    fn a_tunnel_is_one_line_below_charon() {
        let text = text(&ike(), None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "charon: running, managed, process 77, version 5.9.8, plugin 0.1.0, up 1h, 1 restart, 2 IKE SAs, 1 half open"
        );
        assert_eq!(
            lines[1],
            "  vici /run/penstock/ike/charon.vici, plugin /run/penstock/ike/charon.sock, log /run/penstock/ike/charon.log"
        );
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(
            words(lines[4]),
            "acme dc1 up 198.51.100.9:4500 gw.example - r1.example yes AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256 1m 1s \
             3h 36m 1 2m ago: wrong pre-shared key"
        );
        assert_eq!(
            words(lines[5]),
            "acme dc2 refused 192.0.2.77 gw.example - r1.example - - - - 0 charon refuses it"
        );
    }

    #[test]
    fn what_is_wrong_with_charon_comes_first() {
        let charon = Charon {
            problem: Some("it is not installed".into()),
            state: CharonState::Failed,
            ..Charon::default()
        };
        let text = text(&Ike { charon: Some(charon), ..Ike::default() }, None);
        assert!(text.starts_with("charon: does not run, external\n  it is not installed\n"), "{text}");
        assert!(text.ends_with("no negotiated tunnels\n"), "{text}");
    }

    #[test]
    fn the_detail_has_every_field() {
        let text = detail(&ike());
        for part in [
            "dc1 of acme",
            "192.0.2.1 to any",
            "00aa 00bb",
            "installed, SPI in 0x00400001, out 0xc0000002, AES_GCM_16_128 in UDP, 10.1.0.0/16 === 10.2.0.0/16, age 1m 1s",
            "2m ago: wrong pre-shared key",
            "charon refuses it",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
