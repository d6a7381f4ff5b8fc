"""Strangers at the IKE ports: nonsense, pieces, floods. A tunnel forwards, and another one negotiates."""

import os
import random
import struct
import threading

import pytest
from customers import ANY_CIPHER, FQDN, PLAIN
from lab.plan import CORE4, CORE_MAC, ENDPOINT4
from lab.traffic import Capture, send_frames
from lab.wait import eventually
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from steps import afresh, establish, pings, real_drops, streams
from test_ike_rekey import lost_in_the_lab

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
            if UDP in packet and packet[UDP].dport in (500, 4500) and packet[IP].dst == ENDPOINT4]


@pytest.fixture(scope="module")
def customer_of_module(lab, started):
    if ANY_CIPHER.name not in lab.customers:
        lab.add_customer(ANY_CIPHER)
    return lab.customers[ANY_CIPHER.name]


def frame(port, payload, source=STRANGER, sport=None):
    """A frame to the gateway's IKE port."""
    return bytes(Ether(src="02:00:00:00:00:99", dst=CORE_MAC) / IP(src=source, dst=ENDPOINT4)
                 / UDP(sport=sport or port, dport=port) / Raw(payload))


def carries_on(lab, gateway, steady, work, negotiating=None):
    """Streams through a tunnel that is up lose nothing while `work` goes on and, if wanted, another negotiates."""
    reasons, lost = real_drops(gateway), lost_in_the_lab(lab, steady)
    up, down = streams(lab, steady, 100)
    with up, down:
        thread = threading.Thread(target=work)
        thread.start()
        if negotiating:
            afresh(negotiating)
            assert pings(lab, negotiating.tunnel) == {}
        thread.join()
    explained = lost_in_the_lab(lab, steady) - lost
    assert up.lost + down.lost <= explained
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

    def send():
        for start in range(0, len(frames), 20):
            send_frames(stranger, "eth0", frames[start:start + 20])
            threading.Event().wait(0.05)

    carries_on(lab, gateway, steady, send, customer(FQDN))
    assert charon.sas(), "charon lives"


def test_a_message_in_pieces(lab, gateway, customer, genuine, stranger):
    """IP fragments: of a whole message charon gets it, of half of one nobody gets anything."""
    port, payload = next(each for each in genuine if each[0] == 500)
    payload = os.urandom(8) + payload[8:]  # a negotiation of its own
    whole = IP(src=STRANGER, dst=ENDPOINT4, id=4711) / UDP(sport=500, dport=port) / Raw(payload)
    pieces = [bytes(Ether(src="02:00:00:00:00:99", dst=CORE_MAC) / piece) for piece in fragment(whole, 120)]
    assert len(pieces) > 2
    with Capture(stranger, "eth0", incoming_only=True) as seen:
        send_frames(stranger, "eth0", pieces)
        assert eventually(lambda: [one for one in seen.drain() if UDP in Ether(one) and Ether(one)[UDP].sport == 500], 5)
    send_frames(stranger, "eth0", [piece for number, piece in enumerate(pieces) if number % 2])
    establish(customer(PLAIN))
    assert pings(lab, PLAIN) == {}


@pytest.mark.parametrize("many", (False, True), ids=("one-source", "many-sources"))
def test_a_flood(lab, gateway, customer, charon, genuine, stranger, many):
    """First messages as fast as one core sends them: a budget takes what is too much, and charon's cookies the rest."""
    steady = customer(PLAIN)
    establish(steady)
    payload = next(payload for port, payload in genuine if port == 500)
    frames = []
    for number in range(4000):
        spi = struct.pack("!Q", (number << 32) | 0xF00D)
        source = f"198.18.{64 + number % 64}.{1 + number // 64 % 250}" if many else STRANGER
        frames.append(frame(500, spi + payload[8:], source, 1024 + number))

    def flood():
        for _ in range(5):
            send_frames(stranger, "eth0", frames)

    new = carries_on(lab, gateway, steady, flood, customer(FQDN))
    assert set(new) <= {"ike_rate", "ike_source_rate"}, new
    if not many:
        assert new.get("ike_source_rate", 0) > 1000
    assert charon.sas(), "charon lives"
    afresh(customer(ANY_CIPHER))
