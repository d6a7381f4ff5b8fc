//! The rows of `show cores`, read from the workers' counters.

use penstock_dataplane::stats::{PortCounters, WorkerStats};

use super::super::state::State;
use crate::api::{CoreRole, CoreRow, IdlePolicy, PoolUse};
use crate::config;

pub(super) fn cores(state: &State) -> Vec<CoreRow> {
    let current_generation = state.dataplane.publisher.generation();
    let control = CoreRow {
        core: u32::from(state.compiler.config().cores.control),
        role: CoreRole::Control,
        current_generation,
        ..CoreRow::default()
    };
    let elapsed = dpdk::cycles::rdtsc().saturating_sub(state.started_cycles).max(1);
    let cycles_per_us = (dpdk::cycles::tsc_hz() as f64 / 1e6).max(1.0);
    let workers = state.dataplane.workers.iter().map(|worker| CoreRow {
        core: u32::from(worker.core),
        role: CoreRole::Worker,
        numa: worker.numa.map(u32::from),
        queues: worker.queues.iter().map(ToString::to_string).collect(),
        current_generation,
        idle_policy: Some(idle_policy(state.compiler.config().cores.idle_policy(worker.core))),
        idle_share: Some((1.0 - worker.stats.busy_cycles.get() as f64 / elapsed as f64).clamp(0.0, 1.0)),
        cycles_hz: dpdk::cycles::tsc_hz(),
        max_loop_us: Some(worker.stats.longest_turn.get() as f64 / cycles_per_us),
        pool: Some(PoolUse {
            name: worker.pool.name().to_owned(),
            in_use: worker.pool.in_use(),
            size: worker.pool.size(),
        }),
        ..counted(&worker.stats)
    });
    std::iter::once(control).chain(workers).collect()
}

fn idle_policy(policy: config::IdlePolicy) -> IdlePolicy {
    match policy {
        config::IdlePolicy::Poll => IdlePolicy::Poll,
        config::IdlePolicy::Pause => IdlePolicy::Pause,
        config::IdlePolicy::Sleep => IdlePolicy::Sleep,
    }
}

/// What a worker counted itself.
fn counted(stats: &WorkerStats) -> CoreRow {
    let sum = |counter: fn(&PortCounters) -> u64| stats.ports.iter().map(counter).sum::<u64>();
    let (rx_packets, injected) = (sum(|p| p.rx_packets.get()), sum(|p| p.injected.get()));
    let handed_in = stats.handed_in.get();
    let (came, went) = stats.balance();
    // Whatever came, wherever from, took its part of the busy turns.
    let handled = rx_packets + injected + handed_in;
    CoreRow {
        generation: Some(stats.generation.get()),
        rx_packets,
        tx_packets: sum(|p| p.tx_packets.get()),
        dropped: stats.drops_total(),
        punted: sum(|p| p.punted.get()),
        injected,
        handed_in,
        handed_out: stats.handed_out.get(),
        handoff_waiting: stats.handed_waiting.get(),
        rx_bursts: sum(|p| p.rx_bursts.get()),
        rx_full_bursts: sum(|p| p.rx_full_bursts.get()),
        rx_waiting: sum(|p| p.rx_waiting.get()),
        turns: stats.loops.get(),
        busy_turns: stats.busy_loops.get(),
        busy_cycles: stats.busy_cycles.get(),
        cycles_per_packet: (handled > 0).then(|| stats.busy_cycles.get() as f64 / handled as f64),
        generated: stats.generated.get(),
        unaccounted: came.wrapping_sub(went).cast_signed(),
        merged: stats.merged.get(),
        probe_answers: stats.probe_answers.get(),
        icmp_sent: stats.icmp_sent.get(),
        icmp_suppressed: stats.icmp_suppressed.get(),
        ..CoreRow::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_other_cores_share_the_cycles() {
        let stats = WorkerStats::new(2, 1);
        stats.busy_cycles.add(5000);
        assert_eq!(counted(&stats).cycles_per_packet, None);
        stats.handed_in.add(20);
        assert_eq!(
            counted(&stats).cycles_per_packet,
            Some(250.0),
            "a worker that only gets other cores' packets"
        );
        stats.ports[0].rx_packets.add(60);
        stats.ports[1].injected.add(20);
        stats.handed_out.add(7);
        let row = counted(&stats);
        assert_eq!(row.unaccounted, 60 + 20 + 20 - 7);
        assert_eq!((row.rx_packets, row.injected, row.handed_in, row.handed_out), (60, 20, 20, 7));
        assert_eq!(row.cycles_per_packet, Some(50.0));
    }
}
