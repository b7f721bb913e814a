"""What is in docs/monitoring, by a real Prometheus that scrapes a real jwksd."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from prometheus import PATIENCE, Prometheus, classic, promtool

from binary import BINARY, UnixConnection  # prometheus.py says where these are
from example import Jwksd, ask
from waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "docs/monitoring"
ALERTS = MONITORING / "alerts.yml"

CONFIG = """
[store]
path = "data/store"
master_key = "data/master.key"
[audit]
path = "data/audit.jsonl"
[public]
listen = "127.0.0.1:0"
base_url = "http://127.0.0.1:8080"
root = "default"
[internal]
listen = ["unix:data/sign.sock", "127.0.0.1:{internal}"]
[internal.tls]
certificate = "pki/jwksd.pem"
key = "pki/jwksd.key"
[admin]
listen = "unix:data/admin.sock"
[metrics]
listen = "127.0.0.1:0"
{keysets}
[[callers]]
name = "local"
uid = "self"
grants = [{{ keyset = "*", actions = ["sign-token", "read", "rotate", "revoke", "operate"] }}]
"""

# One is also in a file. The waits are short, so that a rotation needs no patience.
KEYSET = """
[keysets.{name}]
algorithm = "ES256"
rotate = "0 3 1 * *"
issuer = "http://127.0.0.1/{name}"
max_token_ttl = "1h"
jwks_max_age = "1s"
verifier_cache = "1s"
clock_skew = "1s"
"""

# What stands for a choice of the viewer's in Grafana.
CHOICES = {
    "$job": "jwksd",
    "$instance": ".+",
    "$keyset": ".+",
    "$__rate_interval": "1m",
}


class Monitoring(unittest.TestCase):
    """One daemon and one Prometheus, through all that can happen to them, in this order."""

    @classmethod
    def setUpClass(cls) -> None:
        # A short path: that of a Unix socket has at most 107 bytes.
        folder = tempfile.TemporaryDirectory(prefix="jwksd-", dir="/tmp")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.internal = free_port()
        write_config(cls.folder, cls.internal)
        cls.daemon = Jwksd(cls.folder)
        cls.addClassCleanup(cls.daemon.stop)
        cls.daemon.wait_until_ready()
        log = (cls.folder / "jwksd.log").read_text()
        cls.target = re.search(r"metrics +(127\.0\.0\.1:\d+)", log)[1]
        cls.prometheus = Prometheus(cls.folder / "prometheus", cls.target, ALERTS)
        cls.addClassCleanup(cls.prometheus.stop)
        cls.prometheus.wait_until_ready()
        # What comes now is a change to it.
        wait_until(lambda: cls.prometheus.scrapes() >= 2, PATIENCE, "it was scraped")
        use(cls.daemon, cls.folder, cls.internal)
        cls.prometheus.wait_for_scrapes(3)

    def test_1_the_metrics_are_as_promtool_wants_them(self) -> None:
        answer = ask("GET", f"http://{self.target}/metrics")
        kind = answer.headers["Content-Type"]
        self.assertEqual(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.assertEqual(promtool("check", "metrics", text=classic(answer.text)), "")
        self.assertEqual(self.prometheus.value('up{job="jwksd"}'), 1)
        families = re.findall(r"(?m)^# HELP (\S+) (.*)$", answer.text)
        self.assertGreater(len(families), 30)
        self.assertEqual(len({name for name, _ in families}), len(families))
        for name, said in families:
            self.assertRegex(said, r"^[A-Z0-9].*\.$", name)

    def test_2_every_metric_is_on_the_page_and_the_page_names_no_other(self) -> None:
        text = ask("GET", f"http://{self.target}/metrics").text
        told = {name + suffix(kind) for name, kind in re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text)}
        page = (ROOT / "docs/monitoring.md").read_text()
        named = set(re.findall(r"(?m)^\| `((?:jwksd|process)_\w+)", page))
        self.assertEqual(named, told)

    def test_3_the_rules_are_good_and_do_what_their_test_says(self) -> None:
        self.assertIn("SUCCESS", promtool("check", "rules", ALERTS))
        self.assertIn("SUCCESS", promtool("test", "rules", MONITORING / "alerts_test.yml"))

    def test_4_each_alert_says_what_to_do_and_where_it_says_more(self) -> None:
        rules = self.prometheus.rules()
        self.assertGreater(len(rules), 10)
        tested = (MONITORING / "alerts_test.yml").read_text()
        for rule in rules:
            with self.subTest(rule["name"]):
                self.assertIn(rule["labels"]["severity"], {"critical", "warning", "info"})
                self.assertTrue(rule["annotations"]["summary"])
                self.assertGreater(len(rule["annotations"]["description"]), 80)
                page, _, section = rule["annotations"]["runbook_url"].partition("#")
                path = ROOT / page.removeprefix("https://github.com/jwksd/jwksd/blob/main/")
                self.assertIn(section, sections(path))
                self.assertIn(rule["name"], tested)

    def test_5_every_panel_of_the_dashboard_shows_something(self) -> None:
        board = json.loads((MONITORING / "dashboard.json").read_text())
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        targets = [(panel["title"], target) for panel in panels for target in panel["targets"]]
        self.assertGreater(len(targets), 30)
        for title, target in targets:
            expression = chosen(target["expr"])
            with self.subTest(title, expression=expression):
                self.assertNotIn("$", expression)
                self.assertTrue(self.prometheus.query(expression), "gives nothing")
                self.assertEqual(target["datasource"]["uid"], "${datasource}")
        for variable in board["templating"]["list"][1:]:
            metric, label = re.match(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            with self.subTest(variable["name"]):
                found = self.prometheus.query(chosen(metric))
                self.assertTrue(found and all(label in one["metric"] for one in found))
        ids = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(set(ids)), len(ids))

    def test_6_what_alerts_look_at_is_there_and_none_fires_where_all_is_well(self) -> None:
        for rule in self.prometheus.rules():
            for selector in re.findall(r"(?:jwksd_\w+|up)(?:\{[^}]*\})?", rule["query"]):
                with self.subTest(rule["name"], selector=selector):
                    # A state or an outcome that never came has no series: its metric has.
                    metric = re.sub(r',?(outcome|reason)[!=~]+"[^"]*"', "", selector)
                    self.assertTrue(self.prometheus.query(metric), f"no {metric}")
        # That somebody revoked a key is told, and nothing else.
        self.assertEqual(set(self.prometheus.alerts()), {"JwksdKeyRevoked"})

    def test_7_a_file_that_cannot_be_written_is_an_alert_until_it_can(self) -> None:
        jwks = self.folder / "jwks"
        shutil.rmtree(jwks)
        jwks.write_text("in the way")
        self.daemon("keys", "rotate", "default", "--now")
        # Readiness suffers too.
        expected = {"JwksdKeyRevoked", "JwksdJwksFileUnconfirmed", "JwksdNotReady"}
        self.wait_for_alerts(expected)
        labels = self.prometheus.alerts()["JwksdJwksFileUnconfirmed"]
        self.assertEqual([one["keyset"] for one in labels], ["default"])
        jwks.unlink()
        jwks.mkdir()
        # It is told to look again by whatever changes the set.
        self.daemon("keys", "rotate", "default", "--now")
        self.wait_for_alerts({"JwksdKeyRevoked"})

    def test_8_a_daemon_that_ended_is_an_alert(self) -> None:
        self.daemon.stop()
        self.wait_for_alerts({"JwksdDown"}, ignored={"JwksdKeyRevoked"})

    def wait_for_alerts(self, expected: set[str], ignored: set[str] = frozenset()) -> None:
        alerts = lambda: set(self.prometheus.alerts()) - ignored  # noqa: E731
        try:
            wait_until(lambda: alerts() == expected, PATIENCE / 2, f"{expected} fire")
        except AssertionError as error:
            raise AssertionError(f"{error}, but {self.prometheus.alerts()} do") from None


def write_config(folder: Path, internal: int) -> None:
    (folder / "data").mkdir(mode=0o700)
    (folder / "jwks").mkdir()
    default = KEYSET.format(name="default") + f'jwks_file = "{folder}/jwks/default.json"\n'
    keysets = default + KEYSET.format(name="second")
    (folder / "jwksd.toml").write_text(CONFIG.format(internal=internal, keysets=keysets))
    for arguments in (["init"], ["issue", "server", "jwksd", "--ip", "127.0.0.1"]):
        run(folder, "pki", *arguments)


def use(daemon: Jwksd, folder: Path, internal: int) -> None:
    """All that is counted happens at least once."""
    for keyset in ("default", "second"):
        for _ in range(3):
            daemon.sign(keyset)
    assert "longer than" in daemon.refusal("sign", "default", "--claims", "{}", "--ttl", "2h")
    requests = [{"claims": {}, "ttl": "1m"}] * 20
    batch(folder, {"requests": requests})
    answer = ask("GET", f"{daemon.url}/.well-known/jwks.json")
    tag = {"If-None-Match": answer.headers["ETag"]}
    assert ask("GET", f"{daemon.url}/jwks.json", headers=tag).status == 304
    assert ask("GET", f"{daemon.url}/nobody/.well-known/jwks.json").status == 404
    stranger(internal)
    daemon.rotate("second", "--now")
    daemon.standby("second")
    daemon("keys", "revoke", "second", daemon.active("second"), "--reason", "a test")
    daemon.standby("second")
    daemon("store", "backup", "jwksd.backup")


def batch(folder: Path, body: dict) -> None:
    connection = UnixConnection(folder / "data/sign.sock")
    path = "/v1/keysets/default/tokens/batch"
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def stranger(port: int) -> None:
    """Asks for a token, and nobody knows it."""
    anyone = ssl._create_unverified_context()
    url = f"https://127.0.0.1:{port}/v1/keysets/default/tokens"
    headers = {"Authorization": "Bearer jwksd_of-nobody", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=b"{}", headers=headers)
    try:
        urllib.request.urlopen(request, timeout=PATIENCE, context=anyone)
    except urllib.error.HTTPError as refused:
        assert refused.code == 401, refused
    else:
        raise AssertionError("a stranger got a token")


def run(folder: Path, *arguments: str) -> None:
    command = [BINARY, "--config", "jwksd.toml", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def chosen(expression: str) -> str:
    """The expression as Grafana asks it."""
    for variable, value in CHOICES.items():
        expression = expression.replace(variable, value)
    return expression


def suffix(kind: str) -> str:
    return {"counter": "_total", "info": "_info"}.get(kind, "")


def sections(page: Path) -> set[str]:
    """The names by which a page's sections are linked to."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    plain = [re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings]
    return set(plain)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]
