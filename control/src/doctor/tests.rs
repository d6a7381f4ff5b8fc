//! A healthy host, and every fault that is known, one at a time: each is named, and so is what mends it.

mod fake;

use std::fs;

use super::clock::Clock;
use super::{Host, Verdict, examine};
use fake::{Fake, GRE};

#[test]
fn a_healthy_host_has_no_fault() {
    let mut fake = Fake::healthy();
    for negotiates in [false, true] {
        if negotiates {
            fake.ike();
        }
        let findings = fake.examine();
        let faults: Vec<_> =
            findings.iter().filter(|one| matches!(one.verdict, Verdict::Warning | Verdict::Bad)).collect();
        assert!(faults.is_empty(), "{faults:#?}");
        assert!(findings.iter().all(|one| one.mend.is_none()));
    }
    let fw = fake.examine().into_iter().find(|one| one.check == "port.core0.firmware").unwrap();
    assert_eq!((fw.verdict, fw.says.as_str()), (Verdict::Ok, "22.39.1002"));
}

#[test]
fn an_empty_root_is_no_crash() {
    let empty = tempfile::tempdir().unwrap();
    let host = Host::new(empty.path(), Fake::healthy().live);
    let without = examine(&host, None);
    assert!(without.iter().any(|one| one.verdict == Verdict::Bad));
    assert!(examine(&host, Some(&Fake::healthy().config())).len() > without.len());
}

#[test]
fn processors() {
    let fake = Fake::healthy();
    fake.file("/proc/cpuinfo", "flags : fpu constant_tsc bmi1 bmi2 fma movbe abm\n");
    let (verdict, says, _) = fake.fault("cpu.features");
    assert_eq!(verdict, Verdict::Bad);
    assert!(says.contains("lacks avx2;"), "{says}");
    fake.file("/proc/cpuinfo", "flags : fpu avx2 bmi1 bmi2 fma movbe abm\n");
    assert_eq!(fake.fault("cpu.features").0, Verdict::Warning);
}

#[test]
fn ciphers() {
    let mut fake = Fake::healthy();
    fake.live.backends[0].state = Err("libIPSec_MB.so.1 is not installed".to_owned());
    fake.ipsec();
    let (verdict, says, mend) = fake.fault("cpu.crypto");
    assert_eq!((verdict, mend.as_str()), (Verdict::Warning, "apt-get install libipsec-mb1"));
    assert!(says.contains("libIPSec_MB.so.1 is not installed"), "{says}");
    let auto = fake.config.clone();
    fake.config = format!("crypto: {{backend: ipsec-mb}}\n{auto}");
    assert_eq!(fake.fault("cpu.crypto").0, Verdict::Bad);
    fake.config = format!("crypto: {{backend: vaes}}\n{auto}");
    assert!(fake.fault("cpu.crypto").1.contains("has no VAES"));
    fake.config = auto;
    fake.live.backends[1].state = Ok("AES-GCM by VAES".to_owned());
    assert!(fake.examine().iter().all(|one| one.verdict != Verdict::Warning), "VAES will do");
}

#[test]
fn cores_that_are_not_there_or_not_ours() {
    let fake = Fake::healthy();
    fake.file("/sys/devices/system/cpu/online", "0-2\n");
    let (verdict, says, _) = fake.fault("cores.available");
    assert_eq!(verdict, Verdict::Bad);
    assert!(says.contains("core 3") && says.contains("0-2"), "{says}");
    fake.file("/sys/devices/system/cpu/online", "0-15\n");
    fake.file("/proc/self/status", "CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0,3\n");
    let (verdict, says, mend) = fake.fault("cores.available");
    assert_eq!((verdict, says.as_str()), (Verdict::Bad, "this process may not use core 2"));
    assert!(mend.contains("CPUAffinity="));
}

#[test]
fn cores_that_others_use() {
    let mut fake = Fake::healthy();
    fake.file("/sys/devices/system/cpu/isolated", "3\n");
    let (_, says, mend) = fake.fault("cores.isolated");
    assert!(says.contains("on core 2:"), "{says}");
    assert!(mend.contains("isolcpus=managed_irq,domain,2-3 nohz_full=2-3"), "{mend}");
    // A worker that sleeps shares its core gladly.
    fake.config = fake.config.replace("workers: [2, 3]", "workers: [2, 3], idle: {2: sleep}");
    assert!(fake.examine().iter().all(|one| one.verdict != Verdict::Warning));
    fake.config = GRE.to_owned();
    fake.file("/sys/devices/system/cpu/isolated", "2-3\n");

    fake.file("/proc/irq/77/effective_affinity_list", "3\n");
    assert!(
        fake.examine().iter().all(|one| one.verdict != Verdict::Warning),
        "an interrupt that nobody handles"
    );
    fake.file("/proc/irq/77/eth8-0/x", "");
    let (_, says, mend) = fake.fault("cores.interrupts");
    assert_eq!(says, "1 interrupt(s) come to cores 2-3: 77");
    assert!(mend.contains("for i in 77; do echo 0-1,4-15 >"), "{mend}");
    fake.file("/proc/irq/77/effective_affinity_list", "0\n");

    fake.file("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave\n");
    assert!(fake.fault("cores.frequency").1.contains("core 3"));
}

