"""What all fleet tests ask in the end: every node runs, and has lost no packet without a reason.

Each module has a lab of its own, by the name `lab`: three gateways share a core, so two labs at once would be slow.
"""

import pytest
from lab.counters import account
from lab.priority import AS_USUAL, prefer
from lab.wait import eventually


@pytest.fixture(scope="session", autouse=True)
def first():
    """Streams keep their pace although the machine builds something meanwhile."""
    prefer()
    yield
    prefer(nice=AS_USUAL)


@pytest.fixture
def spread(lab):
    """The router in front of the nodes; it spreads per packet over all nodes, before and after."""
    lab.spread.everywhere("packet")
    yield lab.spread
    lab.spread.everywhere("packet")


@pytest.fixture
def alive(lab):
    """After the test all nodes run, and every packet is accounted for."""
    yield
    for number, gateway in lab.gateways.items():
        assert gateway.running(), f"node {number} died:\n{gateway.log_tail()}"
        assert eventually(lambda gateway=gateway: account(gateway).unexplained == 0), (number, account(gateway))
