//! `penstock trace`: packets' ways through the stages.

use std::io::{self, Write};

use penstock_control::api::{Client, TraceRequest, TraceRow};

use crate::args::TraceArgs;
use crate::ask;
use crate::capture::{follow, report};

/// Width of the stages' names.
const STAGE: usize = 12;

pub fn trace(args: &TraceArgs) -> anyhow::Result<()> {
    let request = TraceRequest { packets: (&args.packets).into(), count: Some(args.count) };
    let mut lines = Lines::default();
    let mut out = io::stdout();
    let caught = ask::runtime()?.block_on(async {
        let client = Client::new(&args.socket.socket);
        let watched = client.trace(&request).await?;
        follow(&client, watched, |bytes| {
            for line in lines.take(bytes) {
                let text = if args.json { line } else { text(&serde_json::from_str(&line)?) };
                out.write_all(text.as_bytes())?;
            }
            out.flush()
        })
        .await
    })?;
    report(caught);
    Ok(())
}

/// Whole lines, out of pieces that end anywhere.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(bytes);
        let end = self.0.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.0.split_off(end);
        let whole = String::from_utf8_lossy(&std::mem::replace(&mut self.0, rest)).into_owned();
        whole.split_inclusive('\n').map(str::to_owned).collect()
    }
}

fn text(row: &TraceRow) -> String {
    let (seconds, nanos) = (row.time_ns / 1_000_000_000, row.time_ns % 1_000_000_000);
    let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let time = format!("{hours:02}:{minutes:02}:{seconds:02}.{:06}", nanos / 1000);
    format!("{time} UTC  core {}  packet {}  {}\n{}", row.core, row.packet, row.summary, steps(row))
}

/// A packet's way, a line for each stage.
pub fn steps(row: &TraceRow) -> String {
    row.steps.iter().map(|step| format!("  {:STAGE$}{}\n", step.stage, step.text)).collect()
}

#[cfg(test)]
mod tests {
    use penstock_control::api::TraceStep;

    use super::*;

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let mut lines = Lines::default();
        assert!(lines.take(b"on").is_empty());
        assert_eq!(lines.take(b"e\ntwo\nth"), ["one\n", "two\n"]);
        assert_eq!(lines.take(b"ree\n"), ["three\n"]);
    }

    #[test]
    fn a_packet_is_a_block_of_lines() {
        let step = |stage: &str, text: &str| TraceStep { stage: stage.into(), text: text.into() };
        let row = TraceRow {
            core: 2,
            packet: 7,
            time_ns: 1_700_000_000_123_456_789,
            summary: "10.0.0.1 > 10.0.0.2 ICMP, 98 bytes".into(),
            steps: vec![step("came", "received by edge0, queue 0"), step("sent", "by core0")],
            end: "sent".into(),
            reason: None,
            tunnel_in: None,
            tunnel_out: None,
        };
        assert_eq!(
            text(&row),
            "22:13:20.123456 UTC  core 2  packet 7  10.0.0.1 > 10.0.0.2 ICMP, 98 bytes\n\
             \u{20} came        received by edge0, queue 0\n\
             \u{20} sent        by core0\n"
        );
    }
}
