"""The lab's etcd is what its users think it is."""

import os

import pytest
from lab.etcd import Etcd
from lab.fleet import Deaf
from lab.netns import CommandFailed, Namespace
from lab.state import directory_of, remove
from lab.wait import eventually

KEY = "/penstock/lab/meta"


@pytest.fixture(params=(1, 3), ids=("alone", "three"))
def store(request):
    """A store without a lab around it."""
    name = f"fsto{os.getpid()}"
    store = Etcd(Namespace(f"{name}-store"), directory_of(name) / "store", request.param)
    try:
        yield store.up()
    finally:
        store.stop()
        remove(name)


def test_rights(store):
    store.ctl(["put", KEY, "1"], user="penstock")
    assert store.get(KEY) == b"1"
    with pytest.raises(CommandFailed, match="permission denied"):
        store.ctl(["put", "/elsewhere", "1"], user="penstock")


def test_what_a_lab_does_to_it(store, tmp_path):
    store.put(KEY, b"old\0\xff\n")
    assert store.get(KEY) == b"old\0\xff\n" and store.keys() == [KEY]
    backup = tmp_path / "backup"
    store.snapshot(backup)
    store.put(KEY, b"new")
    revision = store.revision
    store.restart()
    assert store.get(KEY) == b"new" and store.revision == revision
    store.compact()
    with pytest.raises(CommandFailed, match="compacted"):
        store.ctl(["get", f"--rev={revision - 1}", KEY])
    store.pause()
    assert store.ctl(["get", "--command-timeout=1s", KEY], check=False).returncode != 0
    store.resume()
    assert eventually(lambda: store.ctl(["get", KEY], check=False).returncode == 0, 20)
    store.restore(backup)
    assert store.get(KEY) == b"old\0\xff\n" and store.revision < revision


def test_one_of_three_may_die(store):
    if len(store.members) == 1:
        store.members[0].kill()
        assert store.ctl(["get", "--command-timeout=1s", KEY], check=False).returncode != 0
        store.members[0].start()
    else:
        store.members[0].kill()
        assert eventually(lambda: store.ctl(["put", KEY, "2"], check=False).returncode == 0, 20)
        store.members[0].start()
    store.wait()


def test_a_deaf_node(store):
    """It is cut off, and nobody else."""
    places = {number: Namespace(store.space.name.replace("store", f"ports{number}")).create(ipv6=False) for number in (1, 2)}
    for number, place in places.items():
        store.connect(place, number)

    def hears(number):
        return places[number].sh(f"ping -c1 -W1 {store.members[0].address}", check=False).returncode == 0

    assert hears(1) and hears(2)
    with Deaf(places[1]):
        assert not hears(1) and hears(2)
    assert hears(1)
