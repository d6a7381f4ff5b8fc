"""The status page in a real browser, against a gateway with traffic."""

import http.client
import json
import os
import socket
import threading
from pathlib import Path

import pytest
from kinds import ALL
from lab.browser import Page, Tunnelled
from lab.plan import CLIENT4
from lab.traffic import Sweep


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the gateway's socket, with any headers."""

    def __init__(self, path):
        super().__init__("localhost")
        self.path = str(path)

    def connect(self):
        """To the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


@pytest.fixture(scope="module")
def page(lab):
    """The page, by way of a port of localhost."""
    with Tunnelled(lab.gateway.socket) as tunnelled:
        yield tunnelled


def test_it_shows_what_show_says(lab, page):
    Sweep(lab.client, ALL[0].server(4), range(1, 200), df=False).run()
    seen = Page(page.url)
    assert seen.complaints == []
    status = lab.gateway.show("status")
    assert seen.text("node") == status["node"]
    assert seen.text("ready") == "ready"
    assert f"version {status['version']}" in seen.text("about")
    tunnels = {(row["tenant"], row["name"]): row for row in lab.gateway.show("tunnels")["rows"]}
    rows = {cells[1]: cells for cells in seen.rows("tunnels")}
    assert rows.keys() == {f"{tenant}/{name}" for tenant, name in tunnels}
    for (tenant, name), row in tunnels.items():
        cells = rows[f"{tenant}/{name}"]
        assert cells[0] == row["state"] and cells[2] == row["type"] and int(cells[6]) == row["mtu"], (cells, row)
    for port in lab.gateway.show("ports")["rows"]:
        assert port["name"] in seen.text("topology")
    reasons = {row["reason"] for row in lab.gateway.show("drops")["rows"] if row["packets"]}
    assert {cells[0] for cells in seen.rows("drops")} == reasons
    assert 'class="curve"' in seen.html and "The last hour" in seen.html


def test_a_view_has_an_address(lab, page):
    names = [f"acme/{tunnel.name}" for tunnel in ALL]
    wanted = ALL[1].name
    filtered = Page(f"{page.url}#filter={wanted}")
    assert filtered.rows("tunnels") and all(wanted in cells[1] for cells in filtered.rows("tunnels"))
    by_name = [cells[1] for cells in Page(f"{page.url}#sort=name").rows("tunnels")]
    assert sorted(by_name) == sorted(names)
    reversed_ = [cells[1] for cells in Page(f"{page.url}#sort=name&reversed=1").rows("tunnels")]
    assert reversed_ == by_name[::-1]
    up = {row["name"] for row in lab.gateway.show("tunnels")["rows"] if row["state"] == "up"}
    assert not up & {cells[1].partition("/")[2] for cells in Page(f"{page.url}#down=1").rows("tunnels")}


def test_other_sites_pages_reach_nothing(lab):
    def ask(method, path, **headers):
        link = UnixConnection(lab.gateway.socket)
        link.putrequest(method, path, skip_host=True)
        for name, value in headers.items():
            link.putheader(name.replace("_", "-"), value)
        link.endheaders()
        answer = link.getresponse()
        return answer.status, answer.read(), answer

    before = lab.gateway.show("status")["last_reload"]
    assert ask("GET", "/v1/show/status", host="rebound.example:8080")[0] == 403
    status, body, _ = ask("POST", "/v1/reload", host="localhost:8080", origin="https://evil.example")
    assert status == 403 and "another site" in json.loads(body)["error"]["message"]
    assert ask("POST", "/v1/reload", host="localhost:8080", sec_fetch_site="cross-site")[0] == 403
    status, _, answer = ask("GET", "/", host="localhost:8080", sec_fetch_site="none")
    assert status == 200 and "frame-ancestors 'none'" in answer.getheader("content-security-policy")
    assert (lab.gateway.show("status")["last_reload"] is None) == (before is None)


def test_a_picture_of_it(lab, page, tmp_path):
    """With PICTURES=docs/pictures it renews the documents' one."""
    picture = Path(os.environ.get("PICTURES", tmp_path)).resolve() / "status-page.png"
    load = threading.Thread(target=Sweep(lab.client, ALL[0].server(4), range(1, 3001), df=False, source=CLIENT4).run)
    load.start()
    Page(page.url, screenshot=picture, size=(1200, 1250))
    load.join()
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 20_000
