//! One PCI device, as sysfs shows it.

use super::Host;

/// A PCI function.
pub(super) struct Pci<'h> {
    host: &'h Host,
    /// `0000:3b:00.0`.
    pub(super) address: String,
}

impl<'h> Pci<'h> {
    /// The device at this address, if there is one.
    pub(super) fn find(host: &'h Host, address: &str) -> Option<Self> {
        let pci = Self { host, address: address.to_ascii_lowercase() };
        host.exists(pci.path("")).then_some(pci)
    }

    fn path(&self, file: &str) -> String {
        format!("/sys/bus/pci/devices/{}/{file}", self.address)
    }

    pub(super) fn read(&self, file: &str) -> Option<String> {
        self.host.read(self.path(file))
    }

    /// The driver that has it.
    pub(super) fn driver(&self) -> Option<String> {
        self.host.link(self.path("driver"))
    }

    /// NVIDIA's (Mellanox) stay with their kernel driver.
    pub(super) fn stays_with_kernel(&self) -> bool {
        self.read("vendor").as_deref() == Some("0x15b3")
    }

    /// The kernel's interfaces on it.
    pub(super) fn interfaces(&self) -> Vec<String> {
        self.host.list(self.path("net"))
    }

    /// The NUMA node; `None` where there is only one, or none is known.
    pub(super) fn node(&self) -> Option<u32> {
        u32::try_from(self.host.number(self.path("numa_node"))?).ok()
    }

    /// Other functions of its IOMMU group that a driver other than VFIO has, bridges aside.
    pub(super) fn strangers_in_group(&self) -> Vec<String> {
        let members = self.host.list(self.path("iommu_group/devices"));
        let others = members.into_iter().filter(|member| *member != self.address);
        others
            .filter(|other| {
                let driver = self.host.link(format!("/sys/bus/pci/devices/{other}/driver"));
                driver.is_some_and(|driver| driver != "vfio-pci" && driver != "pcieport")
            })
            .collect()
    }

    /// Its slot gives less than it could take: what there is and what there could be.
    pub(super) fn slow_slot(&self) -> Option<(String, String)> {
        let both = |speed: &str, width: &str| Some((self.read(speed)?, self.read(width)?));
        let (speed, width) = both("current_link_speed", "current_link_width")?;
        let (best_speed, best_width) = both("max_link_speed", "max_link_width")?;
        let slower = speed != best_speed || width != best_width;
        slower.then(|| (format!("{speed} x{width}"), format!("{best_speed} x{best_width}")))
    }

    /// The version of its firmware, where the kernel shows it.
    pub(super) fn firmware(&self) -> Option<String> {
        let device = self.host.list(self.path("infiniband")).into_iter().next()?;
        self.read(&format!("infiniband/{device}/fw_ver"))
    }
}
