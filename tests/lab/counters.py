"""What the gateway counted, whether every packet is accounted for, and what the lab lost around it."""

import json
from dataclasses import dataclass


@dataclass
class Account:
    """One reading. At rest `came` equals `went`: each packet was sent, punted, merged or dropped for a reason."""

    came: int
    went: int
    drops: dict

    @property
    def unexplained(self):
        """Packets that vanished without a reason (or appeared from nowhere)."""
        return self.came - self.went


def account(gateway):
    """Reads the workers' counters."""
    workers = [row for row in gateway.show("cores")["rows"] if row["role"] == "worker"]

    def total(*names):
        return sum(row[name] for row in workers for name in names)

    return Account(
        came=total("rx_packets", "injected", "generated"),
        went=total("tx_packets", "punted", "dropped", "merged", "probe_answers"),
        drops=drops(gateway),
    )


def drops(gateway):
    """Packets by drop reason, those that happened."""
    return {row["reason"]: row["packets"] for row in gateway.show("drops")["rows"] if row["packets"]}


def tunnel(gateway, name):
    """The row of one tunnel."""
    return next(row for row in gateway.show("tunnels")["rows"] if row["name"] == name)


def missed(gateway):
    """Frames lost in front of the gateway: the ring of a lab's port is short, and a busy machine lets it overflow."""
    return sum(row["counters"]["rx_missed"] for row in gateway.show("ports")["rows"])


def lost_in_the_lab(lab, machine=None, server=None):
    """Packets that ports' rings, links and the router's processor lost around the gateway; `server` is behind `machine`.

    A busy machine loses some, above all where the router is an emulated guest.
    """
    machine, server = machine or lab.routers["router"], server or lab.server
    links = []
    for place, ip, names in ((lab.switch, "ip", (machine.name, "gateway")), (server, "ip", ("eth0",)),
                             (lab.client, "ip", ("eth0",)),
                             (machine, "/sbin/ip", ("wan0", "lan0") if machine.ike else ("wan", "lan"))):
        links += [json.loads(place.sh(f"{ip} -j -s link show dev {name}").stdout)[0]["stats64"] for name in names]
    rows = machine.sh("cat /proc/net/softnet_stat").stdout.splitlines()
    backlog = sum(int(row.split()[1], 16) for row in rows if row.strip())
    return missed(lab.gateway) + backlog + sum(link[way]["dropped"] for link in links for way in ("rx", "tx"))


def xfrm_stat(place):
    """What a kernel counts about packets that it could not open or seal, those that happened."""
    lines = place.sh("cat /proc/net/xfrm_stat").stdout.splitlines()
    return {name: int(count) for name, count in (line.split() for line in lines if line.strip()) if int(count)}


def assert_explained(streams, explained, share=1 / 200):
    """What numbered streams lost the lab lost, and it is a small share of them: else nothing could be told.

    The share is of what they lost, not of what the lab did: that has lost others' packets, too, a flood's above all.
    """
    lost, sent = sum(stream.lost for stream in streams), sum(stream.sent for stream in streams)
    told = f"lost {lost} of {sent}, the lab says that it lost {explained}"
    assert lost <= max(2, share * sent), f"{told}: this machine is too busy to tell"
    assert lost <= explained, told
