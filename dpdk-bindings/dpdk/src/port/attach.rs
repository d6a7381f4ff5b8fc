//! Finding a device by its string, and letting it go.

use super::error::PortError;
use crate::errno::Errno;
use dpdk_sys::{rte_device, rte_eth_dev_info};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ports that a [`super::Port`] owns. Also makes attaching and detaching one at a time.
static OWNED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

fn owned() -> MutexGuard<'static, BTreeSet<u16>> {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Probes `device` and gives its port number. A PCI device named at start is probed already.
pub(super) fn attach(device: &str) -> Result<u16, PortError> {
    let mut owned = owned();
    let name = device.split(',').next().unwrap_or_default();
    let failed =
        |cause: Errno| PortError::Attach { device: device.to_owned(), cause, hint: hint(device, cause) };
    let c_device = CString::new(device).map_err(|_| failed(Errno(libc::EINVAL)))?;

    let mut id = find(name);
    if id.is_none() {
        // SAFETY: a C string; the caller holds a share of the EAL.
        let probed = unsafe { dpdk_sys::rte_dev_probe(c_device.as_ptr()) };
        match Errno::check(probed) {
            Ok(_) | Err(Errno(libc::EEXIST)) => id = find(name),
            Err(cause) => return Err(failed(cause)),
        }
    }
    let id = id.ok_or_else(|| failed(Errno(libc::ENODEV)))?;
    if !owned.insert(id) {
        return Err(PortError::NameInUse { device: device.to_owned(), name: name.to_owned() });
    }
    Ok(id)
}

/// Stops, closes and removes a port. Errors are logged: nobody is left who could act on them.
pub(super) fn detach(id: u16, text: &str) {
    let mut owned = owned();
    let device = info(id).ok().map(|info| info.device);
    // SAFETY: a valid port whose Port and queues are gone (the caller is their last share).
    let closed = unsafe {
        dpdk_sys::rte_eth_dev_stop(id);
        dpdk_sys::rte_eth_dev_close(id)
    };
    if let Err(cause) = Errno::check(closed) {
        tracing::warn!(device = text, %cause, "the device did not close");
    }
    owned.remove(&id);
    // A device with several ports goes with its last one.
    let shared = ports().any(|other| info(other).ok().map(|info| info.device) == device);
    if let Some(device) = device.filter(|device| !device.is_null() && !shared) {
        // SAFETY: the device was there a moment ago, under the same lock, and has no port any more.
        let removed = unsafe { dpdk_sys::rte_dev_remove(device) };
        if let Err(cause) = Errno::check(removed) {
            tracing::warn!(device = text, %cause, "the device was not removed");
        }
    }
}

/// The port whose name, or whose device's name, is `name`.
fn find(name: &str) -> Option<u16> {
    let c_name = CString::new(name).ok()?;
    let mut id = 0;
    // SAFETY: a C string and a place for the answer.
    if unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut id) } == 0 {
        return Some(id);
    }
    ports().find(|id| info(*id).is_ok_and(|info| device_name(info.device).is_some_and(|text| text == name)))
}

fn ports() -> impl Iterator<Item = u16> {
    let next = |from: u16| {
        // SAFETY: any number may be asked.
        let id = unsafe { dpdk_sys::rte_eth_find_next(from) };
        (u32::from(id) < dpdk_sys::PENSTOCK_MAX_PORTS).then_some(id)
    };
    std::iter::successors(next(0), move |id| next(id + 1))
}

fn device_name(device: *mut rte_device) -> Option<String> {
    if device.is_null() {
        return None;
    }
    // SAFETY: a device of a valid port; its name is a C string that lives as long.
    let name = unsafe { std::ffi::CStr::from_ptr(dpdk_sys::rte_dev_name(device)) };
    Some(name.to_string_lossy().into_owned())
}

