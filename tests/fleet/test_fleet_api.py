"""Tunnels and routes by the API over TCP, with the published client of the API that ours has the shape of.

Two nodes; the client speaks to the first, packets are spread over both. The operator gives the account its prefixes.
"""

import json
import os
import subprocess
from datetime import datetime

import pytest
import yaml
from lab import magic, plan
from lab.fleet import FleetLab
from lab.gateway import ike_config
from lab.ike import IkeTunnel
from lab.magic import MagicClient, Refused
from lab.netns import run
from lab.pki import Authority
from lab.plan import Tunnel
from lab.wait import eventually

GRE = Tunnel(0)
IKE = IkeTunnel(1, window=0)
ACCOUNT = "acme"
PORT = 8443
FIRST = 1  # the node that is asked
pytestmark = pytest.mark.usefixtures("alive")


@pytest.fixture(scope="module")
def lab():
    """Two nodes without a tenant in their files."""
    with FleetLab(f"fapi{os.getpid()}", gateways=2) as lab:
        lab.up([GRE], ike=True)
        authority = Authority("API CA")
        write_credentials(lab.directory, authority)
        for number, gateway in lab.gateways.items():
            config = lab.node_config(number, [])
            config |= {"tenants": {}, "ike": ike_config(gateway.directory), "api": api_config(lab.directory)}
            lab.configs[number] = config
            lab.start_gateway(number)
        assert lab.ready(), [gateway.log_tail() for gateway in lab.gateways.values()]
        give_account(lab, [GRE, IKE])
        yield lab
        for gateway in lab.gateways.values():
            log = gateway.log.read_text(errors="replace")
            assert not any(secret in log for secret in SECRETS), "a key is in the log"
            assert gateway.stop() == 0, gateway.log_tail()


SECRETS = ["given by the customer"]


def write_credentials(directory, authority):
    """Files of the server and of three clients."""
    files = {"api-ca.pem": authority.certificate}
    for name, names in (("api", ["127.0.0.1"]), ("noc", ["noc.example.net"]), ("acme", ["acme.example.net"]),
                        ("nobody", ["nobody.example.net"])):
        issued = authority.issue(name, names=names)
        files |= {f"{name}.pem": issued.certificate, f"{name}.key": issued.key}
    for name, text in files.items():
        (directory / name).touch(0o600)
        (directory / name).write_text(text)


def api_config(directory):
    """`api:` of a node."""
    return {
        "listen": f"127.0.0.1:{PORT}",
        "certificate": f"{directory}/api.pem", "private_key": f"{directory}/api.key", "client_ca": [f"{directory}/api-ca.pem"],
        "clients": [{"name": "noc.example.net", "role": "write", "tenants": "all"},
                    {"name": "acme.example.net", "role": "write", "tenants": [ACCOUNT]}],
    }


def give_account(lab, tunnels):
    """What an operator does before a customer uses the API: whose prefixes these are, and the way out."""
    prefixes = [tunnel.prefix(family) for tunnel in tunnels for family in (4, 6)]
    routes = [{"prefix": prefix, "via": "internet"} for prefix in ("0.0.0.0/0", "::/0")]
    file = lab.directory / "account.yaml"
    file.write_text(yaml.safe_dump({"tenants": {ACCOUNT: {"prefixes": prefixes, "routes": routes}}}))
    lab.gateways[FIRST].ask("apply", "-f", str(file))


def client(lab, name="acme", number=FIRST):
    """The published client, with this certificate."""
    directory = lab.directory
    return MagicClient(lab.gateways[number].space, f"https://127.0.0.1:{PORT}/client/v4", directory / "api-ca.pem",
                       directory / f"{name}.pem", directory / f"{name}.key")


def answers(lab, tunnel, family=4, count=6):
    """How many of so many pings to the server behind a tunnel come back; each goes through another node."""
    done = lab.client.sh(f"ping -{family} -c{count} -i0.05 -W1 {tunnel.server(family)}", check=False).stdout
    return int(done.split(" received")[0].rsplit(None, 1)[-1])


def gre_request(tunnel, name="dc1"):
    """A GRE tunnel as the client asks for it."""
    return {"account_id": ACCOUNT, "name": name, "cloudflare_gre_endpoint": tunnel.endpoint,
            "customer_gre_endpoint": tunnel.remote, "interface_address": f"{tunnel.gateway_address(4)}/31",
            "interface_address6": f"{tunnel.gateway_address(6)}/127"}


def flows(lab, tunnel):
    """All pings come back, through both nodes and in both families."""
    return all(eventually(lambda family=family: answers(lab, tunnel, family) == 6, 20) for family in (4, 6))


def moment(text):
    """A date of an answer."""
    return datetime.fromisoformat(text)


