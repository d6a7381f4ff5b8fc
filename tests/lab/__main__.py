"""`scripts/lab`: makes a lab by hand, looks around in it, removes it."""

import argparse
import os
import sys

from lab import fleet_commands, plan
from lab.counters import account
from lab.esp import NATT_PORT, SUITES, EspTunnel
from lab.gateway import base_config, ike_config, tenant_config
from lab.ike import IkeTunnel
from lab.place import execute, find, is_remote
from lab.state import names
from lab.topology import Lab
from lab.traffic import MIB, tcp_copy

FIRST_ESP, FIRST_IKE = 30, 90  # the first ESP tunnel's number, and the first customer's that speaks IKE
PLACES = f"client, server, router, ike{FIRST_IKE} and so on (customers), twin (the gateway's kernel side), ports (its links) or switch"


def main():
    """Parses the command line and runs one command; the exit status is the command's."""
    parser = argparse.ArgumentParser(prog="scripts/lab", description=__doc__)
    parser.add_argument("--name", help="which lab; several can be up at once (default: lab, of a fleet: fleet)")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="make client, switch, router and server, and start penstock between them")
    up.add_argument("--tunnels", type=int, default=1, help="GRE tunnels to the router (default: 1)")
    up.add_argument("--esp", type=int, default=0, help=f"ESP tunnels to the router, from number {FIRST_ESP} on (default: 0)")
    up.add_argument("--ike", type=int, default=0,
                    help=f"customers with strongSwan, which negotiate tunnels from number {FIRST_IKE} on (default: 0)")
    up.add_argument("--nat", action="store_true", help="each of these behind a NAT of its own")
    up.add_argument("--cipher", choices=SUITES, default="aes128gcm16", help="of the ESP tunnels (default: aes128gcm16)")
    up.add_argument("--udp", action="store_true", help="these ESP tunnels in UDP 4500, as behind a NAT")
    up.add_argument("--outer", type=int, choices=(4, 6), default=4, help="outer IP version (default: 4)")
    up.add_argument("--no-gateway", action="store_true", help="leave the gateway to you; its configuration is written")
    commands.add_parser("down", help="remove the lab")
    commands.add_parser("status", help="say what is there")
    execute = commands.add_parser("exec", help="run a command somewhere in the lab")
    execute.add_argument("place", help=PLACES)
    execute.add_argument("words", nargs=argparse.REMAINDER)
    shell = commands.add_parser("shell", help="open a shell in a namespace of the lab")
    shell.add_argument("place", help=PLACES)
    ask = commands.add_parser("ask", help="ask the lab's gateway, for example: ask show tunnels")
    ask.add_argument("words", nargs=argparse.REMAINDER)
    copy = commands.add_parser("copy", help="copy random bytes over TCP and compare checksums")
    copy.add_argument("source", choices=("client", "server"))
    copy.add_argument("--tunnel", type=int, default=0, help=f"its number; the first ESP tunnel is {FIRST_ESP}, the first of IKE {FIRST_IKE} (default: 0)")
    copy.add_argument("--mib", type=int, default=100, help="how much (default: 100)")
    copy.add_argument("--family", type=int, choices=(4, 6), default=4, help="IP version (default: 4)")
    fleet_commands.add_parser(commands)
    commands.add_parser("counters", help="what the gateway counted; fails if a packet is unaccounted for")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("scripts/lab makes network namespaces: run it as root (sudo scripts/lab ...)")
    try:
        if arguments.command == "fleet":
            return fleet_commands.main(arguments)
        lab = Lab(arguments.name or "lab")
    except ValueError as error:
        sys.exit(str(error))
    if arguments.command not in ("up", "down") and not lab.directory.exists():
        sys.exit(f"no lab {lab.name!r} is up; start it with: scripts/lab --name {lab.name} up")
    return globals()[f"command_{arguments.command}"](lab, arguments)