#[test]
fn workers_on_one_physical_core() {
    let mut fake = Fake::healthy();
    fake.file("/sys/devices/system/cpu/isolated", "2,10\n");
    fake.file("/sys/devices/system/node/node0/cpulist", "0-15\n");
    fake.config = fake.config.replace("[2, 3]", "[2, 10]");
    assert!(fake.fault("cores.hyperthreads").1.contains("workers 2 and 10 share"));
}

#[test]
fn hugepages() {
    let mut fake = Fake::healthy();
    let pages = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    fake.file(&format!("{pages}/free_hugepages"), "10\n");
    let (verdict, says, _) = fake.fault("memory.hugepages");
    assert_eq!(verdict, Verdict::Warning);
    assert!(says.contains("only 20 free"), "{says}");
    fake.file(&format!("{pages}/nr_hugepages"), "10\n");
    let (verdict, _, mend) = fake.fault("memory.hugepages");
    assert_eq!(verdict, Verdict::Bad);
    assert!(mend.starts_with("sysctl -w vm.nr_hugepages=1024"), "{mend}");
    fake.config = format!("memory: {{hugepages: false, size_mib: 9000}}\n{GRE}");
    assert!(fake.fault("memory.hugepages").1.contains("8192 MiB of ordinary memory are available"));
}

#[test]
fn hugepages_of_the_other_socket() {
    let fake = Fake::healthy();
    fake.file("/sys/bus/pci/devices/0000:3b:00.0/numa_node", "1\n");
    let findings = fake.examine();
    let node = findings.iter().find(|one| one.check == "memory.node").unwrap();
    assert_eq!(node.verdict, Verdict::Bad);
    assert_eq!(
        node.mend.as_deref(),
        Some("echo 1024 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages")
    );
    let numa = findings.iter().find(|one| one.check == "port.edge0.numa").unwrap();
    assert!(
        numa.says.contains("workers on 2-3 are not") && numa.mend.as_ref().unwrap().contains("8-15"),
        "{numa:?}"
    );
}

#[test]
fn buffers_that_do_not_fit() {
    let mut fake = Fake::healthy();
    fake.config = format!("memory: {{size_mib: 64}}\n{GRE}");
    let (verdict, says, mend) = fake.fault("memory.buffers");
    assert_eq!(verdict, Verdict::Bad);
    assert!(says.contains("of the 64 of memory.size_mib") && mend.contains("size_mib: 256"), "{says} {mend}");
}

#[test]
fn locked_memory_and_rights() {
    let fake = Fake::healthy();
    fake.file(
        "/proc/self/limits",
        "Max locked memory         65536                65536                bytes\n",
    );
    assert!(fake.fault("memory.locked").2.contains("LimitMEMLOCK=infinity"));
    let fake = Fake::healthy();
    fake.file("/proc/self/status", "CapEff:\t0000000000003000\nCpus_allowed_list:\t0-15\n");
    let (verdict, says, _) = fake.fault("permissions");
    assert_eq!(verdict, Verdict::Bad);
    assert!(says.contains("CAP_SYS_ADMIN") && !says.contains("CAP_NET_ADMIN"), "{says}");
}

#[test]
fn what_twins_need() {
    let fake = Fake::healthy();
    fake.remove("/dev/net/tun");
    assert!(fake.fault("kernel.tun").2.starts_with("modprobe tun"));
    let fake = Fake::healthy();
    fake.remove("/proc/self/ns/net");
    assert_eq!(fake.fault("kernel.namespaces").0, Verdict::Bad);
}

#[test]
fn directories_for_ipsec() {
    let mut fake = Fake::healthy();
    fake.ipsec();
    fake.file("/proc/self/mounts", "/dev/sda1 /run ext4 rw 0 0\n");
    assert_eq!(fake.fault("directories.run").0, Verdict::Bad);
    let mut fake = Fake::healthy();
    fake.ipsec();
    fake.remove("/var/lib");
    assert_eq!(fake.fault("directories.state").2, "mkdir -p /var/lib");
}

