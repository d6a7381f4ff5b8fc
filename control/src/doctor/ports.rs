//! The ports of the configuration: the device, who has it, its IOMMU group, its node, its link.

use super::numbers::list;
use super::pci::Pci;
use super::{Finding, Host};
use crate::config::{Device, ValidConfig};

pub(super) fn examine(host: &Host, config: &ValidConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut needs_iommu = false;
    for (name, port) in &config.ports {
        match &port.device {
            Device::Pci(_) => needs_iommu |= pci_port(host, config, name, &port.device, &mut findings),
            Device::Virtual(device) => virtual_port(host, name, device, &mut findings),
        }
    }
    findings.push(iommu(host, needs_iommu));
    findings
}

/// The PCI address of a device; what follows it are DPDK's arguments.
fn address(device: &Device) -> Option<&str> {
    match device {
        Device::Pci(device) => device.split(',').next(),
        Device::Virtual(_) => None,
    }
}

/// The NUMA node of a port's device.
pub(super) fn node_of(host: &Host, device: &Device) -> Option<u32> {
    Pci::find(host, address(device)?)?.node()
}

/// Whether the port needs VFIO, and so an IOMMU.
fn pci_port(
    host: &Host,
    config: &ValidConfig,
    name: &str,
    device: &Device,
    findings: &mut Vec<Finding>,
) -> bool {
    let check = |what: &str| format!("port.{name}.{what}");
    let address = address(device).unwrap_or_default();
    let Some(pci) = Pci::find(host, address) else {
        findings.push(Finding::bad(
            check("device"),
            format!("there is no PCI device {address}"),
            "write an address that dpdk-devbind.py -s lists under network devices",
        ));
        return false;
    };
    findings.push(driver(host, &pci, check("driver")));
    if let Some((now, best)) = pci.slow_slot() {
        findings.push(Finding::warning(
            check("slot"),
            format!("its PCIe slot gives {now}, it could take {best}"),
            "put it into a wider slot, or look for the slot's settings in the firmware",
        ));
    }
    findings.push(match pci.firmware() {
        Some(version) => Finding::ok(check("firmware"), version),
        None => Finding::not_needed(
            check("firmware"),
            "not shown by the kernel; its driver says at the start if it is too old",
        ),
    });
    findings.push(link(host, &pci, check("link")));
    findings.push(near_workers(host, config, &pci, check("numa")));
    !pci.stays_with_kernel()
}

fn driver(host: &Host, pci: &Pci<'_>, check: String) -> Finding {
    let address = &pci.address;
    let interfaces = pci.interfaces();
    let busy = interfaces.iter().find(|name| carries_default_route(host, name));
    match pci.driver() {
        Some(driver) if pci.stays_with_kernel() => match driver.as_str() {
            "mlx5_core" => Finding::ok(check, "mlx5_core, which DPDK works beside"),
            other => Finding::bad(
                check,
                format!("{other} has it, but DPDK's mlx5 driver works beside the kernel's"),
                format!("dpdk-devbind.py -b mlx5_core {address}"),
            ),
        },
        Some(driver) if driver == "vfio-pci" => match pci.strangers_in_group() {
            others if others.is_empty() => Finding::ok(check, "vfio-pci"),
            others => Finding::bad(
                check,
                format!("vfio-pci has it, but its IOMMU group is shared with {}", others.join(", ")),
                format!("dpdk-devbind.py -b vfio-pci {}", others.join(" ")),
            ),
        },
        Some(driver) if driver == "igb_uio" || driver == "uio_pci_generic" => Finding::warning(
            check,
            format!("{driver} has it: without an IOMMU the card can write anywhere in memory"),
            format!("modprobe vfio-pci && dpdk-devbind.py -b vfio-pci {address}"),
        ),
        Some(driver) => match busy {
            Some(name) => Finding::bad(
                check,
                format!(
                    "the kernel has it ({driver}, {name}), and the default route is on {name}: taking it cuts this host off"
                ),
                "write another port's device, or move the default route to another interface first",
            ),
            None => Finding::bad(
                check,
                format!(
                    "the kernel has it ({driver}{}{})",
                    if interfaces.is_empty() { "" } else { ", " },
                    interfaces.join(" ")
                ),
                format!("modprobe vfio-pci && dpdk-devbind.py -b vfio-pci {address}"),
            ),
        },
        None if pci.stays_with_kernel() => Finding::bad(
            check,
            "no driver has it",
            format!("modprobe mlx5_core && dpdk-devbind.py -b mlx5_core {address}"),
        ),
        None => Finding::bad(
            check,
            "no driver has it",
            format!("modprobe vfio-pci && dpdk-devbind.py -b vfio-pci {address}"),
        ),
    }
}

/// Whether packets without a better way leave by this interface (/proc/net/route, /proc/net/ipv6_route).
fn carries_default_route(host: &Host, interface: &str) -> bool {
    let v4 = host.read("/proc/net/route").unwrap_or_default();
    let v6 = host.read("/proc/net/ipv6_route").unwrap_or_default();
    let is_v4 = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some(interface)
            && words.next() == Some("00000000")
            && words.nth(5) == Some("00000000")
    };
    let is_v6 = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.last() == Some(&interface)
            && words.first().is_some_and(|net| net.bytes().all(|byte| byte == b'0'))
            && words.get(1) == Some(&"00")
    };
    v4.lines().any(is_v4) || v6.lines().any(is_v6)
}

