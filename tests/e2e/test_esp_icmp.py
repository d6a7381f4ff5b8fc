"""Traceroute through ESP, and ICMP errors about what is inside and outside."""

import copy
import re

import pytest
from kinds import ESP_TUNNELS, NAT, REKEYED, by_name
from lab.counters import tunnel as row_of
from lab.plan import CLIENT4, CORE_MAC, EDGE4, EDGE6
from lab.traffic import ANSWERED, TOO_BIG, Capture, Sweep, send_frames
from lab.wait import eventually
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.ipsec import ESP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

NARROW = 1400
# These have no window: their SAs may start anew, as they do when a tunnel is removed and comes again.
UNNUMBERED = [tunnel for tunnel in ESP_TUNNELS if tunnel.window == 0]


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("tunnel", [*ESP_TUNNELS[:4], NAT, *REKEYED], ids=by_name)
def test_traceroute_shows_gateway_router_server(lab, tunnel, family):
    words = ["traceroute", f"-{family}", "-n", "-q", "1", "-w", "2", "-m", "6", tunnel.server(family)]
    hops = re.findall(r"^ *\d+ +(\S+)", lab.client.sh(words).stdout, re.MULTILINE)
    gateway = {EDGE4, tunnel.gateway_address(4)} if family == 4 else {
        EDGE6, tunnel.gateway_address(6).replace(":0::", "::")}
    assert len(hops) == 3, hops
    assert hops[0] in gateway
    assert hops[1] not in gateway | {"*"}
    assert hops[2] == tunnel.server(family)


@pytest.mark.parametrize("family", (4, 6))
def test_tunnel_addresses_answer_from_the_far_end(lab, family):
    ours = ESP_TUNNELS[0].gateway_address(family)
    lab.routers["router"].sh(f"ping -c 2 -W 2 {ours}" if family == 4 else f"ping6 -c 2 -W 2 {ours}")


def test_frag_needed_quotes_the_inner_packet(lab):
    tunnel = ESP_TUNNELS[0]
    with Capture(lab.client, "eth0", incoming_only=True) as heard:
        Sweep(lab.client, tunnel.server(4), [1460], df=True).run()
    errors = [p for p in map(Ether, heard.frames) if ICMP in p and p[ICMP].type == 3]
    assert len(errors) == 1
    assert (errors[0][ICMP].code, errors[0][ICMP].nexthopmtu) == (4, 1446)
    quoted = errors[0][ICMP].payload
    assert (quoted.src, quoted.dst, quoted.len) == (CLIENT4, tunnel.server(4), 1488)


def outer_packet(lab, tunnel):
    """One of the gateway's ESP packets into this tunnel, as the switch sees it."""
    spi = lab.associations.outbound[tunnel.name].spi
    with Capture(lab.switch, "gateway") as seen:
        Sweep(lab.client, tunnel.server(4), [1000], df=True).run()
    return next(p.payload for p in map(Ether, seen.frames) if ESP in p and p[ESP].spi == spi)


def error_about(tunnel, outer):
    """A router with a link of 1400 on the way says so."""
    if tunnel.outer == 4:
        return IP(src="198.18.0.99", dst=tunnel.endpoint) / ICMP(type=3, code=4, nexthopmtu=NARROW) / Raw(
            bytes(outer)[:28 + 8 * (tunnel.udp_port is not None)])
    return IPv6(src="2001:db8:2::99", dst=tunnel.endpoint) / ICMPv6PacketTooBig(mtu=NARROW) / Raw(bytes(outer)[:1232])


def tell(lab, error):
    send_frames(lab.switch, "gateway", [Ether(src="02:00:00:00:00:99", dst=CORE_MAC) / error])


@pytest.mark.parametrize("tunnel", UNNUMBERED, ids=by_name)
def test_a_narrow_path_lowers_the_tunnels_mtu(lab, tunnel, config):
    outer = outer_packet(lab, tunnel)
    narrow = tunnel.suite.inner_mtu(tunnel.outer, tunnel.udp_port is not None, NARROW)
    wanted = {narrow - 28: (ANSWERED, None), narrow - 27: (TOO_BIG, narrow)}
    try:
        tell(lab, error_about(tunnel, outer))
        assert eventually(lambda: row_of(lab.gateway, tunnel.name)["mtu"] == narrow)
        assert eventually(lambda: Sweep(lab.client, tunnel.server(4), wanted, df=True).run() == wanted)
    finally:  # removing the tunnel and adding it again forgets what was learned
        acme = config["tenants"]["acme"]
        del acme["tunnels"][tunnel.name]
        acme["routes"] = [route for route in acme["routes"] if route["via"] != tunnel.name]
        lab.gateway.reload(config, lab.associations.without(tunnel))
        lab.gateway.reload(lab.config, lab.associations)
    assert row_of(lab.gateway, tunnel.name)["mtu"] == tunnel.inner_mtu


@pytest.mark.parametrize("tunnel", UNNUMBERED[:3], ids=by_name)
def test_an_error_about_a_packet_that_was_not_ours_changes_nothing(lab, tunnel):
    outer = outer_packet(lab, tunnel)
    forged = copy.deepcopy(outer)
    forged[ESP].spi = 0x00C0FFEE
    tell(lab, error_about(tunnel, forged))
    if tunnel.outer == 4:
        elsewhere = outer.copy()
        elsewhere.dst = "198.18.0.99"
        tell(lab, error_about(tunnel, elsewhere))
    assert not eventually(lambda: row_of(lab.gateway, tunnel.name)["mtu"] != tunnel.inner_mtu, 0.5)
