"""What an operator types first: traceroute, ping to the gateway, and the errors on the way."""

import re

import pytest
from kinds import TUNNELS, by_name
from lab.counters import tunnel as row_of
from lab.plan import CLIENT4, CORE4, CORE6, EDGE4, EDGE6, ENDPOINT4, ENDPOINT6
from lab.traffic import ANSWERED, TOO_BIG, Capture, Sweep, send_frames
from lab.wait import eventually
from scapy.all import ICMP, IP, Ether, Raw
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import GRE


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("tunnel", TUNNELS, ids=by_name)
def test_traceroute_shows_gateway_router_server(lab, tunnel, family):
    words = ["traceroute", f"-{family}", "-n", "-q", "1", "-w", "2", "-m", "6", tunnel.server(family)]
    hops = re.findall(r"^ *\d+ +(\S+)", lab.client.sh(words).stdout, re.MULTILINE)
    gateway = {EDGE4, tunnel.gateway_address(4)} if family == 4 else {
        EDGE6, tunnel.gateway_address(6).replace(":0::", "::")}
    assert len(hops) == 3, hops
    assert hops[0] in gateway
    assert hops[1] not in gateway | {"*"}
    assert hops[2] == tunnel.server(family)


@pytest.mark.parametrize("address", (EDGE4, EDGE6, CORE4, CORE6, ENDPOINT4, ENDPOINT6))
def test_the_gateways_own_addresses_answer(lab, address):
    sweep = Sweep(lab.client, address, (1, 56, 1000, 1400), df=False)
    assert {outcome for outcome, _ in sweep.run().values()} == {ANSWERED}


@pytest.mark.parametrize("family", (4, 6))
def test_tunnel_addresses_answer_from_both_ends(lab, family):
    tunnel = TUNNELS[0]
    ours, theirs = tunnel.gateway_address(family), tunnel.router_address(family)
    lab.routers["router"].sh(f"ping -{family} -c 2 -W 2 {ours}" if family == 4 else f"ping6 -c 2 -W 2 {ours}")
    assert theirs


def test_frag_needed_quotes_the_packet_and_comes_from_the_gateway(lab):
    tunnel = TUNNELS[0]
    with Capture(lab.client, "eth0", incoming_only=True) as heard:
        Sweep(lab.client, tunnel.server(4), [1460], df=True).run()
    errors = [p for p in map(Ether, heard.frames) if ICMP in p and p[ICMP].type == 3]
    assert len(errors) == 1
    error = errors[0]
    assert (error[ICMP].code, error[ICMP].nexthopmtu) == (4, 1476)
    assert error[IP].dst == CLIENT4
    assert error[IP].src in (EDGE4, tunnel.gateway_address(4))
    quoted = error[ICMP].payload
    assert (quoted.src, quoted.dst, quoted.len) == (CLIENT4, tunnel.server(4), 1488)
    assert error[IP].chksum == IP(bytes(error[IP].copy())).chksum


def test_ipv6_is_never_told_less_than_1280(lab, config):
    tunnel = TUNNELS[4]
    config["tenants"]["acme"]["tunnels"][tunnel.name]["mtu"] = 1280
    lab.gateway.reload(config)
    sweep = Sweep(lab.client, tunnel.server(6), [1232, 1233, 1400], df=True)
    assert sweep.run() == {1232: (ANSWERED, None), 1233: (TOO_BIG, 1280), 1400: (TOO_BIG, 1280)}


@pytest.mark.parametrize("tunnel", (TUNNELS[0], TUNNELS[4]), ids=by_name)
def test_a_narrow_path_lowers_the_tunnels_mtu(lab, tunnel, config):
    """An ICMP error about one of our outer packets: a router on the way has a link of 1400."""
    with Capture(lab.switch, "gateway") as seen:
        Sweep(lab.client, tunnel.server(4), [1000], df=True).run()
    ours = [p for p in map(Ether, seen.frames) if GRE in p and p.payload.dst == tunnel.remote]
    outer = ours[0].payload
    if tunnel.outer == 4:
        error = IP(src="198.18.0.99", dst=tunnel.endpoint) / ICMP(type=3, code=4, nexthopmtu=1400) / Raw(
            bytes(outer)[:28])
    else:
        error = IPv6(src="2001:db8:2::99", dst=tunnel.endpoint) / ICMPv6PacketTooBig(mtu=1400) / Raw(
            bytes(outer)[:1232])
    send_frames(lab.switch, "gateway", [Ether(src="02:00:00:00:00:99", dst=ours[0].src) / error])
    narrow = tunnel.inner_mtu - 100
    wanted = {narrow - 28: (ANSWERED, None), narrow - 27: (TOO_BIG, narrow)}
    try:
        assert eventually(lambda: row_of(lab.gateway, tunnel.name)["mtu"] == narrow)
        assert eventually(lambda: Sweep(lab.client, tunnel.server(4), wanted, df=True).run() == wanted)
    finally:  # removing the tunnel and adding it again forgets what was learned
        acme = config["tenants"]["acme"]
        del acme["tunnels"][tunnel.name]
        acme["routes"] = [route for route in acme["routes"] if route["via"] != tunnel.name]
        lab.gateway.reload(config)
        lab.gateway.reload(lab.config)
    assert row_of(lab.gateway, tunnel.name)["mtu"] == tunnel.inner_mtu
