"""What the plugin says when two charons negotiate: the order of calls, and every field."""

import time
from ipaddress import ip_address

import pytest
from conftest import children
from fake_control import ENCAP, FWD, IN, INBOUND, INITIATOR, NEVER, OUT, UPDATE
from lab.plugin import ADD_POLICY, ADD_SA, GET_SPI, UPDATE_SA
from lab.wait import eventually

ESP = 50
TUNNEL_MODE = 2
NONE = 1024  # charon's number for "no algorithm"


def only(values):
    [value] = values
    return value


def agrees(end):
    """Whether control holds exactly the SAs that charon has up."""
    return {spi for pair in end.spis() for spi in pair} == {sa.id.spi for sa in end.control.sas.values()}


def settled(ends):
    """Whether one tunnel is up, the same at both ends and for their controls."""
    return (all(agrees(end) and len(end.spis()) == 1 for end in ends) and
            {pair[::-1] for pair in ends[0].spis()} == ends[1].spis())


def assert_same_keys(ends):
    """The inbound SA of each end has the keys of the outbound SA of the other."""
    for one, other in (ends, ends[::-1]):
        for inbound in one.control.current(inbound=True):
            outbound = only(sa for sa in other.control.current(inbound=False) if sa.id.spi == inbound.id.spi)
            assert (inbound.encryption, inbound.integrity) == (outbound.encryption, outbound.integrity)


def test_order_of_calls(ends):
    ends[0].initiate("net")
    for end, other in (ends, ends[::-1]):
        mine, theirs = only(end.spis())
        # There are two pairs of selectors, IPv4 and IPv6, hence each policy twice.
        policies = [f"ADD_POLICY in {mine:08x}", f"ADD_POLICY fwd {mine:08x}", f"ADD_POLICY out {theirs:08x}"] * 2
        assert end.control.history() == ["GET_SPI", f"ADD_SA in {mine:08x}", f"ADD_SA out {theirs:08x}", *policies]
        assert only(end.spis())[::-1] == only(other.spis())


def test_every_field_of_an_sa(ends):
    ends[0].initiate("net")
    assert_same_keys(ends)
    for end in ends:
        mine, theirs = ip_address(end.local), ip_address(end.remote)
        nets = ["10.1.0.0-10.1.255.255/0/0-65535", "fd00:1::-fd00:1:ffff:ffff:ffff:ffff:ffff:ffff/0/0-65535"]
        peers = [net.replace("10.1", "10.2").replace("fd00:1:", "fd00:2:") for net in nets]
        if end.name == "b":
            nets, peers = peers, nets
        inbound, outbound = only(end.control.current(True)), only(end.control.current(False))
        initiator = INITIATOR if end.name == "a" else 0
        assert inbound.flags == INBOUND | UPDATE | initiator and outbound.flags == initiator
        assert (inbound.id.src, inbound.id.dst) == ((theirs, 500), (mine, 500))
        assert (outbound.id.src, outbound.id.dst) == ((mine, 500), (theirs, 500))
        assert (inbound.src_selectors, inbound.dst_selectors) == (peers, nets)
        assert (outbound.src_selectors, outbound.dst_selectors) == (nets, peers)
        # Without jitter charon has only one of both raise the rekey.
        assert inbound.limits == (3300, 3000, 1000000, 500000, 10000, 5000)
        assert outbound.limits == (3300, 0, 1000000, 500000, 10000, 5000)
        for sa in (inbound, outbound):
            assert sa.id.protocol == ESP and sa.mode == TUNNEL_MODE and sa.reqid == 7
            assert sa.replay_window == 64 and (sa.tfc, sa.ipcomp) == (0, 0)
            assert (sa.encryption[0], len(sa.encryption[1])) == (20, 20)
            assert sa.integrity == (NONE, b"")
        assert inbound.encryption[1] != outbound.encryption[1]
        spi = only(call for call in end.control.calls if call.type == GET_SPI)
        assert spi.rest == ((theirs, 500), (mine, 500), ESP)


def test_no_key_stays_in_charons_memory(ends):
    """Control has the keys; charon needs them no more, and neither it nor the plugin keeps a copy."""
    ends[0].initiate("null")
    for end in ends:
        # The end of a long key: the next messages, shorter, may lie over its beginning.
        tails = {sa.integrity[1][-16:] for sa in end.control.sas.values()}
        assert len(tails) == 2
        assert not any(tail in memory for memory in writable_memory(end.process.pid) for tail in tails)


def writable_memory(pid):
    """What a process has in its writable mappings."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                first, end = (int(address, 16) for address in span.split("-"))
                memory.seek(first)
                yield memory.read(end - first)


@pytest.mark.parametrize("name, encryption, key, integrity, integrity_key", [
    ("gcm", 20, 36, NONE, 0), ("cbc", 12, 16, 12, 32), ("chacha", 28, 36, NONE, 0), ("null", 11, 0, 14, 64)])
def test_algorithms(tunnel, name, encryption, key, integrity, integrity_key):
    tunnel[0].initiate(name)
    assert_same_keys(tunnel)
    for end in tunnel:
        for call in (call for call in end.control.calls if call.type == ADD_SA):
            assert (call.sa.encryption[0], len(call.sa.encryption[1])) == (encryption, key)
            assert (call.sa.integrity[0], len(call.sa.integrity[1])) == (integrity, integrity_key)


def test_every_field_of_a_policy(ends):
    ends[0].initiate("ports")
    inbound, outbound = only(ends[0].control.current(True)), only(ends[0].control.current(False))
    by_direction = {call.rest[0]: call.rest[1:] for call in ends[0].control.calls if call.type == ADD_POLICY}
    ipsec = 1
    for direction in (IN, FWD):
        assert by_direction[direction] == (ipsec, TUNNEL_MODE, 8, inbound.id.spi, inbound.id.src, inbound.id.dst,
                                           *inbound.src_selectors, *inbound.dst_selectors)
    assert by_direction[OUT] == (ipsec, TUNNEL_MODE, 8, outbound.id.spi, outbound.id.src, outbound.id.dst,
                                 *outbound.src_selectors, *outbound.dst_selectors)


def test_selectors_with_ports(ends):
    ends[0].initiate("ports")
    sa = only(ends[0].control.current(True))
    assert sa.dst_selectors == ["10.3.0.0-10.3.255.255/6/1000-2000"]
    assert sa.src_selectors == ["10.4.0.1-10.4.0.1/6/0-65535"]


@pytest.mark.parametrize("by", [0, 1], ids=["initiator", "responder"])
def test_rekey_switches_by_the_outbound_policy(tunnel, by):
    old = [only(end.spis()) for end in tunnel]
    tunnel[by].swanctl("--rekey", "--child", "net")
    assert eventually(lambda: settled(tunnel) and only(tunnel[0].spis()) != old[0], 10)
    assert_same_keys(tunnel)
    for end, (old_in, old_out) in zip(tunnel, old):
        new_in, new_out = only(end.spis())
        calls = list(dict.fromkeys(end.control.history()))  # once each, in order
        assert calls == [
            "GET_SPI", f"ADD_SA in {new_in:08x}", f"ADD_SA out {new_out:08x}",
            f"ADD_POLICY in {new_in:08x}", f"ADD_POLICY fwd {new_in:08x}", f"ADD_POLICY out {new_out:08x}",
            f"DEL_POLICY out {old_out:08x}", f"DEL_SA {old_out:08x}",
            f"DEL_POLICY in {old_in:08x}", f"DEL_POLICY fwd {old_in:08x}", f"DEL_SA {old_in:08x}"]
        # The old inbound SA stays for charon's delete_rekeyed_delay.
        out, last = (call.at for call in end.control.calls if str(call) in (f"DEL_SA {old_out:08x}", f"DEL_SA {old_in:08x}"))
        assert last - out > 0.8


def test_rekeys_from_both_ends_at_once(tunnel):
    """Each end answers the other's rekey while its own is under way. Which SA stays is charon's business."""
    for _ in range(3):
        for end in tunnel:  # held, both requests are on the way together
            end.control.mishap(GET_SPI, "hold 0.2")
            end.control.expire(end.control.current(True)[-1].id, hard=False)
        assert eventually(lambda: agrees(tunnel[0]) and agrees(tunnel[1]), 10)
    assert "collision" in tunnel[0].log() + tunnel[1].log()
    assert_same_keys(tunnel)
    for end, other in (tunnel, tunnel[::-1]):
        switches = [call.rest[4] for call in end.control.calls if str(call).startswith("ADD_POLICY out")]
        assert switches[-1] in {inbound for inbound, _ in other.spis()}, "the last switch is to an SA that stays"


def test_delete(tunnel):
    mine, theirs = only(tunnel[0].spis())
    tunnel[0].swanctl("--terminate", "--child", "net")
    for end, spis in ((tunnel[0], (mine, theirs)), (tunnel[1], (theirs, mine))):
        assert eventually(lambda: not end.control.sas)
        calls = list(dict.fromkeys(end.control.history()))
        assert calls == [f"DEL_POLICY out {spis[1]:08x}", f"DEL_POLICY in {spis[0]:08x}", f"DEL_POLICY fwd {spis[0]:08x}",
                         f"DEL_SA {spis[0]:08x}", f"DEL_SA {spis[1]:08x}"]


@pytest.mark.parametrize("inbound", [True, False], ids=["inbound", "outbound"])
@pytest.mark.parametrize("end", [0, 1], ids=["initiator", "responder"])
def test_a_soft_expiry_is_a_rekey(tunnel, end, inbound):
    old = only(tunnel[0].spis())
    control = tunnel[end].control
    control.expire(only(control.current(inbound)).id, hard=False)
    assert eventually(lambda: settled(tunnel) and only(tunnel[0].spis()) != old, 10)
    assert any(call.type == ADD_SA for call in control.calls)


def test_a_hard_expiry_is_a_delete(tunnel):
    """Charon then makes a new one by itself, since nobody wanted the tunnel gone."""
    old = only(tunnel[0].spis())
    tunnel[1].control.expire(only(tunnel[1].control.current(True)).id, hard=True)
    assert eventually(lambda: settled(tunnel) and only(tunnel[0].spis()) != old, 10)
    assert f"DEL_SA {old[0]:08x}" in tunnel[0].control.history()


def behind_a_nat(ends):
    """A tunnel in UDP; the responder's SAs, inbound and outbound."""
    for end in ends:  # only the initiator pretends to be behind a NAT, so only the responder may follow
        end.configure(children(end.name, end.peer), encap="yes" if end.name == "a" else "no")
    ends[0].initiate("net")
    return only(ends[1].control.current(True)), only(ends[1].control.current(False))


