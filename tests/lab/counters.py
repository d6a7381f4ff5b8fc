"""What the gateway counted, and whether every packet is accounted for."""

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
        went=total("tx_packets", "punted", "dropped", "merged"),
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