def test_packets_flow_while_a_gre_tunnel_and_its_routes_are_there(lab):
    api = client(lab)
    assert api.call("gre_tunnels.list", account_id=ACCOUNT) == {"gre_tunnels": []}
    assert answers(lab, GRE) == 0
    tunnel = api.call("gre_tunnels.create", **gre_request(GRE), description="to the first data centre")
    assert len(tunnel["id"]) == 32 and tunnel["created_on"] and tunnel["name"] == "dc1"
    routes = [api.call("routes.create", account_id=ACCOUNT, prefix=GRE.prefix(family), nexthop=GRE.router_address(family),
                       priority=100) for family in (4, 6)]
    assert flows(lab, GRE), lab.gateways[FIRST].log_tail()

    got = api.call("gre_tunnels.get", account_id=ACCOUNT, gre_tunnel_id=tunnel["id"])["gre_tunnel"]
    assert got == tunnel
    changed = api.call("gre_tunnels.update", gre_tunnel_id=tunnel["id"], health_check={"rate": "high"},
                       **(gre_request(GRE, "berlin") | {"mtu": 1400}))
    changed = changed["modified_gre_tunnel"]
    assert (changed["id"], changed["name"], changed["mtu"]) == (tunnel["id"], "berlin", 1400)
    assert (changed["created_on"], changed["description"]) == (tunnel["created_on"], tunnel["description"])
    assert moment(changed["modified_on"]) > moment(tunnel["modified_on"])
    rows = lab.gateways[FIRST].show("tunnels")["rows"]
    assert [(row["name"], row["mtu"]) for row in rows] == [("berlin", 1400)]
    assert flows(lab, GRE), "another name changes nothing"
    assert eventually(lambda: lab.gateways[FIRST].show("tunnels")["rows"][0]["health"]["state"] == "healthy", 10)
    assert changed["health_check"] == {"enabled": True, "rate": "high", "type": "request", "direction": "bidirectional"}

    # Bulk, and the same objects through the other node.
    other = client(lab, "noc", 2)
    bulk = api.call("gre_tunnels.bulk_update", account_id=ACCOUNT, body={"gre_tunnels": [{"id": tunnel["id"], "ttl": 33}]})
    assert bulk["modified_gre_tunnels"][0]["ttl"] == 33
    assert eventually(lambda: other.call("gre_tunnels.list", account_id=ACCOUNT)["gre_tunnels"][0]["ttl"] == 33, 10)
    more = api.call("routes.bulk_update", account_id=ACCOUNT, routes=[
        {"id": route["id"], "prefix": route["prefix"], "nexthop": route["nexthop"], "priority": 7} for route in routes])
    assert [route["priority"] for route in more["modified_routes"]] == [7, 7]
    assert flows(lab, GRE)

    with pytest.raises(Refused) as refused:
        api.call("gre_tunnels.delete", account_id=ACCOUNT, gre_tunnel_id=tunnel["id"])
    assert "no tunnel" in str(refused.value)
    for route in routes:
        assert api.call("routes.delete", account_id=ACCOUNT, route_id=route["id"])["deleted"]
    # The way out that the operator wrote is a route of the account as well.
    assert [route["nexthop"] for route in api.call("routes.list", account_id=ACCOUNT)["routes"]] == ["internet"] * 2
    assert api.call("gre_tunnels.delete", account_id=ACCOUNT, gre_tunnel_id=tunnel["id"])["deleted_gre_tunnel"]["name"] == "berlin"
    assert eventually(lambda: lab.gateways[2].show("tunnels")["rows"] == [], 10)
    assert answers(lab, GRE) == 0


def test_an_ipsec_tunnel_negotiates_under_a_key_that_was_made(lab):
    api = client(lab)
    tunnel = api.call(
        "ipsec_tunnels.create", account_id=ACCOUNT, name=IKE.name, cloudflare_endpoint=IKE.endpoint, customer_endpoint=IKE.remote,
        interface_address=f"{IKE.gateway_address(4)}/31", interface_address6=f"{IKE.gateway_address(6)}/127",
        psk=SECRETS[0])
    for family in (4, 6):
        api.call("routes.create", account_id=ACCOUNT, prefix=IKE.prefix(family), nexthop=IKE.router_address(family), priority=1)
    api.call("ipsec_tunnels.psk_generate", account_id=ACCOUNT, ipsec_tunnel_id=tunnel["id"], extra_query={"validate_only": True})
    given = api.call("ipsec_tunnels.get", account_id=ACCOUNT, ipsec_tunnel_id=tunnel["id"])["ipsec_tunnel"]
    assert given["psk_metadata"]["last_generated_on"] == tunnel["created_on"], "it was only looked at"
    made = api.call("ipsec_tunnels.psk_generate", account_id=ACCOUNT, ipsec_tunnel_id=tunnel["id"])
    SECRETS.append(made["psk"])
    record = lab.store.get(f"/penstock/lab/psks/{ACCOUNT}/{IKE.name}")
    assert record and made["psk"].encode() not in record
    customer = lab.add_customer(IkeTunnel(IKE.number, window=0, psk=made["psk"]))
    # Whichever node it reaches knows the key.
    for node in lab.nodes:
        customer.charon.terminate(check=False, force=True)
        lab.spread.only(node)
        assert eventually(lambda: initiated(customer), 30), lab.gateways[node].log_tail()
        lab.spread.everywhere()
        assert flows(lab, IKE), lab.gateways[node].log_tail()
    shown = api.call("ipsec_tunnels.list", account_id=ACCOUNT)["ipsec_tunnels"][0]
    assert shown["psk_metadata"] == made["psk_metadata"] and not any(secret in str(shown) for secret in SECRETS)
    everything = lab.gateways[FIRST].ask("get", "tenants").stdout + lab.gateways[FIRST].ask("show", "ike", "--json").stdout
    assert not any(secret in everything for secret in SECRETS)

    for route in api.call("routes.list", account_id=ACCOUNT)["routes"]:
        if route["nexthop"] != "internet":
            api.call("routes.delete", account_id=ACCOUNT, route_id=route["id"])
    api.call("ipsec_tunnels.delete", account_id=ACCOUNT, ipsec_tunnel_id=tunnel["id"])
    assert eventually(lambda: lab.store.keys("/penstock/lab/psks/") == [], 10), "the key goes with its tunnel"
    assert answers(lab, IKE) == 0


