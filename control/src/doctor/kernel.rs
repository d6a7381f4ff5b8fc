//! What the kernel twins and DPDK need of the system: tun, namespaces, rights, directories.

use std::path::Path;

use super::{Finding, Host, encrypts};
use crate::config::ValidConfig;

/// Capabilities by their bit (linux/capability.h), and what each is for.
const CAPABILITIES: [(u32, &str, &str); 5] = [
    (12, "CAP_NET_ADMIN", "twins, routes"),
    (13, "CAP_NET_RAW", "raw sockets"),
    (14, "CAP_IPC_LOCK", "memory for DMA"),
    (21, "CAP_SYS_ADMIN", "network namespaces"),
    (23, "CAP_SYS_NICE", "cores of threads"),
];

pub(super) fn examine(host: &Host, config: Option<&ValidConfig>) -> Vec<Finding> {
    let mut findings = vec![rights(host), locked_memory(host, config), tun(host), namespaces(host)];
    if let Some(config) = config {
        findings.push(state(host, config));
        findings.push(run(host, config));
    }
    findings
}

fn rights(host: &Host) -> Finding {
    const CHECK: &str = "permissions";
    let status = host.read("/proc/self/status").unwrap_or_default();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(held) = held.and_then(|held| u64::from_str_radix(held.trim(), 16).ok()) else {
        return Finding::warning(
            CHECK,
            "the kernel does not say which capabilities there are",
            "cat /proc/self/status",
        );
    };
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(bit, ..)| held >> bit & 1 == 0)
        .map(|(_, name, what)| format!("{name} ({what})"))
        .collect();
    if missing.is_empty() {
        return Finding::ok(CHECK, "all capabilities that are needed");
    }
    Finding::bad(
        CHECK,
        format!("this process lacks {}", missing.join(", ")),
        "run it as root, or as the unit does: systemctl start penstock. A container needs --cap-add for each",
    )
}

fn locked_memory(host: &Host, config: Option<&ValidConfig>) -> Finding {
    const CHECK: &str = "memory.locked";
    if config.is_some_and(|config| !config.memory.hugepages) {
        return Finding::not_needed(CHECK, "memory.hugepages is false");
    }
    let limits = host.read("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    match line.and_then(|line| line.split_whitespace().next()) {
        Some("unlimited") => Finding::ok(CHECK, "no limit"),
        Some(bytes) => Finding::warning(
            CHECK,
            format!("at most {bytes} bytes may be locked; VFIO locks all of memory.size_mib"),
            "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit (ours has it)",
        ),
        None => Finding::warning(CHECK, "the kernel does not say how much memory may be locked", "ulimit -l"),
    }
}

fn tun(host: &Host) -> Finding {
    const CHECK: &str = "kernel.tun";
    match host.exists("/dev/net/tun") {
        true => Finding::ok(CHECK, "/dev/net/tun"),
        false => Finding::bad(
            CHECK,
            "there is no /dev/net/tun: twins cannot be made",
            "modprobe tun; echo tun > /etc/modules-load.d/penstock.conf; a container needs --device /dev/net/tun",
        ),
    }
}

fn namespaces(host: &Host) -> Finding {
    const CHECK: &str = "kernel.namespaces";
    match host.exists("/proc/self/ns/net") {
        true => Finding::ok(CHECK, "network namespaces"),
        false => Finding::bad(
            CHECK,
            "the kernel has no network namespaces (CONFIG_NET_NS)",
            "boot a kernel that has them, as Debian's: apt-get install linux-image-amd64",
        ),
    }
}

/// What must outlive a restart of the host.
fn state(host: &Host, config: &ValidConfig) -> Finding {
    const CHECK: &str = "directories.state";
    let directory = &config.node.state;
    let parent = directory.parent().unwrap_or(Path::new("/"));
    if !encrypts(config) {
        return Finding::not_needed(CHECK, "no tunnel encrypts");
    }
    if host.exists(directory) || host.exists(parent) {
        return Finding::ok(CHECK, directory.display().to_string());
    }
    Finding::bad(
        CHECK,
        format!("{} does not exist: {} cannot be made", parent.display(), directory.display()),
        format!("mkdir -p {}", parent.display()),
    )
}

/// What must not.
fn run(host: &Host, config: &ValidConfig) -> Finding {
    const CHECK: &str = "directories.run";
    if !encrypts(config) {
        return Finding::not_needed(CHECK, "no tunnel encrypts");
    }
    let mounts = host.read("/proc/self/mounts").unwrap_or_default();
    let in_memory = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        matches!((words.next(), words.next()), (Some("/run" | "/dev/shm"), Some("tmpfs" | "ramfs")))
    });
    match in_memory {
        true => Finding::ok(CHECK, "/run or /dev/shm is in memory"),
        false => Finding::bad(
            CHECK,
            "neither /run nor /dev/shm is in memory: sender IDs could come back after a restart of the host",
            "mount -t tmpfs tmpfs /run   # at boot, before anything is in it; a container needs --tmpfs /run",
        ),
    }
}
