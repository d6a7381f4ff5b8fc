"""A thousand tunnels are configured and a hundred customers come at once; one that is up notices nothing."""

import copy
import socket
import threading
import time

import pytest
from customers import PLAIN
from lab.counters import assert_explained
from lab.negotiations import Negotiations, percentile
from lab.plan import CLIENT4, CORE4, ENDPOINT4
from lab.stock import StockCharon
from lab.traffic import Stream
from lab.wait import eventually
from steps import establish, lost, real_drops, streams

CONFIGURED, AT_ONCE = 1000, 100
SECRET = "the same for all of the storm"


def outer(number):
    """A storm tunnel's outer address; the first hundred are on the lab's switch."""
    return f"198.18.0.{130 + number}" if number < AT_ONCE else f"198.18.{64 + number // 250}.{1 + number % 250}"


def inner(number):
    """The address behind it."""
    return f"10.77.{number // 250}.{1 + number % 250}"


def name(number):
    """Its name."""
    return f"storm{number}"


@pytest.fixture(scope="module")
def storm(lab, started):
    """A hundred customers in one charon that carries its packets itself; their thousand tunnels on the gateway."""
    secret = lab.directory / "credentials" / "storm.psk"
    secret.touch(0o600)
    secret.write_text(SECRET + "\n")
    config = copy.deepcopy(lab.config)
    config["tenants"]["storm"] = {
        "prefixes": ["10.77.0.0/16"],
        "tunnels": {name(number): {"type": "ipsec", "endpoint": "anycast4", "remote": outer(number),
                                   "ike": {"psk_file": str(secret)}} for number in range(CONFIGURED)},
        "routes": [{"prefix": f"{inner(number)}/32", "via": name(number)} for number in range(CONFIGURED)]
        + [{"prefix": "0.0.0.0/0", "via": "internet"}],
    }
    space = None
    try:
        begun = time.monotonic()
        started.reload(config)
        print(f"{CONFIGURED} tunnels more took {time.monotonic() - begun:.1f} s")
        space = lab.add_host("storm", [f"{outer(number)}/24" for number in range(AT_ONCE)])
        charon = customers(lab, space)
        yield charon
        charon.kill()
    finally:
        if space:
            space.delete()
        started.reload(lab.config)


def customers(lab, space):
    """Their charon, which knows what to negotiate."""
    space.sh("\n".join([f"ip route add {ENDPOINT4} via {CORE4}",
                        *(f"ip address add {inner(number)}/32 dev lo" for number in range(AT_ONCE))]))
    connections = {name(number): {
        "version": 2, "local_addrs": outer(number), "remote_addrs": ENDPOINT4, "proposals": "aes128gcm16-prfsha256-ecp256",
        "encap": "yes", "local": {"auth": "psk", "id": outer(number)}, "remote": {"auth": "psk", "id": ENDPOINT4},
        "children": {name(number): {"local_ts": f"{inner(number)}/32", "remote_ts": f"{CLIENT4}/32",
                                    "esp_proposals": "aes128gcm16"}}} for number in range(AT_ONCE)}
    charon = StockCharon(space, lab.directory / "storm", threads=32)
    charon.configure({"connections": connections, "secrets": {"ike": {"secret": SECRET}}}, {})
    charon.start()
    space.sh(f"ip route add {CLIENT4} dev ipsec0")
    return charon


def established(charon):
    """How many of them have their child SA."""
    return sum(child["state"] == "INSTALLED" for sa in charon.sas() for child in sa["child-sas"].values())


class Knocking:
    """A packet from the client to each of them in turn, without pause, so that the first one that can arrives."""

    def __init__(self, lab):
        with lab.client.entered():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._knock, daemon=True)

    def _knock(self):
        while not self.stopping.is_set():
            for number in range(AT_ONCE):
                self.socket.sendto(b"knock", (inner(number), 7))
                time.sleep(0.001)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        self.socket.close()


def test_a_hundred_at_once(lab, gateway, customer, storm):
    steady = customer(PLAIN)
    establish(steady)
    before, reasons = lost(lab, steady), real_drops(gateway)
    up, down = streams(lab, steady, 100)
    with Negotiations(lab) as negotiations, up, down, Knocking(lab):
        assert eventually(lambda: up.sent > 50)
        begun = time.monotonic()
        for number in range(AT_ONCE):
            storm.tell("initiate", {"child": name(number), "timeout": -1}, check=False)
        assert eventually(lambda: established(storm) == AT_ONCE, 60), f"{established(storm)} are up"
        seconds = time.monotonic() - begun
        sent = up.sent
        assert eventually(lambda: up.sent > sent + 50)
    assert len(negotiations.seconds) == AT_ONCE and len(negotiations.to_esp) == AT_ONCE
    print(f"{AT_ONCE} negotiations in {seconds:.1f} s; each, in ms at p50 and p99, to the answer "
          + told(negotiations.seconds) + ", to the first ESP packet " + told(negotiations.to_esp)
          + f"; sent {up.sent} and {down.sent}, lost {up.lost} and {down.lost}")
    assert_explained((up, down), lost(lab, steady) - before)
    # To those that are not up yet the client's packets cannot go.
    new = {reason for reason, count in real_drops(gateway).items() if count != reasons.get(reason, 0)}
    assert {reason for reason in new if reason.startswith("esp_")} <= {"esp_no_sa"}


def told(seconds):
    """Two percentiles, in milliseconds."""
    return " and ".join(f"{1000 * percentile(seconds, part):.0f}" for part in (0.5, 0.99))


def test_every_one_of_them_carries_packets(lab, gateway, storm):
    assert eventually(lambda: established(storm) == AT_ONCE, 60)
    for number in range(0, AT_ONCE, 7):
        with Stream(storm.place, lab.client, CLIENT4, 50, port=7000 + number, source_address=inner(number)) as stream:
            assert eventually(lambda stream=stream: stream.sent >= 5)
        assert not stream.lost, name(number)
