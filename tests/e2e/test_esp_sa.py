"""Frames that the router's kernel really sealed, and what becomes of them when they come again, damaged or late."""

import re
import time

import pytest
from kinds import ESP_TUNNELS, LIMITED, NAT, SELECT, WRAPPED, by_name
from lab.counters import drops
from lab.judge import NEXT_DUMMY, Judge
from lab.plan import CLIENT4, CLIENT6, CORE_MAC
from lab.rekey import replace
from lab.traffic import ANSWERED, LOST, Capture, Sweep, send_frames
from lab.wait import eventually
from lab.xfrm import forget_line, state_line
from scapy.layers.inet import UDP
from scapy.layers.ipsec import ESP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

WINDOWED = [tunnel for tunnel in ESP_TUNNELS if tunnel.window == 64]
OPEN = [tunnel for tunnel in ESP_TUNNELS if tunnel.window == 0]
ROUTER_MAC = "02:00:00:00:00:98"


def pings(lab, tunnel, count=10, family=4):
    """Pings from the client; all must be answered."""
    sweep = Sweep(lab.client, tunnel.server(family), range(1, count + 1), df=True)
    assert sweep.run() == {size: (ANSWERED, None) for size in range(1, count + 1)}


def from_the_router(lab, tunnel, count=10):
    """Frames that the kernel sealed and the gateway opened, as they crossed the link to the gateway."""
    spis = {sa.spi for sa in lab.associations.inbound[tunnel.name]}
    with Capture(lab.switch, "gateway") as seen:
        pings(lab, tunnel, count)
    return [frame for frame in seen.frames if ESP in (packet := Ether(frame)) and packet[ESP].spi in spis]


@pytest.fixture
def new_drops(lab):
    """A question: which drops that are about ESP have been counted since the test began?"""
    before = drops(lab.gateway)

    def ask():
        return {reason: count - before.get(reason, 0) for reason, count in drops(lab.gateway).items()
                if reason.startswith(("esp_", "natt_")) and count != before.get(reason, 0)}

    return ask


def inject(lab, packets):
    """Puts frames, or packets without an Ethernet header, on the link to the gateway."""
    send_frames(lab.switch, "gateway", [
        packet if isinstance(packet, bytes) or packet.name == "Ethernet"
        else Ether(src=ROUTER_MAC, dst=CORE_MAC) / packet for packet in packets])


def assert_all_die(lab, packets, reason):
    """Each of these is dropped for this reason. A busy machine may lose one in front of the gateway: then all again."""
    seen = []
    for _ in range(4):
        before = drops(lab.gateway)

        def new(before=before):
            return {name: count - before.get(name, 0) for name, count in drops(lab.gateway).items()
                    if name.startswith(("esp_", "natt_")) and count != before.get(name, 0)}

        inject(lab, packets)
        if eventually(lambda new=new: new() == {reason: len(packets)}, 2):
            return
        seen.append(new())
    raise AssertionError(f"{len(packets)} packets, wanted {reason}, four times: {seen}")


@pytest.mark.parametrize("tunnel", WINDOWED, ids=by_name)
def test_what_comes_again_is_a_replay_and_later_too_old(lab, tunnel):
    frames = from_the_router(lab, tunnel)
    assert len(frames) >= 10
    assert_all_die(lab, frames, "esp_replay")
    pings(lab, tunnel, 80)
    # Extended numbers have no too old: what is below the window is taken for the next 2^32 (RFC 4303 A2.2).
    assert_all_die(lab, frames[:5], "esp_auth" if tunnel.esn else "esp_too_old")
    pings(lab, tunnel)


@pytest.mark.parametrize("tunnel", OPEN, ids=by_name)
def test_without_a_window_what_comes_again_passes(lab, tunnel, new_drops):
    frames = from_the_router(lab, tunnel)
    with Capture(lab.client, "eth0", incoming_only=True) as seen:
        inject(lab, frames)
        assert eventually(lambda: len(seen.drain()) >= len(frames), 2)
    assert new_drops() == {}


@pytest.mark.parametrize("tunnel", ESP_TUNNELS, ids=by_name)
def test_one_bit_is_enough(lab, tunnel):
    frames = []
    for number, frame in enumerate(from_the_router(lab, tunnel, 8)):
        packet = Ether(frame)
        data = bytearray(packet[ESP].data)
        packet[ESP].seq += 1000  # not a number that the window knows; it is part of what is authentic
        if number % 2:
            data[number * 7 % len(data)] ^= 1 << number
        packet[ESP].data = bytes(data)
        if UDP in packet:
            del packet[UDP].chksum
        frames.append(packet)
    assert len(frames) >= 8
    assert_all_die(lab, frames, "esp_auth")
    pings(lab, tunnel)


