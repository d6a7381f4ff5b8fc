//! `penstock why`: what would happen to a packet.

use penstock_control::api::{WhyAnswer, WhyOutcome, WhyRequest};

use crate::args::WhyArgs;
use crate::ask::ask;
use crate::exit::Said;
use crate::{terminal, trace};

pub fn why(args: &WhyArgs) -> anyhow::Result<()> {
    let request = WhyRequest {
        tenant: args.tenant.clone(),
        src: args.src,
        dst: args.dst,
        protocol: args.proto.into(),
        sport: args.sport,
        dport: args.dport,
        size: args.size,
        df: args.df,
        from_tunnel: args.from_tunnel.clone(),
    };
    let answer = ask(&args.socket, async |gateway| gateway.why(&request).await)?;
    if args.json {
        terminal::print_json(&answer)?;
    } else {
        terminal::print(&text(&answer))?;
    }
    if answer.outcome == WhyOutcome::Dropped { Err(Said.into()) } else { Ok(()) }
}

fn text(answer: &WhyAnswer) -> String {
    let mut text = format!("{}\n", answer.text);
    if let Some(fix) = &answer.fix {
        text.push_str(&format!("fix: {fix}\n"));
    }
    for note in &answer.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    for packet in &answer.packets {
        text.push_str(&format!("\n{}\n{}", packet.summary, trace::steps(packet)));
    }
    text
}

#[cfg(test)]
mod tests {
    use penstock_control::api::{TraceRow, TraceStep};

    use super::*;

    #[test]
    fn the_answer_comes_first_and_then_the_way() {
        let answer = WhyAnswer {
            outcome: WhyOutcome::Dropped,
            text: "Dropped as no_route.".into(),
            reason: Some("no_route".into()),
            fix: Some("add a route".into()),
            notes: vec!["the tunnel is down".into()],
            packets: vec![TraceRow {
                core: 0,
                packet: 1,
                time_ns: 0,
                summary: "10.0.0.1 > 10.0.0.2 ICMP, 28 bytes".into(),
                steps: vec![TraceStep { stage: "dropped".into(), text: "no_route".into() }],
                end: "dropped".into(),
                reason: Some("no_route".into()),
                tunnel_in: None,
                tunnel_out: None,
            }],
        };
        assert_eq!(
            text(&answer),
            "Dropped as no_route.\nfix: add a route\nnote: the tunnel is down\n\n\
             10.0.0.1 > 10.0.0.2 ICMP, 28 bytes\n  dropped     no_route\n"
        );
    }
}