/// What the driver says about a port.
pub(super) fn info(id: u16) -> Result<rte_eth_dev_info, Errno> {
    let mut info = MaybeUninit::zeroed();
    // SAFETY: a place for the answer, which DPDK clears itself before it fills it; any port number may be asked.
    Errno::check(unsafe { dpdk_sys::rte_eth_dev_info_get(id, info.as_mut_ptr()) })?;
    // SAFETY: filled, as the call succeeded.
    Ok(unsafe { info.assume_init() })
}

/// What an operator can do about a device that does not attach.
fn hint(device: &str, cause: Errno) -> String {
    let name = device.split(',').next().unwrap_or_default();
    if is_pci(name) {
        return pci_hint(name);
    }
    let argument =
        |key: &str| device.split(',').skip(1).find_map(|one| one.strip_prefix(key)?.strip_prefix('='));
    let needs_interface = name.starts_with("net_af_packet") || name.starts_with("net_af_xdp");
    match argument("iface") {
        None if needs_interface => return "name the network interface: add ',iface=NAME'".into(),
        Some(interface) if needs_interface && !interface_exists(interface) => {
            return format!(
                "there is no network interface '{interface}' in this network namespace (ip link)"
            );
        }
        _ => {}
    }
    if let Some(file) = argument("rx_pcap").filter(|file| !Path::new(file).exists()) {
        return format!("there is no file '{file}'");
    }
    if matches!(cause.0, libc::EPERM | libc::EACCES) {
        return "root or CAP_NET_RAW and CAP_NET_ADMIN are needed".into();
    }
    if !name.starts_with("net_") {
        return "a device is a PCI address (0000:3b:00.0) or a DPDK virtual device (net_af_packet0,iface=NAME)".into();
    }
    "check its name and arguments in DPDK's guide for this driver; DPDK's own message is above this one on stderr"
        .into()
}

fn pci_hint(address: &str) -> String {
    let path = format!("/sys/bus/pci/devices/{address}");
    if !Path::new(&path).exists() {
        return "there is no such PCI device on this machine (lspci -D)".into();
    }
    let driver = std::fs::read_link(format!("{path}/driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    match driver.as_deref() {
        Some("vfio-pci" | "uio_pci_generic" | "igb_uio") => {
            "it was not named when DPDK started: restart, and see that the IOMMU group is free".into()
        }
        Some(driver) => {
            format!("it is held by the kernel driver {driver}: dpdk-devbind.py -b vfio-pci {address}")
        }
        None => format!("no driver is bound to it: dpdk-devbind.py -b vfio-pci {address}"),
    }
}

/// Whether the text is a PCI address, domain:bus:device.function or without the domain.
fn is_pci(text: &str) -> bool {
    let hex =
        |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some((rest, function)) = text.rsplit_once('.') else { return false };
    let mut parts = rest.rsplit(':');
    hex(function, 1)
        && parts.next().is_some_and(|device| hex(device, 2))
        && parts.next().is_some_and(|bus| hex(bus, 2))
        && parts.next().is_none_or(|domain| hex(domain, 4))
        && parts.next().is_none()
}

fn interface_exists(name: &str) -> bool {
    // SAFETY: a C string.
    CString::new(name).is_ok_and(|name| unsafe { libc::if_nametoindex(name.as_ptr()) } != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_pci_addresses_from_names() {
        assert!(is_pci("0000:3b:00.0") && is_pci("3b:00.1"));
        for other in ["net_null0", "0000:3b:00", "zz:00.0", "1:0000:3b:00.0", "net_ring0.1"] {
            assert!(!is_pci(other), "{other}");
        }
    }

    #[test]
    fn hints_name_the_missing_thing() {
        let nothing = Errno(libc::ENODEV);
        assert!(hint("net_af_packet0", nothing).contains("iface="));
        assert!(hint("net_af_packet0,iface=nope0", nothing).contains("'nope0'"));
        assert!(hint("net_pcap0,rx_pcap=/nowhere.pcap", nothing).contains("/nowhere.pcap"));
        assert!(hint("ffff:ff:1f.7", nothing).contains("lspci"));
        assert!(hint("eth0", nothing).contains("PCI address"));
    }
}
