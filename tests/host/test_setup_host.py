"""scripts/setup-host: what it does to a made-up host, that it takes all of it back, and what it refuses to touch."""

import os
import shutil
import subprocess

import pytest

from lab.gateway import REPOSITORY
from lab.netns import Namespace, veth

SCRIPT = REPOSITORY / "scripts" / "setup-host"
NIC, NEIGHBOUR, MLX5 = "0000:3b:00.0", "0000:3b:00.1", "0000:5e:00.0"


class Host:
    """A tree with what the script reads and writes, in a namespace with real interfaces."""

    def __init__(self, root, space):
        self.root = root
        self.space = space
        self.file("proc/sys/vm/nr_hugepages", "4")
        self.file("proc/sys/kernel/numa_balancing", "1")
        self.file("proc/cmdline", "quiet")
        self.file("sys/devices/system/cpu/online", "0-7")
        for irq, cores in ((24, "2"), (25, "0-7"), (26, "1")):
            self.file(f"proc/irq/{irq}/smp_affinity_list", cores)
        self.file("sys/bus/pci/drivers_probe", "")
        (root / "sys/bus/pci/drivers/vfio-pci").mkdir(parents=True)
        self.nic(NIC, "0x8086", "ice", 17, "pen0")
        self.nic(MLX5, "0x15b3", "mlx5_core", 18, "pen2")

    def file(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def nic(self, address, vendor, driver, group, interface):
        device = self.root / "sys/bus/pci/devices" / address
        self.file(device / "vendor", vendor)
        self.file(device / "class", "0x020000")
        self.file(device / "driver_override", "(null)")
        self.file(self.root / "sys/bus/pci/drivers" / driver / "unbind", "")
        (device / "net" / interface).mkdir(parents=True)
        (device / "driver").symlink_to(self.root / "sys/bus/pci/drivers" / driver)
        members = self.root / "sys/kernel/iommu_groups" / str(group) / "devices"
        members.mkdir(parents=True, exist_ok=True)
        (members / address).touch()
        (device / "iommu_group").symlink_to(members.parent)

    def read(self, path):
        return (self.root / path).read_text()

    def tree(self):
        """Every file and what is in it, but for what the kernel itself would have changed when written to."""
        commands = ("unbind", "drivers_probe", "driver_override")
        return {path.relative_to(self.root): path.read_text() for path in self.root.rglob("*")
                if path.is_file() and not path.is_symlink() and path.name not in commands}

    def run(self, *words, ssh=None):
        environment = {key: value for key, value in os.environ.items() if key != "SSH_CONNECTION"} | {"SETUP_HOST_ROOT": str(self.root)}
        if ssh:
            environment["SSH_CONNECTION"] = ssh
        command = self.space.command([str(SCRIPT), *words])
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def host(tmp_path):
    """A host with a card on pen0 that nothing uses yet."""
    space, other = Namespace(f"setup{os.getpid()}"), Namespace(f"setup{os.getpid()}-other")
    space.create()
    other.create()
    veth(space, "pen0", other, "peer")
    yield Host(tmp_path, space)
    space.delete()
    other.delete()


ALL = ("apply", "--hugepages", "2048", "--nic", NIC, "--cores", "2-3")


def test_everything_is_applied_and_taken_back(host):
    before = host.tree()
    done = host.run(*ALL)
    assert done.returncode == 0, done.stderr
    assert host.read("proc/sys/vm/nr_hugepages") == "1024"
    assert host.read("proc/sys/kernel/numa_balancing") == "0"
    assert "vm.nr_hugepages = 1024" in host.read("etc/sysctl.d/60-penstock.conf")
    assert host.read(f"sys/bus/pci/devices/{NIC}/driver_override").strip() == "vfio-pci"
    assert host.read("sys/bus/pci/drivers/ice/unbind") == NIC
    assert host.read("sys/bus/pci/drivers_probe") == NIC
    assert host.read("etc/modules-load.d/penstock.conf") == "vfio-pci\n"
    assert host.read("proc/irq/24/smp_affinity_list") == "0,1,4,5,6,7"
    assert host.read("proc/irq/25/smp_affinity_list") == "0,1,4,5,6,7"
    assert host.read("proc/irq/26/smp_affinity_list") == "1", "it was not on a worker's core"
    assert "isolcpus=managed_irq,domain,2-3" in done.stdout
    undone = host.run("undo")
    assert undone.returncode == 0, undone.stderr
    assert host.tree() == before
    assert host.read(f"sys/bus/pci/devices/{NIC}/driver_override").strip() == ""
    assert "nothing was applied" in host.run("undo").stdout


def test_twice_is_once(host):
    before = host.tree()
    assert host.run(*ALL).returncode == 0
    applied = host.tree()
    again = host.run("apply", "--hugepages", "2048", "--cores", "2-3")
    assert again.returncode == 0 and host.tree() == applied, again.stdout
    assert host.run("undo").returncode == 0
    assert host.tree() == before


def test_a_dry_run_changes_nothing_and_says_all(host):
    before = host.tree()
    planned = host.run(*ALL, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert host.tree() == before
    for words in ("/proc/sys/vm/nr_hugepages: 4 -> 1024", f"{NIC}: ice -> vfio-pci", "smp_affinity_list: 2 -> 0,1,4,5,6,7"):
        assert words in planned.stdout, planned.stdout


@pytest.mark.parametrize("family", ("-4", "-6"))
def test_the_default_route_stays(host, family):
    host.space.sh("ip link set pen0 up; ip address add 192.0.2.9/24 dev pen0; ip address add 2001:db8::9/64 dev pen0 nodad")
    host.space.sh(f"ip {family} route add default via {'192.0.2.1' if family == '-4' else '2001:db8::1'}")
    assert_refused(host, "pen0 carries the default route")


def test_the_default_route_over_a_bridge_stays(host):
    host.space.sh("ip link add br0 type bridge; ip link set pen0 master br0; ip link set pen0 up; ip link set br0 up;"
                  "ip address add 192.0.2.9/24 dev br0; ip route add default via 192.0.2.1")
    (host.root / "sys/class/net/br0/lower_pen0").mkdir(parents=True)
    assert_refused(host, "pen0 carries the default route (as br0)")


@pytest.mark.parametrize("address", ("192.0.2.9", "2001:db8::9"))
def test_the_operators_login_stays(host, address):
    host.space.sh("ip link set pen0 up; ip address add 192.0.2.9/24 dev pen0; ip address add 2001:db8::9/64 dev pen0 nodad")
    assert_refused(host, "pen0 carries an SSH session", ssh=f"198.51.100.7 50022 {address} 22")


def test_a_login_behind_sudo_stays(host):
    """sudo takes the variable away; the shell that it was called from still has it."""
    host.space.sh("ip link set pen0 up; ip address add 192.0.2.9/24 dev pen0")
    before = host.tree()
    words = " ".join(["env", "-u", "SSH_CONNECTION", f"SETUP_HOST_ROOT={host.root}", str(SCRIPT), "apply", "--nic", NIC])
    login = os.environ | {"SSH_CONNECTION": "198.51.100.7 50022 192.0.2.9 22"}
    refused = subprocess.run(host.space.command(["bash", "-c", f"{words}; exit $?"]), env=login, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "carries an SSH session" in refused.stderr, refused.stderr
    assert host.tree() == before


def assert_refused(host, why, ssh=None, words=ALL):
    before = host.tree()
    refused = host.run(*words, ssh=ssh)
    assert refused.returncode == 1 and why in refused.stderr, refused.stdout + refused.stderr
    assert host.tree() == before, "nothing is changed when anything is refused"


def test_cards_that_are_not_to_be_bound(host):
    assert_refused(host, "it stays with its kernel driver", words=("apply", "--hugepages", "2048", "--nic", MLX5))
    assert_refused(host, "there is no PCI device", words=("apply", "--nic", "0000:99:00.0"))
    assert_refused(host, "is not a PCI address", words=("apply", "--nic", "eth0"))
    host.file(f"sys/bus/pci/devices/{NIC}/class", "0x010802")
    assert_refused(host, "is no network card", words=("apply", "--nic", NIC))


def test_a_group_goes_as_a_whole(host):
    host.nic(NEIGHBOUR, "0x8086", "ice", 17, "pen1")
    assert_refused(host, f"shares its IOMMU group with {NEIGHBOUR}", words=("apply", "--nic", NIC))
    assert host.run("apply", "--nic", NIC, "--nic", NEIGHBOUR).returncode == 0


def test_without_an_iommu(host):
    shutil.rmtree(host.root / "sys/kernel/iommu_groups")
    assert_refused(host, "there is no IOMMU", words=("apply", "--nic", NIC))
    host.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y")
    assert host.run("apply", "--nic", NIC).returncode == 0


def test_words_that_make_no_sense(host):
    for words in ((), ("apply",), ("destroy",), ("apply", "--hugepages", "many"), ("apply", "--cores", "two"), ("apply", "--cores", "0-7")):
        before = host.tree()
        assert host.run(*words).returncode != 0, words
        assert host.tree() == before, words
