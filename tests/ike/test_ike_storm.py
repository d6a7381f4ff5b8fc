"""A thousand tunnels are configured and a hundred customers come at once; one that is up notices nothing."""

import copy
import time

import pytest
from customers import PLAIN
from lab.negotiations import Negotiations
from lab.plan import CLIENT4, CORE4, ENDPOINT4
from lab.stock import StockCharon
from lab.traffic import Stream
from lab.wait import eventually
from steps import establish, real_drops, streams
from test_ike_rekey import lost_in_the_lab

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
    begun = time.monotonic()
    started.reload(config)
    print(f"{CONFIGURED} tunnels more took {time.monotonic() - begun:.1f} s")
    space = lab.add_host("storm", [f"{outer(number)}/24" for number in range(AT_ONCE)])
    space.sh("\n".join([f"ip route add {ENDPOINT4} via {CORE4}",
                        *(f"ip address add {inner(number)}/32 dev lo" for number in range(AT_ONCE))]))
    connections = {name(number): {
        "version": 2, "local_addrs": outer(number), "remote_addrs": ENDPOINT4, "proposals": "aes128gcm16-prfsha256-ecp256",
        "encap": "yes", "local": {"auth": "psk", "id": outer(number)}, "remote": {"auth": "psk", "id": ENDPOINT4},
        "children": {name(number): {"local_ts": f"{inner(number)}/32", "remote_ts": f"{CLIENT4}/32",
                                    "esp_proposals": "aes128gcm16"}}} for number in range(AT_ONCE)}
    secrets = {"ike": {"secret": SECRET}}
    charon = StockCharon(space, lab.directory / "storm", threads=32)
    charon.configure({"connections": connections, "secrets": secrets}, {})
    charon.start()
    space.sh(f"ip route add {CLIENT4} dev ipsec0")
    yield charon
    charon.kill()
    space.delete()
    started.reload(lab.config)


def established(charon):
    """How many of them have their child SA."""
    return sum(child["state"] == "INSTALLED" for sa in charon.sas() for child in sa["child-sas"].values())


def test_a_hundred_at_once(lab, gateway, customer, charon, storm):
    steady = customer(PLAIN)
    establish(steady)
    lost, reasons = lost_in_the_lab(lab, steady), real_drops(gateway)
    up, down = streams(lab, steady, 100)
    with Negotiations(lab) as negotiations, up, down:
        time.sleep(0.5)
        begun = time.monotonic()
        for number in range(AT_ONCE):
            storm.tell("initiate", {"child": name(number), "timeout": -1}, check=False)
        assert eventually(lambda: established(storm) == AT_ONCE, 60), f"{established(storm)} are up"
        seconds = time.monotonic() - begun
    print(f"{AT_ONCE} negotiations in {seconds:.1f} s, each {1000 * negotiations.percentile(0.5):.0f} ms (p50), "
          f"{1000 * negotiations.percentile(0.99):.0f} ms (p99); sent {up.sent} and {down.sent}, lost {up.lost} and {down.lost}")
    assert up.lost + down.lost <= lost_in_the_lab(lab, steady) - lost
    assert {reason: count for reason, count in real_drops(gateway).items() if reason.startswith("esp_")} == {
        reason: count for reason, count in reasons.items() if reason.startswith("esp_")}


def test_every_one_of_them_carries_packets(lab, gateway, storm):
    assert eventually(lambda: established(storm) == AT_ONCE, 60)
    for number in range(0, AT_ONCE, 7):
        with Stream(storm.place, lab.client, CLIENT4, 50, port=7000 + number, source_address=inner(number)) as stream:
            time.sleep(0.1)
        assert stream.sent and not stream.lost, name(number)
