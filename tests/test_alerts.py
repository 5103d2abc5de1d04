"""The alerts that we give to operations go off when they should, on metrics that there are."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.adapters.metrics import PrometheusMeter

REPOSITORY = Path(__file__).parent.parent
PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
RULES = sorted(PROMETHEUS.glob("*.rules.yaml"))
PAGES = {"segmill-worklist.rules.yaml": "worklist.md", "segmill-hand-offs.rules.yaml": "hand-offs.md"}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)"
)


def alerts(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


@cache
def exported() -> frozenset[str]:
    """Every sample that an engine with a worklist and a hand-off has."""
    meter = PrometheusMeter()
    meter.channel("orders")
    meter.lane("orders", "modalities")
    meter.listener("orders")
    meter.dicom.items = {("main", "SCHEDULED"): 1}
    meter.hand_off("archive")
    _, body = meter.render()
    return frozenset(re.findall(r"^(segmill_\w+)", body.decode(), re.MULTILINE))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_an_alert_looks_at_metrics_that_there_are_and_says_what_to_do(path: Path):
    assert alerts(path)
    for rule in alerts(path):
        named = set(re.findall(r"segmill_\w+", rule["expr"]))
        assert named and named <= exported(), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"] and rule["annotations"]["action"]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_each_alert_is_tried_both_ways(path: Path):
    tests = yaml.safe_load(path.with_name(path.name.replace(".rules.", ".tests.")).read_text())
    assert tests["rule_files"] == [path.name]
    tried = [(one["alertname"], bool(one["exp_alerts"])) for test in tests["tests"] for one in test["alert_rule_test"]]
    assert set(tried) == {(rule["alert"], fires) for rule in alerts(path) for fires in (True, False)}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_operators_read_of_each_alert(path: Path):
    page = (REPOSITORY / "engine" / "docs" / PAGES[path.name]).read_text()
    for rule in alerts(path):
        assert f"`{rule['alert']}`" in page


@needs_promtool
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_promtool_takes_the_rules_and_they_do_what_their_tests_say(path: Path):
    for words in (["check", "rules", path.name], ["test", "rules", path.name.replace(".rules.", ".tests.")]):
        said = subprocess.run(["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr
