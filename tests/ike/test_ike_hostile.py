"""Strangers at the IKE ports: nonsense, pieces, floods. A tunnel forwards, and another one negotiates."""

import os
import random
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from customers import ANY_CIPHER, FQDN, PLAIN
from lab.counters import assert_explained
from lab.plan import CORE4, CORE_MAC, ENDPOINT4
from lab.traffic import Capture, send_frames
from lab.wait import eventually
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from steps import afresh, establish, lost, pings, real_drops, streams

STRANGER = "198.18.0.250"
NON_ESP = b"\0\0\0\0"


@pytest.fixture(scope="module")
def stranger(lab):
    """A namespace on the switch."""
    space = lab.add_host("stranger", [f"{STRANGER}/24"])
    space.sh(f"ip route add {ENDPOINT4} via {CORE4}")
    yield space
    space.delete()


@pytest.fixture(scope="module")
def genuine(lab, customer_of_module):
    """The IKE messages of a real negotiation, as UDP payloads: [(port, payload)]."""
    with Capture(lab.switch, "gateway") as seen:
        afresh(customer_of_module)
    packets = [Ether(frame) for frame in seen.frames]
    return [(packet[UDP].dport, bytes(packet[UDP].payload)) for packet in packets
            if IP in packet and UDP in packet and packet[UDP].dport in (500, 4500) and packet[IP].dst == ENDPOINT4]


@pytest.fixture(scope="module")
def customer_of_module(lab, started):
    if ANY_CIPHER.name not in lab.customers:
        lab.add_customer(ANY_CIPHER)
    return lab.customers[ANY_CIPHER.name]


def frame(port, payload, source=STRANGER, sport=None):
    """A frame to the gateway's IKE port."""
    return bytes(Ether(src="02:00:00:00:00:99", dst=CORE_MAC) / IP(src=source, dst=ENDPOINT4)
                 / UDP(sport=sport or port, dport=port) / Raw(payload))


def carries_on(lab, gateway, steady, negotiating, work, share=1 / 200):
    """Streams through a tunnel that is up lose nothing and another negotiates while `work` goes on; charon survives it.

    `work` is called with an event that is set after the negotiation; `share` of the streams the lab itself may lose.
    Returns the drops that came with it.
    """
    reasons, before, pid = real_drops(gateway), lost(lab, steady), gateway.show("ike")["charon"]["pid"]
    up, down = streams(lab, steady, 100)
    done = threading.Event()
    with up, down, ThreadPoolExecutor(1) as pool:
        job = pool.submit(work, done)
        try:
            afresh(negotiating)
            assert pings(lab, negotiating.tunnel) == {}
        finally:
            done.set()
        job.result()
    assert_explained((up, down), lost(lab, steady) - before, share)
    assert gateway.show("ike")["charon"]["pid"] == pid, gateway.log_tail()
    return {name: count - reasons.get(name, 0) for name, count in real_drops(gateway).items() if count != reasons.get(name, 0)}


def test_damaged_messages(lab, gateway, customer, charon, genuine, stranger):
    steady, chance = customer(PLAIN), random.Random(7296)
    establish(steady)
    assert {port for port, _ in genuine} >= {500}
    frames = []
    for port, payload in genuine:
        for length in range(0, len(payload), max(1, len(payload) // 60)):
            frames.append(frame(port, payload[:length]))
        for _ in range(150):
            data = bytearray(payload)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            frames.append(frame(port, bytes(data)))
        marker = len(NON_ESP) if payload.startswith(NON_ESP) else 0
        for length in (0, 27, 28, 0x7FFFFFFF, 0xFFFFFFFF):  # the message's own length
            data = bytearray(payload)
            data[marker + 24:marker + 28] = struct.pack("!I", length)
            frames.append(frame(port, bytes(data)))
    for port in (500, 4500):
        frames += [frame(port, os.urandom(chance.randint(0, 1400))) for _ in range(100)]
        frames.append(frame(port, b"")), frames.append(frame(port, NON_ESP)), frames.append(frame(port, b"\xff"))

    def send(_done):
        for start in range(0, len(frames), 20):
            send_frames(stranger, "eth0", frames[start:start + 20])
            threading.Event().wait(0.08)  # half of the budget of one source: charon is to see them all

    new = carries_on(lab, gateway, steady, customer(FQDN), send)
    assert not {"ike_rate", "ike_source_rate"} & set(new), new
    assert charon.sas(), "charon lives"


def test_a_message_in_pieces(lab, gateway, customer, genuine, stranger):
    """IP fragments: of a whole message charon gets it, of half of one nobody gets anything."""
    port, payload = next(each for each in genuine if each[0] == 500)

    def pieces(spi, number):
        whole = IP(src=STRANGER, dst=ENDPOINT4, id=number) / UDP(sport=500, dport=port) / Raw(spi + payload[8:])
        return [bytes(Ether(src="02:00:00:00:00:99", dst=CORE_MAC) / piece) for piece in fragment(whole, 120)]

    half, whole = os.urandom(8), os.urandom(8)  # negotiations of their own
    assert len(pieces(half, 4710)) > 2
    with Capture(stranger, "eth0", incoming_only=True) as seen:
        def answered():
            packets = [Ether(frame) for frame in seen.drain()]
            return {bytes(packet[UDP].payload)[:8] for packet in packets if UDP in packet and packet[UDP].sport == 500}

        send_frames(stranger, "eth0", [piece for number, piece in enumerate(pieces(half, 4710)) if number % 2])
        send_frames(stranger, "eth0", pieces(whole, 4711))
        assert eventually(lambda: whole in answered(), 5)
        establish(customer(PLAIN))
        assert pings(lab, PLAIN) == {}
        assert half not in answered()


@pytest.mark.parametrize("many", (False, True), ids=("one-source", "many-sources"))
def test_a_flood(lab, gateway, customer, charon, genuine, stranger, many):
    """More first messages than all budgets allow: these take what is too much, and charon's cookies the rest."""
    steady = customer(PLAIN)
    establish(steady)
    payload = next(payload for port, payload in genuine if port == 500)
    frames = []
    for number in range(4000):
        spi = struct.pack("!Q", (number << 32) | 0xF00D)
        source = f"198.18.{64 + number % 64}.{1 + number // 64 % 250}" if many else STRANGER
        frames.append(frame(500, spi + payload[8:], source, 1024 + number))

    def flood(done):
        while not done.is_set():
            for start in range(0, len(frames), 500):
                send_frames(stranger, "eth0", frames[start:start + 500])
                done.wait(0.02)  # up to 25 000 a second: more than all budgets, less than fills every ring for good

    # A customer whose address is configured has half of the budget.
    new = carries_on(lab, gateway, steady, customer(ANY_CIPHER), flood, share=1 / 10)  # the flood fills rings, too
    assert set(new) <= {"ike_rate", "ike_source_rate", "punt_queue_full"}, new
    if not many:
        assert new.get("ike_source_rate", 0) > 1000
    assert charon.sas(), "charon lives"
    afresh(customer(FQDN))