def command_up(lab, arguments):
    """Makes the lab; a failure on the way removes what was made."""
    if lab.directory.exists():
        sys.exit(f"lab {lab.name!r} is already up; remove it with: scripts/lab --name {lab.name} down")
    tunnels = [plan.Tunnel(number, outer=arguments.outer) for number in range(arguments.tunnels)]
    tunnels += [EspTunnel(FIRST_ESP + number, arguments.outer, SUITES[arguments.cipher],
                          NATT_PORT if arguments.udp else None) for number in range(arguments.esp)]
    customers = [IkeTunnel(FIRST_IKE + number, outer=arguments.outer, nat=arguments.nat, remote_any=arguments.nat,
                           identity=f"ike{FIRST_IKE + number}.example.net" if arguments.nat else None)
                 for number in range(arguments.ike)]
    if not tunnels and not customers:
        sys.exit("a lab without any tunnel leads nowhere: --tunnels, --esp or --ike must be at least 1")
    try:
        lab.up(tunnels, ike=bool(customers))
        config = base_config(lab.directory, lab.twin.name)
        config["tenants"]["acme"] = tenant_config([*tunnels, *customers], lab.directory)
        if customers:
            config["ike"] = ike_config(lab.directory)
            lab.gateway.write_credentials(customers)
        if arguments.no_gateway:
            lab.gateway.write(config, lab.associations)
        else:
            lab.gateway.start(config, lab.associations)
        for tunnel in customers:
            customer = lab.add_customer(tunnel)
            if not arguments.no_gateway:
                customer.charon.initiate()
    except BaseException:
        lab.down()
        raise
    return command_status(lab, arguments)


def command_down(lab, _):
    """Removes the lab."""
    lab.down()


def command_status(lab, _):
    """Says what is there."""
    kind = "a qemu guest (this kernel has no GRE or no ESP)" if lab.in_guest else "a namespace"
    gateway = lab.gateway
    answers = gateway.socket.exists() and gateway.ask("show", "ports", check=False).returncode == 0
    print(f"lab {lab.name}: the router is {kind}; penstock {'answers' if answers else 'is not running'}")
    print(f"  client {plan.CLIENT4} {plan.CLIENT6}   first server {plan.Tunnel(0).server(4)} {plan.Tunnel(0).server(6)}")
    if gateway.static_sas.exists():
        first = EspTunnel(FIRST_ESP)
        print(f"  first server behind ESP {first.server(4)} {first.server(6)}   SAs {gateway.static_sas}")
    for name, customer in lab.customers.items():
        print(f"  customer {name}, its server {customer.tunnel.server(4)} {customer.tunnel.server(6)}")
    print(f"  configuration {gateway.config_file}   log {gateway.log}   all labs: {', '.join(names())}")


def command_exec(lab, arguments):
    """Runs a command in a namespace (with this terminal) or on the router."""
    return execute(lab, arguments.place, arguments.words, PLACES)


def command_shell(lab, arguments):
    """An interactive shell, in a namespace; a guest has no terminal."""
    if is_remote(lab, find(lab, arguments.place, PLACES), arguments.place):
        sys.exit(f"{arguments.place} has no terminal; use: scripts/lab --name {lab.name} exec {arguments.place} COMMAND")
    return execute(lab, arguments.place, [os.environ.get("SHELL", "/bin/sh")], PLACES)


def command_ask(lab, arguments):
    """Runs the penstock client against the lab's gateway."""
    done = lab.gateway.ask(*arguments.words, check=False)
    print(done.stdout, end="")
    return done.returncode


def command_copy(lab, arguments):
    """One transfer between client and server, through one tunnel."""
    server, bind = plan.Addresses(arguments.tunnel).server(arguments.family), ""
    if arguments.source == "client":
        source, target, address = lab.client, lab.server, server
    else:  # the server's own address decides the tunnel
        source, target, bind = lab.server, lab.client, server
        address = plan.CLIENT4 if arguments.family == 4 else plan.CLIENT6
    done = tcp_copy(source, target, address, arguments.mib * MIB, bind=bind)
    equal = done.sent_sha256 == done.received_sha256
    print(f"{done.size // MIB} MiB at {done.mbit_s:.0f} Mbit/s, sha256 {done.sent_sha256[:16]}... "
          + ("equal on both sides" if equal else f"but {done.received_sha256[:16]}... ARRIVED"))
    return 0 if equal else 1


def command_counters(lab, _):
    """Tunnels, drops, and the sum that must be zero."""
    for row in lab.gateway.show("tunnels")["rows"]:
        print(f"tunnel {row['name']} ({row['state']}): {row['encap']['packets']} packets into it, "
              f"{row['decap']['packets']} out of it, {row['clamped_syns']} SYNs clamped to {row['mss_v4']}")
    seen = account(lab.gateway)
    for reason, packets in seen.drops.items():
        print(f"dropped {packets}: {reason}")
    print(f"{seen.came} packets came, {seen.unexplained} unexplained drops")
    return 0 if seen.unexplained == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
