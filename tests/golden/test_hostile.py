"""A hundred thousand damaged frames: no crash, and every one of them is sent, punted or dropped for a reason."""

import random
import struct

import pytest
from lab.counters import account
from lab.traffic import internet_checksum
from test_golden import CASES

FRAMES = 100_000
SEED = 20_260_101


def mutate(frame, dice):
    """One or more kinds of damage; often with the IPv4 checksum mended, so that it is not all that is found."""
    frame = bytearray(frame)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        kind = dice.randrange(7)
        if kind == 0:  # truncation
            frame = frame[:dice.randrange(1, len(frame) + 1)]
        elif kind == 1:  # bit flip anywhere
            frame[dice.randrange(len(frame))] ^= 1 << dice.randrange(8)
        elif kind == 2 and len(frame) > 60:  # any byte of the headers
            frame[dice.randrange(12, 60)] = dice.randrange(256)
        elif kind == 3 and len(frame) >= 20:  # wrong total or payload length
            struct.pack_into("!H", frame, dice.choice((16, 18)), dice.choice((0, 1, 19, 20, 40, len(frame), 65535)))
        elif kind == 4 and len(frame) > 34:  # nested: the packet again inside its own headers
            frame = frame[:dice.choice((34, 38, 42, 54, 58))] + frame[14:]
        elif kind == 5 and len(frame) >= 34:  # options that are not there, or fragment bits
            if dice.random() < 0.5:
                frame[14] = 0x40 | dice.randrange(16)
            else:
                struct.pack_into("!H", frame, 20, dice.randrange(65536))
        elif kind == 6:  # VLAN tags
            frame[12:12] = struct.pack("!HH", dice.choice((0x8100, 0x88A8)), dice.randrange(4096))
    if len(frame) >= 34 and frame[12:14] == b"\x08\x00" and dice.random() < 0.7:
        mend_checksum(frame)
    # Shorter than an Ethernet header the kernel would not send it; longer than the link neither.
    return bytes((frame + bytes(14))[:max(len(frame), 14)][:1514])


def mend_checksum(frame):
    length = (frame[14] & 15) * 4
    if 20 <= length <= len(frame) - 14:
        frame[24:26] = b"\0\0"
        struct.pack_into("!H", frame, 24, internet_checksum(bytes(frame[14:14 + length])))


def received(lab):
    return sum(row["counters"]["rx_packets"] for row in lab.gateway.show("ports")["rows"])


@pytest.mark.soak
def test_mutated_frames_are_all_accounted_for(lab):
    dice = random.Random(SEED)
    originals = [sent for case in CASES.values() for sent in case.send]
    sent = 0
    while received(lab) < FRAMES and sent < 2 * FRAMES:  # the port of a busy lab may miss some
        batch = {"west": [], "east": []}
        for _ in range(500):
            side, frame = dice.choice(originals)
            batch[side].append(mutate(frame, dice))
        for side, frames in batch.items():
            lab.send(side, frames)
            sent += len(frames)
        lab.collect(quiet_s=0.005)
    lab.collect(quiet_s=1.5)  # fragments that wait for the rest of their datagram time out
    after = account(lab.gateway)
    assert lab.gateway.running(), lab.gateway.log_tail()
    assert received(lab) >= FRAMES
    assert after.unexplained == 0, after
    # The damage reached every part: many different reasons, and packets that got through all the same.
    assert len(after.drops) >= 15, after.drops