#[test]
fn cards_that_the_kernel_has() {
    let fake = Fake::healthy();
    fake.link("/sys/bus/pci/devices/0000:3b:00.0/driver", "../drivers/ice");
    fake.file("/sys/bus/pci/devices/0000:3b:00.0/net/ens1/x", "");
    fake.file("/sys/class/net/ens1/operstate", "up\n");
    let (verdict, says, mend) = fake.fault("port.edge0.driver");
    assert_eq!((verdict, says.as_str()), (Verdict::Bad, "the kernel has it (ice, ens1)"));
    assert_eq!(mend, "modprobe vfio-pci && dpdk-devbind.py -b vfio-pci 0000:3b:00.0");
    // Not the one by which the operator may have come.
    fake.file("/proc/net/route", "ens1\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
    let (_, says, mend) = fake.fault("port.edge0.driver");
    assert!(says.contains("the default route is on ens1") && !mend.contains("devbind"), "{says} {mend}");
    fake.file("/proc/net/route", "");
    let zeros = "0".repeat(32);
    let v6 = format!("{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 1 0 00000003 ens1\n");
    fake.file("/proc/net/ipv6_route", &v6);
    assert!(fake.fault("port.edge0.driver").1.contains("the default route is on ens1"));
}

#[test]
fn cards_with_another_driver() {
    let fake = Fake::healthy();
    let driver = "/sys/bus/pci/devices/0000:3b:00.0/driver";
    fake.remove(driver);
    assert!(fake.fault("port.edge0.driver").1.contains("no driver has it"));
    fake.link(driver, "../drivers/igb_uio");
    assert_eq!(fake.fault("port.edge0.driver").0, Verdict::Warning);
    fake.link(driver, "../drivers/vfio-pci");
    fake.link("/sys/bus/pci/devices/0000:5e:00.1/driver", "../drivers/vfio-pci");
    assert_eq!(fake.fault("port.core0.driver").2, "dpdk-devbind.py -b mlx5_core 0000:5e:00.1");
    fake.remove("/sys/bus/pci/devices/0000:5e:00.1/driver");
    assert_eq!(fake.fault("port.core0.driver").0, Verdict::Bad);
}

#[test]
fn a_group_shared_with_what_the_kernel_uses() {
    let fake = Fake::healthy();
    fake.file("/sys/kernel/iommu_groups/17/devices/0000:3b:00.1", "");
    fake.link("/sys/bus/pci/devices/0000:3b:00.1/driver", "../drivers/ice");
    let (_, says, mend) = fake.fault("port.edge0.driver");
    assert!(
        says.contains("shared with 0000:3b:00.1") && mend.ends_with("vfio-pci 0000:3b:00.1"),
        "{says} {mend}"
    );
}

#[test]
fn no_card_no_iommu_a_narrow_slot() {
    let mut fake = Fake::healthy();
    fake.config = fake.config.replace("0000:3b:00.0", "0000:99:00.0");
    assert!(fake.fault("port.edge0.device").1.contains("no PCI device 0000:99:00.0"));
    let fake = Fake::healthy();
    fake.remove("/sys/kernel/iommu_groups");
    let (verdict, _, mend) = fake.fault("iommu");
    assert_eq!(verdict, Verdict::Bad);
    assert!(mend.contains("intel_iommu=on iommu=pt"));
    fake.file("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    assert_eq!(fake.fault("iommu").0, Verdict::Warning);
    let fake = Fake::healthy();
    fake.file("/sys/bus/pci/devices/0000:3b:00.0/current_link_width", "8\n");
    assert!(fake.fault("port.edge0.slot").1.contains("16.0 GT/s PCIe x8, it could take 16.0 GT/s PCIe x16"));
}

#[test]
fn links_that_are_down() {
    let fake = Fake::healthy();
    fake.file("/sys/class/net/eth8/operstate", "down\n");
    fake.file("/sys/class/net/eth8/flags", "0x1003\n");
    assert!(fake.fault("port.core0.link").2.contains("cable"));
    fake.file("/sys/class/net/eth8/flags", "0x1002\n");
    assert_eq!(fake.fault("port.core0.link").2, "ip link set eth8 up");
}

#[test]
fn virtual_devices() {
    let mut fake = Fake::healthy();
    fake.config = GRE.replace("'0000:3b:00.0'", "'net_pcap0,rx_iface_in=veth0,tx_iface=veth0'");
    fake.file("/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_pcap.so.23.0", "");
    assert!(fake.fault("port.edge0.device").1.contains("no interface veth0"));
    fake.file("/sys/class/net/veth0/operstate", "up\n");
    assert!(fake.examine().iter().all(|one| one.mend.is_none()));
    fake.remove("/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0");
    assert!(fake.fault("port.edge0.driver").2.contains("librte-net-pcap"));
}

#[test]
fn strongswan_and_its_plugin() {
    let plugin = "/usr/lib/ipsec/plugins/libstrongswan-penstock.so";
    let mut fake = Fake::healthy();
    fake.ike();
    fake.remove("/usr/sbin/charon-systemd");
    assert!(fake.fault("strongswan").2.starts_with("apt-get install charon-systemd"));
    fake.file("/usr/sbin/charon-systemd", "");
    fake.file(plugin, "penstock-charon-plugin version=0.1.0 strongswan=5.9.11\0");
    assert_eq!(fake.fault("strongswan.plugin").1, "it was made for strongSwan 5.9.11, 5.9.8 is installed");
    fake.file(plugin, "something else");
    assert!(fake.fault("strongswan.plugin").1.contains("is not our plugin"));
    fake.remove(plugin);
    assert!(fake.fault("strongswan.plugin").1.contains("is not installed"));
    assert!(fake.fault("strongswan.plugin").2.starts_with("scripts/charon-plugin build"));
    let packages = fs::read_to_string(fake.at("/var/lib/dpkg/status")).unwrap();
    let ours = "Package: penstock\nStatus: install ok installed\nVersion: 0.1.0-1";
    fake.file("/var/lib/dpkg/status", &format!("{packages}\n\n{ours}\n"));
    assert!(fake.fault("strongswan.plugin").2.contains("penstock-charon_*.deb"));
}

#[test]
fn a_charon_of_the_hosts_own() {
    let mut fake = Fake::healthy();
    fake.ike();
    let wanted = "/etc/systemd/system/multi-user.target.wants/strongswan.service";
    fake.link(wanted, "/lib/systemd/system/strongswan.service");
    let (verdict, _, mend) = fake.fault("strongswan.service");
    assert_eq!((verdict, mend.as_str()), (Verdict::Warning, "systemctl disable --now strongswan"));
}

#[test]
fn a_charon_of_the_operators() {
    let mut fake = Fake::healthy();
    fake.ike();
    let vici = fake.at("/run/charon.vici").display().to_string();
    fake.config = format!("ike: {{mode: external, vici: {vici}}}\n{}", fake.config);
    assert_eq!(fake.fault("strongswan").0, Verdict::Warning);
}

#[test]
fn keys_that_others_can_read() {
    let mut fake = Fake::healthy();
    fake.ike();
    fs::set_permissions(fake.at("/etc/dc1.psk"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let (verdict, says, _) = fake.fault("credentials");
    assert_eq!(verdict, Verdict::Bad);
    assert!(says.starts_with("tenants.acme.tunnels.dc1.ike.psk_file: "), "{says}");
    assert!(!says.contains("horse"), "{says}");
}

#[test]
fn clocks() {
    let mut fake = Fake::healthy();
    fake.live.clock = Clock::Free;
    assert!(fake.examine().iter().all(|one| one.mend.is_none()), "GRE needs no clock");
    fake.ipsec();
    let (verdict, _, mend) = fake.fault("clock");
    assert_eq!(verdict, Verdict::Warning);
    assert!(mend.starts_with("apt-get install chrony"));
    fake.live.clock = Clock::Unknown;
    assert_eq!(fake.fault("clock").0, Verdict::Warning);
}

#[test]
fn a_fleet_without_store_keys_and_time() {
    let mut fake = Fake::healthy();
    // Nobody listens at a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fake.config = format!(
        "node: {{name: fra1, number: 1}}\nfleet: {{name: eu, store: {{etcd: {{endpoints: [http://127.0.0.1:{port}]}}}}, key_file: {}, address: 192.0.2.1}}\n{GRE}",
        fake.at("/etc/fleet.key").display()
    );
    fake.live.clock = Clock::Free;
    let findings = fake.examine();
    let bad =
        |check: &str| findings.iter().find(|one| one.check == check && one.verdict == Verdict::Bad).unwrap();
    assert!(bad("fleet.store.member").says.contains(&format!("http://127.0.0.1:{port} cannot be reached")));
    bad("fleet.key_file");
    bad("clock");
    // Somebody takes connections, but is no etcd.
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let findings = fake.examine();
    drop(listener);
    let store = findings.iter().find(|one| one.check == "fleet.store").unwrap();
    assert_eq!(store.verdict, Verdict::Bad, "{store:?}");
}
