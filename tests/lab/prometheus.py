"""What a gateway's /metrics says, and a real Prometheus that reads it."""

import http.client
import json
import re
import shutil
import subprocess
import time
from urllib.parse import urlencode

import yaml

from lab.gateway import REPOSITORY
from lab.netns import CommandFailed, Namespace

MONITORING = REPOSITORY / "packaging" / "monitoring"
RULES = MONITORING / "penstock.rules.yaml"
RULE_TESTS = MONITORING / "penstock.rules.test.yaml"
DASHBOARD = MONITORING / "grafana-dashboard.json"
OPEN_METRICS = "application/openmetrics-text;version=1.0.0"
PORT = 9090
START_LIMIT_S = 30
SAMPLE = re.compile(r"^(?P<name>\w+)(\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        """Opens it."""
        self.sock = Namespace.connect_unix(self.path)


def get(connection, path, accept=None):
    """Asks, and returns the answer with its text."""
    connection.request("GET", path, headers={"Accept": accept} if accept else {})
    answer = connection.getresponse()
    answer.text = answer.read().decode()
    connection.close()
    return answer


def scrape(gateway, accept=None):
    """The text of /metrics, from the API's socket."""
    answer = get(UnixConnection(gateway.socket), "/metrics", accept)
    assert answer.status == 200, answer.text
    return answer.text


def scrape_tcp(space, address, path="/metrics", accept=None):
    """The same from the listener, asked for inside a namespace."""
    host, port = address.rsplit(":", 1)
    with space.entered():
        return get(http.client.HTTPConnection(host.strip("[]"), int(port), timeout=60), path, accept)


def samples(text):
    """All samples: (name, labels as a sorted tuple of pairs) to value."""
    read = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            sample = SAMPLE.match(line)
            read[sample["name"], tuple(sorted(LABEL.findall(sample["labels"] or "")))] = float(sample["value"])
    return read


class Prometheus:
    """A Prometheus in a namespace, which scrapes the gateway's listener each second and evaluates our rules."""

    def __init__(self, space, directory, target):
        self.space, self.directory, self.target = space, directory, target
        self.log = directory / "prometheus.txt"
        self.process = None

    def start(self):
        """Starts it and waits until it has scraped."""
        self.directory.mkdir(parents=True, exist_ok=True)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "penstock", "static_configs": [{"targets": [self.target]}]}],
        }
        file = self.directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={self.directory / 'data'}",
                   f"--web.listen-address=127.0.0.1:{PORT}"]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = self.space.spawn(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        limit = time.monotonic() + START_LIMIT_S
        while time.monotonic() < limit:
            try:
                if self.value('up{job="penstock"}') == 1:
                    return self
            except (CommandFailed, StopIteration):
                pass
            time.sleep(0.5)
        raise RuntimeError(f"Prometheus did not scrape in {START_LIMIT_S} s:\n{self.log.read_text()[-2000:]}")

    def query(self, expression):
        """The samples that a query gives now: each with `metric` and `value`."""
        answer = self.space.sh(["promtool", "query", "instant", "-o", "json", f"http://127.0.0.1:{PORT}", expression])
        return json.loads(answer.stdout)

    def value(self, expression):
        """The value of a query that gives one sample."""
        return float(next(iter(self.query(expression)))["value"][1])

    def ask(self, path, **parameters):
        """What its API answers."""
        with self.space.entered():
            words = f"?{urlencode(parameters)}" if parameters else ""
            answer = get(http.client.HTTPConnection("127.0.0.1", PORT, timeout=60), f"/api/v1/{path}{words}")
        return json.loads(answer.text)

    def rules(self):
        """How each rule fares, by name."""
        groups = self.ask("rules")["data"]["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def stop(self):
        """Ends it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(15)


def dashboard_queries():
    """What the dashboard's panels ask for all gateways and tunnels: [(panel, [expressions])]."""
    def filled(target):
        return re.sub(r"\$(instance|tenant|tunnel)\b", ".*", target["expr"]).replace("$__rate_interval", "10s")

    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel, [filled(target) for target in panel["targets"]]) for panel in panels if "targets" in panel]


def draw_dashboard(prometheus, seconds, picture):
    """Draws the dashboard over the last `seconds` by Grafana's own components, which npm fetches."""
    to = int(time.time())
    within = {"start": to - seconds, "end": to, "step": max(1, seconds // 300)}

    def answer(panel, asked):
        if panel["type"] == "table":
            return prometheus.ask("query", query=asked)
        return prometheus.ask("query_range", query=asked, **within)

    answers = {panel["id"]: [answer(panel, asked) for asked in all_of] for panel, all_of in dashboard_queries()}
    work = prometheus.directory / "picture"
    shutil.copytree(MONITORING / "picture", work / "picture", dirs_exist_ok=True)
    shutil.copy(DASHBOARD, work)
    file = work / "answers.json"
    file.write_text(json.dumps({"from": within["start"] * 1000, "to": to * 1000, "answers": answers}))
    for command in (
        ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--legacy-peer-deps", "--loglevel", "error"],
        ["npx", "vite", "build", "--logLevel", "error"],
        ["node", "shoot.js", str(file), str(picture)],
    ):
        subprocess.run(command, cwd=work / "picture", check=True, timeout=600)


def promtool(*words, stdin=None):
    """Runs promtool; its complaints are the error."""
    done = subprocess.run(["promtool", *map(str, words)], input=stdin, text=True, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def used_metrics():
    """Names of our metrics in the dashboard and in the rules; of recorded series those of the rules."""
    texts = [RULES.read_text(), DASHBOARD.read_text()]
    return {name for text in texts for name in re.findall(r"(?<![\w:])penstock_[a-z0-9_]+", text)}
