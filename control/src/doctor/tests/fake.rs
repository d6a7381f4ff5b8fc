//! A host below a directory: healthy, until a test breaks something of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use penstock_dataplane::esp::cipher::{Availability, Backend};
use tempfile::TempDir;

use crate::config::{ValidConfig, parse_str};
use crate::doctor::clock::Clock;
use crate::doctor::{Finding, Host, Live, Verdict, examine};

/// A configuration that fits it.
pub(super) const GRE: &str = "\
cores: {control: 0, workers: [2, 3]}
ports:
  edge0: {device: '0000:3b:00.0', addresses: [192.0.2.1/24]}
  core0: {device: '0000:5e:00.1', addresses: [198.51.100.1/24]}
endpoints: {gw: 203.0.113.1}
tenants:
  acme:
    tunnels:
      dc1: {endpoint: gw, remote: 192.0.2.77}
";

/// A host of two sockets with an Intel and an NVIDIA card.
pub(super) struct Fake {
    directory: TempDir,
    pub(super) live: Live,
    pub(super) config: String,
}

impl Fake {
    pub(super) fn healthy() -> Self {
        let available = |backend, state: Result<&str, &str>| Availability {
            backend,
            state: state.map(str::to_owned).map_err(str::to_owned),
        };
        let live = Live {
            clock: Clock::Synchronised,
            backends: vec![
                available(Backend::IpsecMb, Ok("intel-ipsec-mb 1.3")),
                available(Backend::Vaes, Err("this processor has no VAES")),
                available(Backend::RustCrypto, Ok("RustCrypto")),
            ],
        };
        let fake = Self { directory: tempfile::tempdir().unwrap(), live, config: GRE.to_owned() };
        fake.file(
            "/proc/cpuinfo",
            "processor\t: 0\nflags\t\t: fpu constant_tsc avx2 bmi1 bmi2 fma movbe abm aes\n",
        );
        fake.file("/proc/self/status", "CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-15\n");
        fake.file(
            "/proc/self/limits",
            "Max locked memory         unlimited            unlimited            bytes\n",
        );
        fake.file("/proc/self/mounts", "tmpfs /run tmpfs rw 0 0\n");
        fake.file("/proc/self/ns/net", "");
        fake.file("/proc/meminfo", "MemAvailable:    8388608 kB\n");
        fake.file("/proc/irq/24/effective_affinity_list", "0\n");
        fake.file("/proc/irq/24/nvme0q0/x", "");
        fake.file("/proc/net/route", "Iface\tDestination\tGateway\tFlags\nmgmt\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        fake.file("/dev/net/tun", "");
        fake.file("/var/lib/x", "");
        fake.file("/sys/devices/system/cpu/online", "0-15\n");
        fake.file("/sys/devices/system/cpu/isolated", "2-7\n");
        for core in 0..16 {
            let cpu = format!("/sys/devices/system/cpu/cpu{core}");
            fake.file(
                &format!("{cpu}/topology/thread_siblings_list"),
                &format!("{},{}\n", core % 8, core % 8 + 8),
            );
            fake.file(&format!("{cpu}/cpufreq/scaling_governor"), "performance\n");
        }
        fake.file("/sys/devices/system/node/node0/cpulist", "0-7\n");
        fake.file("/sys/devices/system/node/node1/cpulist", "8-15\n");
        for place in ["/sys/kernel/mm/hugepages", "/sys/devices/system/node/node0/hugepages"] {
            fake.file(&format!("{place}/hugepages-2048kB/nr_hugepages"), "1024\n");
            fake.file(&format!("{place}/hugepages-2048kB/free_hugepages"), "1024\n");
        }
        fake.file("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "0\n");
        fake.pci("0000:3b:00.0", "0x8086", "vfio-pci", Some("17"));
        fake.pci("0000:5e:00.1", "0x15b3", "mlx5_core", Some("18"));
        fake.file("/sys/bus/pci/devices/0000:5e:00.1/net/eth8/x", "");
        fake.file("/sys/bus/pci/devices/0000:5e:00.1/infiniband/mlx5_0/fw_ver", "22.39.1002\n");
        fake.file("/sys/class/net/eth8/operstate", "up\n");
        fake
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    pub(super) fn file(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    pub(super) fn remove(&self, path: &str) {
        let path = self.at(path);
        match path.symlink_metadata().unwrap().is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }

    pub(super) fn pci(&self, address: &str, vendor: &str, driver: &str, group: Option<&str>) {
        let device = format!("/sys/bus/pci/devices/{address}");
        self.file(&format!("{device}/vendor"), &format!("{vendor}\n"));
        self.file(&format!("{device}/numa_node"), "0\n");
        for which in ["current", "max"] {
            self.file(&format!("{device}/{which}_link_speed"), "16.0 GT/s PCIe\n");
            self.file(&format!("{device}/{which}_link_width"), "16\n");
        }
        self.link(&format!("{device}/driver"), &format!("../../../bus/pci/drivers/{driver}"));
        if let Some(group) = group {
            self.file(&format!("/sys/kernel/iommu_groups/{group}/devices/{address}"), "");
            let groups = self.at("/sys/kernel/iommu_groups");
            self.link(&format!("{device}/iommu_group"), groups.join(group).to_str().unwrap());
        }
    }

    pub(super) fn config(&self) -> ValidConfig {
        parse_str(&self.config).unwrap()
    }

    pub(super) fn examine(&self) -> Vec<Finding> {
        examine(&Host::new(self.directory.path(), self.live.clone()), Some(&self.config()))
    }

    /// The one finding that is neither ok nor not needed; it must be of this check.
    #[track_caller]
    pub(super) fn fault(&self, check: &str) -> (Verdict, String, String) {
        let findings = self.examine();
        let faults: Vec<_> =
            findings.iter().filter(|one| matches!(one.verdict, Verdict::Warning | Verdict::Bad)).collect();
        let [fault] = faults[..] else { panic!("{check}: {faults:#?}") };
        assert_eq!(fault.check, check, "{fault:#?}");
        let mend = fault.mend.clone().unwrap();
        assert!(!mend.is_empty(), "{fault:#?}");
        (fault.verdict, fault.says.clone(), mend)
    }

    pub(super) fn ipsec(&mut self) {
        self.config = self.config.replace("remote: 192.0.2.77", "remote: 192.0.2.77, type: ipsec");
    }

    /// With a tunnel that negotiates, and all that this needs.
    pub(super) fn ike(&mut self) {
        let psk = self.at("/etc/dc1.psk");
        self.file("/etc/dc1.psk", "correct horse battery staple\n");
        fs::set_permissions(&psk, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let ike = format!("remote: 192.0.2.77, type: ipsec, ike: {{psk_file: {}}}", psk.display());
        self.config = self.config.replace("remote: 192.0.2.77", &ike);
        self.file("/usr/sbin/charon-systemd", "");
        self.file(
            "/var/lib/dpkg/status",
            "Package: zlib1g\nStatus: install ok installed\nVersion: 1:1.2\n\nPackage: charon-systemd\nStatus: install ok installed\n\
             Version: 5.9.8-5+deb12u1\n",
        );
        self.file(
            "/usr/lib/ipsec/plugins/libstrongswan-penstock.so",
            "\x7fELF penstock-charon-plugin version=0.1.0 strongswan=5.9.8\0",
        );
    }
}
