//! The cores that the configuration names: there, ours to use, and left alone by everything else.

use std::collections::BTreeSet;

use super::numbers::{list, text};
use super::{Finding, Host};
use crate::config::{IdlePolicy, ValidConfig};

pub(super) fn examine(host: &Host, config: &ValidConfig) -> Vec<Finding> {
    let workers: Vec<u32> = {
        let workers: BTreeSet<u32> = config.cores.workers.iter().copied().map(u32::from).collect();
        workers.into_iter().collect()
    };
    let control = u32::from(config.cores.control);
    let busy: Vec<u32> = {
        let sleeps = |core: &u16| config.cores.idle_policy(*core) == IdlePolicy::Sleep;
        let busy: BTreeSet<u32> =
            config.cores.workers.iter().filter(|core| !sleeps(core)).copied().map(u32::from).collect();
        busy.into_iter().collect()
    };
    let mut findings = vec![there(host, &workers, control)];
    if findings.iter().any(|finding| finding.verdict == super::Verdict::Bad) {
        return findings;
    }
    findings.extend([
        siblings(host, &workers),
        isolated(host, &busy),
        interrupts(host, &busy),
        governor(host, &busy),
    ]);
    findings
}

fn cores(numbers: &[u32]) -> String {
    format!("{} {}", if numbers.len() == 1 { "core" } else { "cores" }, text(numbers))
}

fn there(host: &Host, workers: &[u32], control: u32) -> Finding {
    const CHECK: &str = "cores.available";
    let online = list(&host.read("/sys/devices/system/cpu/online").unwrap_or_default());
    let named = || workers.iter().copied().chain([control]);
    let missing: Vec<u32> = named().filter(|core| !online.contains(core)).collect();
    if !missing.is_empty() {
        let says =
            format!("{} of the configuration not online; online are {}", cores(&missing), text(&online));
        return Finding::bad(CHECK, says, "write cores that lscpu -e=CPU,CORE,NODE,ONLINE lists, in cores");
    }
    let status = host.read("/proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(list);
    let forbidden: Vec<u32> =
        allowed.map(|allowed| named().filter(|core| !allowed.contains(core)).collect()).unwrap_or_default();
    if !forbidden.is_empty() {
        return Finding::bad(
            CHECK,
            format!("this process may not use {}", cores(&forbidden)),
            "remove what keeps it off: taskset, CPUAffinity= or AllowedCPUs= of the unit, the container's cpuset",
        );
    }
    Finding::ok(CHECK, format!("control on core {control}, workers on {}", cores(workers)))
}

fn siblings(host: &Host, workers: &[u32]) -> Finding {
    const CHECK: &str = "cores.hyperthreads";
    for core in workers {
        let file = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        let siblings = list(&host.read(file).unwrap_or_default());
        if let Some(other) = siblings.iter().find(|other| *other > core && workers.contains(other)) {
            return Finding::warning(
                CHECK,
                format!("workers {core} and {other} share one physical core, and slow each other down"),
                "write cores of different CORE numbers: lscpu -e=CPU,CORE,NODE",
            );
        }
    }
    Finding::ok(CHECK, "each worker has a physical core of its own")
}

/// What keeps the kernel's scheduler and its ticks off the workers' cores.
fn isolated(host: &Host, busy: &[u32]) -> Finding {
    const CHECK: &str = "cores.isolated";
    if busy.is_empty() {
        return Finding::not_needed(CHECK, "all workers sleep while nothing comes (cores.idle)");
    }
    let isolated = list(&host.read("/sys/devices/system/cpu/isolated").unwrap_or_default());
    let shared: Vec<u32> = busy.iter().copied().filter(|core| !isolated.contains(core)).collect();
    if shared.is_empty() {
        return Finding::ok(CHECK, format!("{} isolated", cores(busy)));
    }
    let wanted = text(busy);
    Finding::warning(
        CHECK,
        format!(
            "the kernel may run other programs on {}: a worker that is interrupted loses packets",
            cores(&shared)
        ),
        format!(
            "in /etc/default/grub add to GRUB_CMDLINE_LINUX: isolcpus=managed_irq,domain,{wanted} nohz_full={wanted} \
             rcu_nocbs={wanted}; then update-grub && reboot"
        ),
    )
}

/// Interrupts that are delivered to workers' cores.
fn interrupts(host: &Host, busy: &[u32]) -> Finding {
    const CHECK: &str = "cores.interrupts";
    if busy.is_empty() {
        return Finding::not_needed(CHECK, "all workers sleep while nothing comes (cores.idle)");
    }
    let mut here = Vec::new();
    for irq in host.list("/proc/irq") {
        let Ok(number) = irq.parse::<u32>() else { continue };
        let said = host
            .read(format!("/proc/irq/{irq}/effective_affinity_list"))
            .filter(|said| !said.is_empty())
            .or_else(|| host.read(format!("/proc/irq/{irq}/smp_affinity_list")));
        // Nothing that has a handler: nothing comes.
        let has_handler = host.list(format!("/proc/irq/{irq}")).iter().any(|name| {
            !matches!(
                name.as_str(),
                "affinity_hint"
                    | "effective_affinity"
                    | "effective_affinity_list"
                    | "node"
                    | "smp_affinity"
                    | "smp_affinity_list"
                    | "spurious"
            )
        });
        if has_handler && list(&said.unwrap_or_default()).iter().any(|core| busy.contains(core)) {
            here.push(number);
        }
    }
    if here.is_empty() {
        return Finding::ok(CHECK, format!("no device interrupts {}", cores(busy)));
    }
    here.sort_unstable();
    let others = list(&host.read("/sys/devices/system/cpu/online").unwrap_or_default());
    let others: Vec<u32> = others.into_iter().filter(|core| !busy.contains(core)).collect();
    let to = if others.is_empty() { "0".to_owned() } else { text(&others) };
    Finding::warning(
        CHECK,
        format!("{} interrupt(s) come to {}: {}", here.len(), cores(busy), text(&here)),
        format!(
            "systemctl disable --now irqbalance; for i in {}; do echo {to} > /proc/irq/$i/smp_affinity_list; done",
            here.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        ),
    )
}

fn governor(host: &Host, busy: &[u32]) -> Finding {
    const CHECK: &str = "cores.frequency";
    let slow: Vec<u32> = busy
        .iter()
        .copied()
        .filter(|core| {
            let file = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
            host.read(file).is_some_and(|governor| governor != "performance")
        })
        .collect();
    if slow.is_empty() {
        return Finding::ok(CHECK, "the kernel does not lower the frequency of workers' cores");
    }
    Finding::warning(
        CHECK,
        format!("the kernel may lower the frequency of {}", cores(&slow)),
        "for f in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do echo performance > $f; done",
    )
}
