"""The dashboard for Grafana and the alerts for Prometheus in contrib/: of metrics that a server has, in good PromQL."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from server.admin.test_admin import watched
from support.harness import ROOT

ALERTS = ROOT / "contrib" / "alerts.yml"
GRAFANA = ROOT / "contrib" / "grafana.json"
METRIC = re.compile(r"\ballcomers_[a-z0-9_]+")


def expressions() -> list[str]:
    """Return the queries of the dashboard."""
    return [target["expr"] for panel in json.loads(GRAFANA.read_text())["panels"] for target in panel["targets"]]


@pytest.fixture(scope="module")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return Prometheus's own checker, from Debian's package: installed, or only unpacked, for it has a daemon, too."""
    if found := shutil.which("promtool"):
        return found
    folder = tmp_path_factory.mktemp("prometheus")
    commands = ("apt-get download -q prometheus", "dpkg-deb -x prometheus_*.deb .")
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=120)
        if done.returncode:
            pytest.skip(f"promtool is not here, nor to be had from Debian: {done.stderr.strip()[-200:]}")
    return str(folder / "usr/bin/promtool")


def test_the_queries_are_of_metrics_that_there_are() -> None:
    asked = set(METRIC.findall(ALERTS.read_text() + "\n".join(expressions()) + GRAFANA.read_text()))
    with watched("--by-route") as (server, admin):
        with server.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            while sock.recv(65536):
                pass
        admin.stats_when(lambda stats: stats["routes"], "a route")
        text = admin.ask("/metrics")[1].decode()
    there = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}
    assert len(asked) > 20
    assert asked <= there


def test_promtool_reads_alerts_and_queries(promtool: str, tmp_path: Path) -> None:
    queries = tmp_path / "queries.yml"
    rules = [
        {"record": f"query:{number}", "expr": expr.replace("$__rate_interval", "1m").replace("$instance", "a")}
        for number, expr in enumerate(expressions())
    ]
    queries.write_text(json.dumps({"groups": [{"name": "grafana", "rules": rules}]}))  # YAML has JSON within it
    done = subprocess.run(
        [promtool, "check", "rules", str(ALERTS), str(queries)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(rules)} rules found" in done.stdout
