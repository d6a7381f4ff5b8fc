"""Pings of many sizes through every kind of ESP tunnel, against the kernel's ESP."""

import pytest
from kinds import ESP_FRAGMENTS, ESP_TUNNELS, NAT, by_name
from lab.esp import NARROW_PATH_MTU
from lab.plan import CLIENT4
from lab.traffic import ANSWERED, LOCAL, TOO_BIG, Capture, Sweep
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.layers.l2 import Ether

# Linux cuts no outer packet that carries IPv6: where it does not fit it drops, below 1280 without a word.
KINDS = [(tunnel, family) for tunnel in (*ESP_TUNNELS, *ESP_FRAGMENTS, NAT) for family in (4, 6)
         if family == 4 or not tunnel.outer_fragments]
LINK_MTU = 1500


def kind_name(value):
    """Test ids."""
    return by_name(value) if hasattr(value, "name") else f"v{value}-inside"


def sizes(tunnel, family):
    """1 to 3000: every length of padding, some of all, all near the MTUs."""
    headers = 28 if family == 4 else 48
    fits, link = tunnel.inner_mtu - headers, LINK_MTU - headers
    some = {*range(1, 20), *range(57, 3000, 211), *range(fits - 20, fits + 8), *range(link - 2, link + 3)}
    return sorted(some | {2 * fits, 2 * fits + 1, 2999, 3000})


@pytest.mark.parametrize("tunnel, family", KINDS, ids=kind_name)
def test_any_size_arrives_when_it_may_be_fragmented(lab, tunnel, family):
    sweep = Sweep(lab.client, tunnel.server(family), sizes(tunnel, family), df=False)
    sweep.run()
    assert sweep.of(ANSWERED) == sweep.sizes, {size: what for size, what in sweep.results.items() if what[0] != ANSWERED}


@pytest.mark.parametrize("tunnel, family", KINDS, ids=kind_name)
def test_with_df_what_fits_arrives_and_the_rest_is_told_the_exact_mtu(lab, tunnel, family):
    headers = 28 if family == 4 else 48
    fits, link = tunnel.inner_mtu - headers, LINK_MTU - headers
    near = [size for size in sizes(tunnel, family) if size > 1000]
    sweep = Sweep(lab.client, tunnel.server(family), near, df=True)
    sweep.run()
    wanted = {size: (ANSWERED, None) if size <= fits else (TOO_BIG, tunnel.inner_mtu) if size <= link else (LOCAL, None)
              for size in near}
    assert {size: (sweep.results[size], want) for size, want in wanted.items() if sweep.results[size] != want} == {}


def is_fragment(frame):
    """True for a piece of an outer packet."""
    packet = Ether(frame)
    return IPv6ExtHdrFragment in packet.payload or (IP in packet and packet.payload.name == "IP"
                                                    and (packet.payload.flags.MF or packet.payload.frag > 0))


@pytest.mark.parametrize("tunnel", ESP_FRAGMENTS, ids=by_name)
def test_outer_fragments_of_the_routers_kernel_are_put_together(lab, tunnel):
    """The router's way to us is narrow and it may fragment: it seals the inner packet whole and cuts the outer one."""
    each = [*range(NARROW_PATH_MTU - 28, NARROW_PATH_MTU), *range(1500 - 28 - 12, 1500 - 28 + 1)]
    with Capture(lab.switch, "gateway") as seen:
        sweep = Sweep(lab.server, CLIENT4, each, df=False, source=tunnel.server(4))
        sweep.run()
    assert sweep.of(ANSWERED) == each, sweep.results
    ours = [frame for frame in seen.frames if (packet := Ether(frame).payload) and getattr(packet, "src", "") == tunnel.remote]
    assert sum(map(is_fragment, ours)) >= 2 * len(each), "the router did cut"


