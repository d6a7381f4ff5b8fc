"""The kernel's side: ARP and ND, new and changed neighbours, what is punted."""

from kinds import TUNNELS
from lab.counters import account
from lab.plan import CLIENT4, CLIENT6, CORE4, EDGE4, EDGE6, EDGE_MAC
from lab.traffic import ANSWERED, Sweep
from lab.wait import eventually


def mac_of(space, interface):
    return space.sh(f"ip -br link show {interface}").stdout.split()[2]


def test_the_ports_mac_is_what_neighbours_learn(lab):
    port = next(row for row in lab.gateway.show("ports")["rows"] if row["name"] == "edge0")
    lab.client.sh(f"ip neigh flush dev eth0; ping -c 1 -W 2 {EDGE4}; ping -c 1 -W 2 {EDGE6}")
    for address in (EDGE4, EDGE6):
        assert port["mac"] in lab.client.sh(f"ip neigh show {address}").stdout
    assert port["mac"] == EDGE_MAC == mac_of(lab.twin, "edge0")


def test_addresses_and_names_of_the_twins(lab):
    said = lab.twin.sh("ip -br address").stdout
    for address in (EDGE4, EDGE6, CORE4):
        assert address in said


def test_first_packet_to_an_unknown_neighbour_is_not_lost(lab):
    for address, length in (("192.0.2.11", 24), ("2001:db8:1::11", 64)):
        lab.client.sh(f"ip address add {address}/{length} dev eth0" + (" nodad" if ":" in address else ""))
        source = TUNNELS[0].server(6 if ":" in address else 4)
        assert " 0% packet loss" in lab.server.sh(f"ping -c 3 -i 0.2 -W 2 -I {source} {address}").stdout
        assert eventually(lambda: address in [row["ip"] for row in lab.gateway.show("neighbors")["rows"]])
        lab.client.sh(f"ip address del {address}/{length} dev eth0")


def test_a_neighbour_that_changes_its_mac_is_followed(lab):
    old = mac_of(lab.client, "eth0")
    new = "02:00:00:00:77:77"
    try:
        lab.client.sh(f"sysctl -qw net.ipv4.conf.eth0.arp_notify=1; ip link set eth0 address {new}")
        lab.client.sh(f"ping -c 1 -W 2 {EDGE4}; ping -c 1 -W 2 {EDGE6}", check=False)
        assert eventually(lambda: {(row["ip"], row["mac"]) for row in lab.gateway.show("neighbors")["rows"]}
                          >= {(CLIENT4, new), (CLIENT6, new)})
        for family in (4, 6):
            sweep = Sweep(lab.client, TUNNELS[0].server(family), range(1, 50), df=False)
            assert {outcome for outcome, _ in sweep.run().values()} == {ANSWERED}
    finally:
        lab.client.sh(f"ip link set eth0 address {old}; ping -c 1 -W 2 {EDGE4}; ping -c 1 -W 2 {EDGE6}", check=False)


def test_what_is_for_the_kernel_is_counted_as_punted(lab):
    def punted():
        return sum(row["punted"] for row in lab.gateway.show("cores")["rows"])

    before = punted()
    lab.client.sh(f"ping -c 10 -i 0.05 -W 1 {EDGE4}")
    assert eventually(lambda: punted() >= before + 10)


def test_a_tcp_service_in_the_twins_namespace_is_reachable(lab):
    """BGP would be one: the kernel's own sockets work through the port."""
    from lab.traffic import tcp_copy

    done = tcp_copy(lab.client, lab.twin, EDGE4, 100_000, port=1790)
    assert done.sent_sha256 == done.received_sha256
    done = tcp_copy(lab.twin, lab.client, CLIENT4, 100_000, port=1790)
    assert done.sent_sha256 == done.received_sha256
    assert account(lab.gateway).came
