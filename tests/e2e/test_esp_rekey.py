"""New SAs for old while packets flow: the gateway loses not one, counted on its own links and at the far ends.

Between these a busy machine loses packets too: a guest that is emulated, on two cores that the gateway polls on. These
are subtracted at the far ends, and printed. A count under full load and without any loss is dataplane/tests/rekey.rs.
"""

import pytest
from kinds import REKEYED, by_name
from lab.counters import assert_explained, drops, lost_in_the_lab, missed, xfrm_stat
from lab.esp import NATT_PORT
from lab.plan import CLIENT4, CORE_MAC
from lab.rekey import Rekeying
from lab.traffic import Capture, Stream


class Wire:
    """The tunnel's ESP packets on the link to the gateway, each once, by direction."""

    def __init__(self, lab):
        self.seen = {"to": set(), "from": set()}
        self.capture = Capture(lab.switch, "gateway")

    def take(self):
        """Notes what has passed since the last call."""
        for frame in self.capture.drain():
            at = esp_at(frame)
            if at:
                self.seen["from" if frame[6:12] == OUR_MAC else "to"].add(frame[at:at + 8])
        self.capture.frames.clear()


OUR_MAC = bytes.fromhex(CORE_MAC.replace(":", ""))


def esp_at(frame):
    """Where ESP begins: behind IPv4, or IPv6 and UDP."""
    if frame[12:14] == b"\x08\x00" and frame[23] == 50:
        return 34
    if frame[12:14] == b"\x86\xdd" and frame[20] == 17 and frame[56:58] == NATT_PORT.to_bytes(2, "big"):
        return 62
    return 0


def rekey_under_traffic(lab, tunnel, turns, per_second):
    """Streams both ways while the tunnel's SAs are replaced."""
    router = lab.routers["router"]
    reasons, refused, lost, before = drops(lab.gateway), xfrm_stat(router), lost_in_the_lab(lab), missed(lab.gateway)
    up = Stream(lab.client, lab.server, tunnel.server(4), per_second)
    down = Stream(lab.server, lab.client, CLIENT4, per_second, port=6002, source_address=tunnel.server(4))
    wire, rekeying = Wire(lab), Rekeying(lab, tunnel)
    with up, down:
        for _ in range(turns):
            rekeying.turn()
            wire.take()
    wire.take()
    rekeying.finish()
    missing, explained = missed(lab.gateway) - before, lost_in_the_lab(lab) - lost
    print(f"{turns} rekeys, sent {up.sent} up and {down.sent} down, lost {up.lost} and {down.lost}; of these in front of "
          f"the gateway {missing}, around it {explained - missing}")
    assert up.sent > 100 and down.sent > 100
    assert drops(lab.gateway) == reasons
    # Around the gateway, on its own two links:
    assert len(wire.seen["from"]) >= up.sent - missing, "sealed less than came"
    assert down.received >= len(wire.seen["to"]) - missing, "opened less than came"
    # At the far ends: all of it, and nothing that the router could not open.
    assert_explained((up, down), explained)
    assert xfrm_stat(router) == refused


@pytest.mark.parametrize("tunnel", REKEYED, ids=by_name)
def test_five_rekeys_lose_nothing(lab, tunnel):
    rekey_under_traffic(lab, tunnel, turns=5, per_second=300)


@pytest.mark.soak
@pytest.mark.parametrize("tunnel, turns", zip(REKEYED, (100, 40), strict=True), ids=lambda each: getattr(each, "name", str(each)))
def test_many_rekeys_lose_nothing(lab, tunnel, turns):
    rekey_under_traffic(lab, tunnel, turns, per_second=300)
