//! Speed without the right result is nothing: every flow's frame goes through the pipeline once and is
//! compared with the frame that must come out, byte by byte; and after a measurement the counters must add up.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::stats::WorkerStats;

use crate::crew::{Crew, Setting};
use crate::scenario::{Case, Scenario};
use crate::traffic::Expected;
use crate::{capture, devices, tables};

/// Turns without a frame after which the capture must be at its end.
const IDLE_TURNS: usize = 8;

/// Sends every frame of `frames` through a worker once and compares what leaves with what must leave.
pub fn one_pass(frames: &Path, out: &Path, setting: &Setting<'_>, core: usize) -> Result<()> {
    let Setting { scenario, flows, .. } = *setting;
    let mut device = devices::record("_verify", frames, out, setting.pool)?;
    let queues = (devices::only(&mut device.rx)?, devices::only(&mut device.tx)?);
    let mut worker = devices::only(&mut Crew::new(setting, vec![queues])?.workers)?;
    let thread = dpdk::lcore::spawn(core, "verify", move || {
        let mut idle = 0;
        while idle < IDLE_TURNS {
            idle = if worker.turn() == 0 { idle + 1 } else { 0 };
        }
        std::sync::Arc::clone(worker.stats())
    })?;
    let stats = thread.join().map_err(|_| anyhow!("the worker panicked"))?;
    // The capture is complete once its device is closed.
    drop(device);
    counters(&stats, scenario)?;
    let sent = capture::read(out)?;
    ensure!(sent.len() == scenario.flows, "{} frames came out of {} flows", sent.len(), scenario.flows);
    let mut expected = Expected::new(scenario, setting.internet);
    for (number, (sent, flow)) in sent.iter().zip(flows).enumerate() {
        let expected = expected.next(flow, sent).with_context(|| format!("frame {number}"))?;
        ensure!(
            *sent == expected,
            "frame {number} is wrong:\nsent     {sent:02x?}\nexpected {expected:02x?}"
        );
    }
    Ok(())
}

/// All that came in went out, nothing was dropped, and the tunnels counted it.
pub fn counters(stats: &WorkerStats, scenario: &Scenario) -> Result<()> {
    let received = stats.port(tables::PORT_IN).context("counters of the port")?.rx_packets.get();
    let sent = stats.port(tables::PORT_OUT).context("counters of the port")?.tx_packets.get();
    let dropped = stats.drops_total();
    let reason = DropReason::ALL.iter().find(|reason| stats.drops(**reason) > 0);
    ensure!(
        received > 0 && received == sent,
        "received {received}, sent {sent}, dropped {dropped} ({reason:?})"
    );
    let sum = |count: fn(&penstock_dataplane::stats::TunnelCounters) -> u64| -> u64 {
        let tunnels = (0..scenario.all_tunnels()).filter_map(|id| stats.tunnel(TunnelId(id as u32)));
        tunnels.map(count).sum()
    };
    let decapsulated = sum(|tunnel| tunnel.decap_packets.get());
    let encapsulated = sum(|tunnel| tunnel.encap_packets.get());
    let clamped = sum(|tunnel| tunnel.clamped.get());
    let all_if = |condition: bool| if condition { received } else { 0 };
    ensure!(
        decapsulated == all_if(scenario.case.comes_from_tunnel()),
        "{decapsulated} decapsulated of {received}"
    );
    ensure!(encapsulated == all_if(scenario.case.into_tunnel()), "{encapsulated} encapsulated of {received}");
    ensure!(clamped == all_if(scenario.case == Case::GreEncapSyn), "{clamped} clamped of {received}");
    Ok(())
}