def initiated(customer):
    """The customer's tunnel is up."""
    if not customer.charon.children():
        customer.charon.initiate(check=False)
    return bool(customer.charon.children())


def test_who_may_do_what(lab):
    for name, account in (("nobody", ACCOUNT), ("acme", "globex")):
        with pytest.raises(Refused) as refused:
            client(lab, name).call("routes.list", account_id=account)
        assert refused.value.status == 403, refused.value
    assert client(lab, "noc").call("routes.list", account_id="globex") == {"routes": []}
    space = lab.gateways[FIRST].space
    plain = run(space.command(["curl", "-sS", "--cacert", lab.directory / "api-ca.pem", f"https://127.0.0.1:{PORT}/v1/show/ready"]),
                check=False)
    assert plain.returncode != 0, "a certificate is asked for"


def curl(lab, path, *words, name="noc"):
    """What curl gets, as data."""
    directory = lab.directory
    command = ["curl", "-sS", "--cacert", directory / "api-ca.pem", "--cert", directory / f"{name}.pem", "--key",
               directory / f"{name}.key", *words, f"https://127.0.0.1:{PORT}{path}"]
    return json.loads(run(lab.gateways[FIRST].space.command(command)).stdout)


def test_answers_are_what_the_description_says(lab):
    """Every table, and the account's lists with something in them, against OpenAPI."""
    api = client(lab)
    tunnel = api.call("gre_tunnels.create", **gre_request(GRE))
    route = api.call("routes.create", account_id=ACCOUNT, prefix=GRE.prefix(4), nexthop=GRE.router_address(4), priority=1)
    description = curl(lab, "/v1/openapi.json")
    checks = []
    for path, requests in description["paths"].items():
        if "get" not in requests or path == "/v1/openapi.json":
            continue
        real = path.replace("{account_id}", ACCOUNT).replace("{gre_tunnel_id}", tunnel["id"]).replace("{route_id}", route["id"])
        if "{" not in real:
            schema = requests["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            checks.append({"path": real, "schema": schema | {"components": description["components"]}, "answer": curl(lab, real)})
    assert len(checks) > 15, checks
    script = ("import json, sys, jsonschema\nfor one in json.load(sys.stdin):\n"
              " errors = list(jsonschema.Draft202012Validator(one['schema']).iter_errors(one['answer']))\n"
              " print(*(f\"{one['path']}: {error.json_path}: {error.message}\" for error in errors), sep='\\n', end='')\n")
    done = subprocess.run([magic.environment(), "-c", script], input=json.dumps(checks), text=True, capture_output=True,
                          timeout=60, check=True)
    assert done.stdout == "", done.stdout
    api.call("routes.delete", account_id=ACCOUNT, route_id=route["id"])
    api.call("gre_tunnels.delete", account_id=ACCOUNT, gre_tunnel_id=tunnel["id"])


def test_a_reload_takes_other_clients(lab):
    """Certificates, clients and the listener itself change while the gateway runs."""
    gateway, config = lab.gateways[FIRST], lab.configs[FIRST]
    api = config["api"]
    assert client(lab, "noc").call("routes.list", account_id=ACCOUNT)
    gateway.reload(config | {"api": api | {"clients": api["clients"][1:]}})
    with pytest.raises(Refused) as refused:
        client(lab, "noc").call("routes.list", account_id=ACCOUNT)
    assert refused.value.status == 403
    gateway.reload({key: value for key, value in config.items() if key != "api"})
    with pytest.raises(RuntimeError):
        client(lab).call("routes.list", account_id=ACCOUNT)
    gateway.reload(config)
    assert client(lab, "noc").call("routes.list", account_id=ACCOUNT)
    assert plan.ENDPOINT4 in str(gateway.ask("show", "config").stdout)
