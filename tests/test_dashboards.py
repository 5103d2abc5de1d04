"""Each panel of the dashboards shows metrics that there are, by labels that they have, and says how to read it."""

import importlib.util
import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from engine.adapters.metrics import PrometheusMeter
from engine.adapters.tls_status import RevocationList

GRAFANA = Path(__file__).parent.parent / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
OF_PROMETHEUS = {"instance", "job", "le"}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)"
)


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboards", GRAFANA / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Every sample's name, and its labels."""
    meter = PrometheusMeter()
    channel = meter.channel("orders")
    channel.breach("PID-3.usage", "error")
    channel.drift("HIS", "PID-3", 1)
    channel.finding("E250")
    channel.step("set", 0.1)
    channel.worker("late")
    channel.outcome("processed")
    channel.acknowledged("AA", 0.001)
    channel.charset("declared")
    lane = meter.lane("orders", "modalities")
    lane.attempt("delivered", 0.1)
    meter.listener("orders")
    meter.connection_event("orders", "accepted")
    meter.source_files("orders", 0, 0)
    meter.dicom.items = {("main", "SCHEDULED"): 1}
    meter.hand_off("archive")
    meter.audit_export()
    meter.traces()
    meter.certificate_ends = {"adt": 0.0}
    meter.tls.lists = {"adt": RevocationList(0.0, 1.0)}
    meter.is_console_up = True
    meter.retention_pass(0.0)
    meter.disk(1, 1)
    meter.store_keys = {"site": 0.0, "data": 0.0}
    meter.commit(0.001, 1)
    _, body = meter.render()
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", body.decode(), re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def expressions(path: Path) -> list[tuple[str, str, str]]:
    """(title, PromQL, legend)"""
    return [(p["title"], t["expr"], t["legendFormat"]) for p in panels(path) for t in p["targets"]]


def plain(expression: str) -> str:
    """With Grafana's variables as they stand when a dashboard opens."""
    return expression.replace("$__rate_interval", "1m").replace('"$', '"')


def test_the_files_are_what_build_py_writes(build):
    assert {path.name for path in FILES} == {f"{board.uid}.json" for board in build.DASHBOARDS}
    for board in build.DASHBOARDS:
        written = (GRAFANA / "dashboards" / f"{board.uid}.json").read_text(encoding="utf-8")
        assert written == build.text(board), "run: python deploy/grafana/build.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_panel_looks_at_what_there_is_and_says_how_to_read_it(path: Path, exported):
    assert panels(path)
    for panel in panels(path):
        assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            for name, selector in re.findall(r"\b((?:segmill|process)_\w+)(?:\{([^}]*)\})?", target["expr"]):
                assert name in exported, (panel["title"], name)
                assert set(re.findall(r"(\w+)(?==|!=|=~|!~)", selector)) <= exported[name] | OF_PROMETHEUS, name
            used = set(re.findall(r"by \(([^)]*)\)", target["expr"]))
            by = {label.strip() for labels in used for label in labels.split(",")}
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            known = set().union(*(exported[n] for n in re.findall(r"\b(?:segmill|process)_\w+", target["expr"])))
            assert by | shown <= known | OF_PROMETHEUS, panel["title"]
            assert not by or shown <= by, f"{panel['title']}: a legend of what the sum has lost"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_variables_are_those_that_are_defined_and_each_gives_choices_from_a_metric_that_has_them(path: Path, exported):
    board = json.loads(path.read_text())
    variables = {one["name"]: one for one in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"]))) - {"__rate_interval", "__all"}
    assert used == set(variables)
    for name, variable in variables.items():
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["definition"]).groups()
            assert label == name and label in exported[metric] | {"instance"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_panel_lies_on_another_or_over_the_edge(path: Path):
    everything = json.loads(path.read_text())["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    places = [panel["gridPos"] for panel in everything]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_every_metric_of_ours_is_on_a_dashboard(exported):
    """But for those that are counted for other pages: what is left out is left out on purpose."""
    shown = {name for path in FILES for _, text, _ in expressions(path) for name in re.findall(r"segmill_\w+", text)}
    ours = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in exported if name.startswith("segmill_")}
    seen = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert ours - seen == {
        "segmill_charset_evidence_total",
        "segmill_empty_blocks_total",
        "segmill_ignored_bytes_total",
        "segmill_retention_paused",
        "segmill_source_files",
    }


@needs_promtool
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_prometheus_can_read_every_expression(path: Path, tmp_path: Path):
    rules = [{"record": f"panel:{n}", "expr": plain(e)} for n, (_, e, _) in enumerate(expressions(path))]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    said = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(rules)} rules found" in said.stdout
