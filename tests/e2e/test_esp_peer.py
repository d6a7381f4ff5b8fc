"""The peer of the ESP tests against scapy, without a gateway: `ip xfrm` on the router is right, for every tunnel.

The test stands where the gateway would be: it seals a ping, the router's kernel opens, forwards to itself and seals
the answer.
"""

import os

import pytest
from kinds import ESP_FRAGMENTS, ESP_TUNNELS, WRAPPED, by_name
from lab.judge import Judge
from lab.plan import CLIENT4, CLIENT6, CORE4, CORE6, CORE_MAC
from lab.rekey import replace
from lab.topology import Lab
from lab.traffic import Capture, send_frames
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.ipsec import ESP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

SIZES = (0, 1, 2, 3, 15, 100, 1100)


@pytest.fixture(scope="module")
def peer():
    """A lab whose gateway is this module."""
    with Lab(f"peer{os.getpid()}") as lab:
        lab.up(ESP_TUNNELS + ESP_FRAGMENTS + WRAPPED)
        lab.apply_associations = lambda: None
        router = lab.routers["router"]
        router.batch([f"neighbor replace {address} lladdr {CORE_MAC} dev wan" for address in (CORE4, CORE6)])
        lab.router_mac = router.sh("/sbin/ip -o link show wan").stdout.split("link/ether ")[1].split()[0]
        lab.judges = {tunnel.name: (Judge(lab.associations.outbound[tunnel.name], "router"),
                                    Judge(lab.associations.inbound[tunnel.name][0], "gateway"))
                      for tunnel in ESP_TUNNELS + ESP_FRAGMENTS}
        yield lab


@pytest.fixture(autouse=True)
def alive():
    """No gateway, nothing to ask afterwards."""


def ping(tunnel, family, size):
    payload = Raw(os.urandom(size))
    if family == 4:
        return IP(src=CLIENT4, dst=tunnel.router_address(4)) / ICMP(id=7, seq=size) / payload
    return IPv6(src=CLIENT6, dst=tunnel.router_address(6)) / ICMPv6EchoRequest(id=7, seq=size, data=payload.load)


def answers(lab, tunnel, packets, wraps=False):
    """What the router sends back for these outer packets, opened; extended numbers near the top have the lower half."""
    _, judge = lab.judges[tunnel.name]
    found = []
    with Capture(lab.ports, "core0", incoming_only=True) as seen:
        send_frames(lab.ports, "core0", [Ether(src=CORE_MAC, dst=lab.router_mac) / packet for packet in packets])
        for _ in range(20):
            seen.drain(0.1)
            found = [packet for packet in map(Ether, seen.frames) if ESP in packet and packet[ESP].spi == judge.sa.spi]
            if len(found) == len(packets):
                break
    return [(outer, judge.open(outer.payload, high=int(wraps and outer[ESP].seq < 2**31))) for outer in found]


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("tunnel", ESP_TUNNELS + ESP_FRAGMENTS, ids=by_name)
def test_kernel_and_scapy_understand_each_other(peer, tunnel, family):
    judge, _ = peer.judges[tunnel.name]
    asked = [ping(tunnel, family, size) for size in SIZES]
    got = answers(peer, tunnel, [judge.seal(packet) for packet in asked])
    assert len(got) == len(SIZES)
    for (outer, inner), packet in zip(got, asked, strict=True):
        assert (inner.src, inner.dst) == (packet.dst, packet.src)
        assert ICMP in inner and inner[ICMP].type == 0 if family == 4 else ICMPv6EchoReply in inner
        assert bytes(inner)[28 if family == 4 else 48:] == bytes(packet)[28 if family == 4 else 48:]
        assert (outer.payload.src, outer.payload.dst) == (tunnel.remote, tunnel.endpoint)
        assert (outer.payload.payload.name == "UDP") == (tunnel.udp_port is not None)
    numbers = [outer[ESP].seq for outer, _ in got]
    assert numbers == list(range(numbers[0], numbers[0] + len(SIZES)))


@pytest.mark.parametrize("tunnel", [tunnel for tunnel in ESP_TUNNELS if tunnel.window][:6], ids=by_name)
def test_the_kernels_window_refuses_a_repeated_number(peer, tunnel):
    judge, _ = peer.judges[tunnel.name]
    twice = judge.seal(ping(tunnel, 4, 33))
    assert len(answers(peer, tunnel, [twice])) == 1
    assert not answers(peer, tunnel, [twice])


def test_the_kernel_refuses_damage(peer):
    tunnel = ESP_TUNNELS[0]
    judge, _ = peer.judges[tunnel.name]
    damaged = judge.seal(ping(tunnel, 4, 33))
    damaged[ESP].data = damaged[ESP].data[:20] + bytes([damaged[ESP].data[20] ^ 1]) + damaged[ESP].data[21:]
    assert not answers(peer, tunnel, [damaged])


@pytest.mark.parametrize("tunnel", WRAPPED, ids=by_name)
def test_the_kernel_crosses_four_billion(peer, tunnel):
    replace(peer, tunnel, more=f"replay-oseq {2**32 - 4}")
    judge = Judge(peer.associations.outbound[tunnel.name], "router")
    peer.judges[tunnel.name] = judge, Judge(peer.associations.inbound[tunnel.name][0], "gateway")
    got = answers(peer, tunnel, [judge.seal(ping(tunnel, 4, size)) for size in range(8)], wraps=True)
    assert [outer[ESP].seq for outer, _ in got] == [2**32 - 3, 2**32 - 2, 2**32 - 1, 0, 1, 2, 3, 4]