def test_a_peer_behind_a_nat_that_moved(ends):
    inbound, outbound = behind_a_nat(ends)
    end = ends[1]
    assert inbound.flags & ENCAP and outbound.flags & ENCAP
    peer, here = ip_address(ends[0].local), ip_address(end.local)
    assert inbound.id.src == (peer, 4500)
    end.control.clear()
    end.control.mapping(inbound.id, ends[0].local, 40123)
    assert eventually(lambda: sum(call.type == UPDATE_SA for call in end.control.calls) == 2)
    # Both SAs, in this order, and no policies around it.
    assert end.control.history() == [f"UPDATE_SA {inbound.id.spi:08x}", f"UPDATE_SA {outbound.id.spi:08x}"]
    first, second = (call.rest for call in end.control.calls if call.type == UPDATE_SA)
    assert first == ((peer, 40123), (here, 4500), 1, 1, 0) and second == ((here, 4500), (peer, 40123), 1, 1, 0)
    assert only(end.control.current(False)).id.dst == (peer, 40123)


def test_counters_and_last_use(tunnel):
    end = tunnel[0]
    inbound, outbound = only(end.control.current(True)), only(end.control.current(False))
    said = end.swanctl("--list-sas").stdout
    assert said.count("0 bytes,     0 packets") == 2 and "ago" not in said.split("INSTALLED")[1].split("\n")[2]
    end.control.counters = {inbound.id.key: (123456, 789, 25), outbound.id.key: (654321, 987, 7)}
    said = end.swanctl("--list-sas").stdout
    inbound_line, outbound_line = (line for line in said.split("\n") if "bytes," in line)
    assert "123456 bytes,   789 packets" in inbound_line and any(f"{age}s ago" in inbound_line for age in (25, 26))
    assert "654321 bytes,   987 packets" in outbound_line and any(f"{age}s ago" in outbound_line for age in (7, 8))
    end.control.counters = {inbound.id.key: (123457, 790, NEVER), outbound.id.key: (654322, 988, 2**63)}
    assert "123457 bytes" in end.swanctl("--list-sas").stdout  # absurd ages are no crash


def test_an_answer_that_takes_long_delays_and_breaks_nothing(ends):
    for end in ends:
        end.control.mishap(ADD_SA, "hold 0.7")
    began = time.monotonic()
    ends[0].initiate("net")
    assert time.monotonic() - began > 1.4
    assert settled(ends)
    assert "retransmit" not in ends[0].log()


def test_a_refused_sa_is_a_refused_tunnel(ends):
    ends[1].control.mishap(ADD_SA, "refuse 4")
    assert "failed" in ends[0].initiate("net", check=False).stdout
    assert "error 4: because the test says so" in ends[1].log()
    assert eventually(lambda: not ends[0].control.sas and not ends[1].control.sas)
    ends[0].initiate("net")
    assert settled(ends)

