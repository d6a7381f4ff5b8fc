"""Every size from 1 to 3000 bytes through every kind of tunnel, against the kernel's GRE."""

import pytest
from kinds import TUNNELS, by_name
from lab.plan import CLIENT4, CLIENT6
from lab.traffic import ANSWERED, DAMAGED, LOCAL, LOST, TOO_BIG, Sweep

SIZES = range(1, 3001)
LINK_MTU = 1500


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("tunnel", TUNNELS, ids=by_name)
def test_any_size_arrives_when_it_may_be_fragmented(lab, tunnel, family):
    sweep = Sweep(lab.client, tunnel.server(family), SIZES, df=False)
    sweep.run()
    assert not sweep.of(DAMAGED)
    assert not sweep.of(LOST)
    assert sweep.of(ANSWERED) == list(SIZES)


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("tunnel", TUNNELS, ids=by_name)
def test_with_df_what_fits_arrives_and_the_rest_is_told_the_exact_mtu(lab, tunnel, family):
    headers = 28 if family == 4 else 48
    fits, leaves_the_client = tunnel.inner_mtu - headers, LINK_MTU - headers
    sweep = Sweep(lab.client, tunnel.server(family), SIZES, df=True)
    sweep.run()
    assert sweep.of(ANSWERED) == list(range(1, fits + 1))
    assert sweep.of(TOO_BIG) == list(range(fits + 1, leaves_the_client + 1))
    assert sweep.of(LOCAL) == list(range(leaves_the_client + 1, 3001))
    assert {mtu for outcome, mtu in sweep.results.values() if outcome == TOO_BIG} == {tunnel.inner_mtu}


@pytest.mark.parametrize("family", (4, 6))
def test_outer_fragments_of_the_routers_kernel_are_put_together(lab, family):
    """The router may send 1500 bytes into the tunnel; its kernel cuts the outer packet in two."""
    tunnel = TUNNELS[8]
    sizes = range(tunnel.inner_mtu - 60, 1500 - (28 if family == 4 else 48) + 1)
    sweep = Sweep(lab.server, CLIENT4 if family == 4 else CLIENT6, sizes, df=True, source=tunnel.server(family))
    sweep.run()
    assert sweep.of(ANSWERED) == list(sizes), sweep.results
