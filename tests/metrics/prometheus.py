"""promtool, and a Prometheus that scrapes one jwksd each second."""

import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from example import PATIENCE, Process  # noqa: E402
from waiting import wait_until  # noqa: E402

CONFIG = """
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: [alerts.yml]
scrape_configs:
  - job_name: jwksd
    static_configs:
      - targets: ["{target}"]
"""

# In both, a name may be that of a counter: its samples end in _total.
TYPE = re.compile(r"# TYPE (\S+) (\S+)")
HELP = re.compile(r"# HELP (\S+) (.*)")


class Prometheus:
    """It evaluates the rules each second, and every alert fires without its wait."""

    def __init__(self, folder: Path, target: str, rules: Path) -> None:
        folder.mkdir()
        text = rules.read_text()
        (folder / "alerts.yml").write_text(re.sub(r"(?m)^( +)for: .*$", r"\1for: 0s", text))
        (folder / "prometheus.yml").write_text(CONFIG.format(target=target))
        self._process = Process(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                # It says which port it was given.
                "--web.listen-address=127.0.0.1:0",
                "--log.level=info",
            ],
            folder,
            folder / "prometheus.log",
        )

    def wait_until_ready(self) -> None:
        place = self._process.wait_for(r'msg="Listening on" address=(127\.0\.0\.1:[1-9]\d*)')
        self._url = f"http://{place}"
        wait_until(self._is_ready, PATIENCE, "prometheus is ready")

    def stop(self) -> None:
        self._process.stop()

    def query(self, expression: str) -> list[dict]:
        """The series that an expression gives now."""
        answer = self._ask("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        return answer["data"]["result"]

    def value(self, expression: str) -> float | None:
        """The value of the only series that an expression gives, if there is one."""
        match self.query(expression):
            case []:
                return None
            case [one]:
                return float(one["value"][1])
            case several:
                raise AssertionError(f"{expression} gives {several}")

    def alerts(self) -> dict[str, list[dict]]:
        """The labels of what fires or is about to, by name."""
        firing: dict[str, list[dict]] = {}
        for alert in self._ask("/api/v1/alerts")["data"]["alerts"]:
            firing.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return firing

    def rules(self) -> list[dict]:
        groups = self._ask("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def scrapes(self) -> float:
        """How many scrapes there were."""
        return self.value('count_over_time(up{job="jwksd"}[1h])') or 0

    def wait_for_scrapes(self, count: int) -> None:
        """So many more, each with the rules evaluated after it."""
        before = self.scrapes()
        wait_until(lambda: self.scrapes() >= before + count, PATIENCE, f"{count} more scrapes")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=PATIENCE) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _ask(self, path: str) -> dict:
        with urllib.request.urlopen(self._url + path, timeout=PATIENCE) as answer:
            return json.loads(answer.read())


def promtool(*arguments: str | Path, text: str | None = None) -> str:
    """What it says; it has to succeed."""
    command = ["promtool", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=PATIENCE)
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(command)}: {said}"
    return said


def classic(text: str) -> str:
    """OpenMetrics as the text format before it, which is all that `promtool check metrics` reads.

    There the lines about a counter name it as its samples do, and there are neither units nor facts.
    """
    suffixes = {"counter": "_total", "info": "_info"}
    types = {name: kind for name, kind in TYPE.findall(text)}
    lines = []
    for line in text.splitlines():
        if line.startswith(("# UNIT ", "# EOF")):
            continue
        if found := HELP.match(line):
            name, said = found.groups()
            line = f"# HELP {name}{suffixes.get(types[name], '')} {said}"
        elif found := TYPE.match(line):
            name, kind = found.groups()
            line = f"# TYPE {name}{suffixes.get(kind, '')} {'gauge' if kind == 'info' else kind}"
        lines.append(line)
    return "\n".join(lines) + "\n"