fn link(host: &Host, pci: &Pci<'_>, check: String) -> Finding {
    let Some(interface) = pci.interfaces().into_iter().next() else {
        return Finding::not_needed(check, "seen when penstock runs: penstock show ports");
    };
    link_of(host, &interface, check)
}

fn link_of(host: &Host, interface: &str, check: String) -> Finding {
    let state = host.read(format!("/sys/class/net/{interface}/operstate")).unwrap_or_default();
    match state.as_str() {
        "down" | "lowerlayerdown" | "notpresent" => {
            let is_up = host.read(format!("/sys/class/net/{interface}/flags"));
            let is_up = is_up.and_then(|flags| u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok());
            match is_up.is_some_and(|flags| flags & 1 == 1) {
                true => Finding::warning(
                    check,
                    format!("{interface} has no link"),
                    "look at the cable, the optics and the other end",
                ),
                false => Finding::warning(
                    check,
                    format!("{interface} is down"),
                    format!("ip link set {interface} up"),
                ),
            }
        }
        _ => {
            Finding::ok(check, format!("{interface} is {}", if state.is_empty() { "there" } else { &state }))
        }
    }
}

fn near_workers(host: &Host, config: &ValidConfig, pci: &Pci<'_>, check: String) -> Finding {
    let Some(node) = pci.node() else {
        return Finding::not_needed(check, "the device belongs to no NUMA node of its own");
    };
    let near = list(&host.read(format!("/sys/devices/system/node/node{node}/cpulist")).unwrap_or_default());
    let far: Vec<u32> =
        config.cores.workers.iter().copied().map(u32::from).filter(|core| !near.contains(core)).collect();
    if far.is_empty() {
        return Finding::ok(check, format!("node {node}, as all workers"));
    }
    let far_text = super::numbers::text(&far);
    let near_text = super::numbers::text(&near);
    Finding::warning(
        check,
        format!(
            "it is on node {node}, workers on {far_text} are not: their packets cross between the sockets"
        ),
        format!("write workers from {near_text}, or give this port's queues to such by cores.queues"),
    )
}

fn virtual_port(host: &Host, name: &str, device: &str, findings: &mut Vec<Finding>) {
    let check = |what: &str| format!("port.{name}.{what}");
    let mut words = device.split(',');
    let driver = words.next().unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit());
    findings.push(pmd(host, driver, check("driver")));
    for interface in words.filter_map(|word| {
        let (key, value) = word.split_once('=')?;
        matches!(key, "iface" | "rx_iface_in" | "rx_iface").then_some(value)
    }) {
        findings.push(match host.exists(format!("/sys/class/net/{interface}")) {
            true => link_of(host, interface, check("link")),
            false => Finding::bad(
                check("device"),
                format!("there is no interface {interface} in this network namespace"),
                "write an interface that ip link lists, or run penstock where it is: ip netns exec NAME penstock run ...",
            ),
        });
    }
}

/// The file of a DPDK driver: DPDK loads all that are in its directory.
fn pmd(host: &Host, driver: &str, check: String) -> Finding {
    for architecture in host.list("/usr/lib") {
        for directory in host.list(format!("/usr/lib/{architecture}/dpdk")) {
            let drivers = format!("/usr/lib/{architecture}/dpdk/{directory}");
            if host.list(&drivers).iter().any(|file| file.starts_with(&format!("librte_{driver}.so"))) {
                return Finding::ok(check, format!("DPDK's {driver}"));
            }
        }
    }
    let package = driver.replace('_', "-");
    Finding::bad(
        check,
        format!("DPDK's driver {driver} is not installed"),
        format!("apt-get install $(apt-cache search --names-only '^librte-{package}[0-9]' | cut -d' ' -f1)"),
    )
}

fn iommu(host: &Host, needed: bool) -> Finding {
    const CHECK: &str = "iommu";
    if !needed {
        return Finding::not_needed(CHECK, "no port is used by VFIO");
    }
    if !host.list("/sys/kernel/iommu_groups").is_empty() {
        return Finding::ok(CHECK, "on");
    }
    let unsafe_mode = host.read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
    if matches!(unsafe_mode.as_deref(), Some("Y" | "1")) {
        return Finding::warning(
            CHECK,
            "there is none, and VFIO works without: the card can write anywhere in memory",
            "turn VT-d or AMD-Vi on in the firmware; on Intel add intel_iommu=on iommu=pt to GRUB_CMDLINE_LINUX in \
             /etc/default/grub, then update-grub && reboot",
        );
    }
    Finding::bad(
        CHECK,
        "there is none, and VFIO does not work without",
        "turn VT-d or AMD-Vi on in the firmware; on Intel add intel_iommu=on iommu=pt to GRUB_CMDLINE_LINUX in \
         /etc/default/grub, then update-grub && reboot. In a virtual machine: modprobe vfio enable_unsafe_noiommu_mode=1",
    )
}