def test_an_spi_that_is_not_there(lab):
    frames = [Ether(frame) for frame in from_the_router(lab, ESP_TUNNELS[0])]
    for number, packet in enumerate(frames):
        packet[ESP].spi = (0x0000_0100, 0x00C0_FFEE, 0xFFFF_FFFF)[number % 3]
    assert_all_die(lab, frames, "esp_sa_unknown")


def test_dummies_and_strangers_inside_are_dropped(lab):
    tunnel = OPEN[0]
    judge = Judge(lab.associations.inbound[tunnel.name][0], "gateway")
    assert_all_die(lab, [judge.seal_bytes(bytes(100), NEXT_DUMMY, sequence=number) for number in range(1, 6)], "esp_dummy")
    assert_all_die(lab, [judge.seal_bytes(bytes(100), 17, sequence=number) for number in (7, 8)], "esp_next_header")


@pytest.mark.parametrize("family", (4, 6))
def test_the_selectors_are_the_routers_limits(lab, family, new_drops):
    pings(lab, SELECT, family=family)
    ours = SELECT.router_address(family)
    client = CLIENT4 if family == 4 else CLIENT6
    # The server's prefix is inside the selectors, the router's address in the tunnel is not.
    lab.routers["router"].sh(f"{'ping' if family == 4 else 'ping6'} -c 3 -i 0.1 -W 1 -I {ours} {client}", check=False)
    assert eventually(lambda: new_drops() == {"esp_selector": 3}), new_drops()


def test_keepalives_of_a_router_behind_nat(lab):
    for tunnel in [tunnel for tunnel in (*ESP_TUNNELS[:4], NAT) if tunnel.udp_port is not None]:
        judge = Judge(lab.associations.inbound[tunnel.name][0], "gateway")
        assert_all_die(lab, [judge.headers() / Raw(b"\xff")] * 4, "natt_keepalive")


@pytest.mark.parametrize("tunnel", WRAPPED, ids=by_name)
def test_extended_numbers_cross_four_billion(lab, tunnel, new_drops):
    """The router begins 100 packets before the lower half wraps."""
    replace(lab, tunnel, more=f"replay-oseq {2**32 - 101}")
    for family in (4, 6):
        pings(lab, tunnel, 150, family)
    state = lab.routers["router"].sh(f"/sbin/ip -s xfrm state list spi "
                                     f"{lab.associations.inbound[tunnel.name][0].spi:#x}").stdout
    assert "oseq-hi 0x1" in state, state
    assert new_drops() == {}


def test_after_the_last_allowed_packet_the_sa_is_silent_and_says_why(lab, new_drops):
    replace(lab, LIMITED, limits={"hard_packets": 50})
    sweep = Sweep(lab.client, LIMITED.server(4), range(1, 81), df=True, tries=1)
    sweep.run()
    assert len(sweep.of(ANSWERED)) == 50, sweep.results
    assert len(sweep.of(LOST)) == 30
    assert eventually(lambda: new_drops() == {"esp_sequence": 30}), new_drops()
    replace(lab, LIMITED)
    pings(lab, LIMITED)


def test_a_nat_that_gives_the_router_another_port_is_followed(lab, new_drops):
    """RFC 3947 6: the packets of the gateway go to where authentic packets last came from."""
    router, sa = lab.routers["router"], lab.associations.inbound[NAT.name][0]
    pings(lab, NAT)
    router.listen_for_udp_encapsulation({40501})

    def come_from(port):
        # The numbering goes on, for only the newest packet may move the peer.
        state = router.sh(f"/sbin/ip -s xfrm state list spi {sa.spi:#x}").stdout
        number = int(re.search(r"oseq (0x[0-9a-f]+)", state)[1], 16)
        router.batch([forget_line(sa, "gateway"),
                      state_line(sa, "gateway", udp_port=port, more=f"replay-oseq {number}")])
        outward = lab.associations.outbound[NAT.name]
        router.batch([forget_line(outward, "router"), state_line(outward, "router", udp_port=port)])
        assert Sweep(lab.server, CLIENT4, [100], df=True, source=NAT.server(4)).run()[100][0] in (ANSWERED, LOST)
        time.sleep(0.2)
        with Capture(lab.switch, "gateway") as seen:
            pings(lab, NAT)
        spi = outward.spi
        return {packet[UDP].dport for packet in map(Ether, seen.frames) if ESP in packet and packet[ESP].spi == spi}

    assert come_from(40501) == {40501}
    assert come_from(40500) == {40500}
    assert new_drops() == {}
