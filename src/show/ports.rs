//! `show ports`.

use penstock_control::api::{Link, Page, PortRow};

use super::footer;
use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, block, count, maybe};

pub fn text(page: &Page<PortRow>, width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Text("PORT"),
        Text("LINK"),
        Number("MTU"),
        Text("MAC"),
        Number("RX"),
        Number("BYTES"),
        Number("TX"),
        Number("BYTES"),
        Number("LOST"),
        Number("ERRORS"),
        Text("DEVICE"),
    ]);
    for port in &page.rows {
        let counters = &port.counters;
        table.row(vec![
            port.name.clone(),
            link(port.link),
            port.mtu.to_string(),
            port.mac.clone(),
            count(counters.rx_packets),
            count(counters.rx_bytes),
            count(counters.tx_packets),
            count(counters.tx_bytes),
            count(counters.rx_missed + counters.rx_no_buffer),
            count(counters.rx_errors + counters.tx_errors),
            port.device.clone(),
        ]);
    }
    table.text(width) + &footer(page, "ports")
}

pub fn detail(page: &Page<PortRow>) -> String {
    let blocks: Vec<String> = page.rows.iter().map(one).collect();
    blocks.join("\n") + &footer(page, "ports")
}

fn one(port: &PortRow) -> String {
    let counters = &port.counters;
    block(&[
        ("port", port.name.clone()),
        ("device", port.device.clone()),
        ("driver", port.driver.clone()),
        ("NUMA node", maybe(port.numa)),
        ("MAC", port.mac.clone()),
        ("link", link(port.link)),
        ("MTU", port.mtu.to_string()),
        ("tenant", port.tenant.clone().unwrap_or_else(|| "internet".to_owned())),
        ("twin", port.twin.clone()),
        ("addresses", if port.addresses.is_empty() { "-".to_owned() } else { port.addresses.join(", ") }),
        ("queues", format!("{} rx, {} tx", port.rx_queues, port.tx_queues)),
        ("received", format!("{} packets, {} bytes", counters.rx_packets, counters.rx_bytes)),
        ("sent", format!("{} packets, {} bytes", counters.tx_packets, counters.tx_bytes)),
        ("lost, ring full", counters.rx_missed.to_string()),
        ("lost, no buffer", counters.rx_no_buffer.to_string()),
        ("rx errors", counters.rx_errors.to_string()),
        ("tx errors", counters.tx_errors.to_string()),
    ])
}

fn link(link: Link) -> String {
    match (link.up, link.speed_mbps) {
        (false, _) => "down".to_owned(),
        (true, None) => "up".to_owned(),
        (true, Some(mbps)) if mbps >= 1000 && mbps % 100 == 0 => format!("{}G", f64::from(mbps) / 1000.0),
        (true, Some(mbps)) => format!("{mbps}M"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_speeds_read_like_those_on_the_box() {
        let cases = [(100_000, "100G"), (2500, "2.5G"), (10_000, "10G"), (100, "100M")];
        for (mbps, expected) in cases {
            assert_eq!(link(Link { up: true, speed_mbps: Some(mbps) }), expected);
        }
        assert_eq!(link(Link { up: false, speed_mbps: Some(100_000) }), "down");
        assert_eq!(link(Link { up: true, speed_mbps: None }), "up");
    }

    #[test]
    fn a_port_fits_120_columns() {
        let port = PortRow {
            name: "edge0".into(),
            device: "0000:3b:00.0".into(),
            mac: "02:00:00:00:00:01".into(),
            mtu: 9000,
            link: Link { up: true, speed_mbps: Some(100_000) },
            ..PortRow::default()
        };
        let text = text(&Page::all(vec![port]), Some(120));
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    }
}
