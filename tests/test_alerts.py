"""The alerts that we give to operations go off when they should, on metrics that there are."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from engine.adapters.metrics import PrometheusMeter
from engine.adapters.tls_status import RevocationList
from engine.cli.main import segmill
from tests.docs.test_examples import anchors

REPOSITORY = Path(__file__).parent.parent
PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
RULES = sorted(PROMETHEUS.glob("*.rules.yaml"))
PAGES = {
    "segmill.rules.yaml": "alerts.md",
    "segmill-worklist.rules.yaml": "worklist.md",
    "segmill-hand-offs.rules.yaml": "hand-offs.md",
    "segmill-audit.rules.yaml": "audit-repository.md",
}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)"
)


def test_every_file_of_tests_is_of_one_of_rules():
    assert sorted(PROMETHEUS.glob("*.tests.yaml")) == sorted(test for rules in RULES for test in files_of(rules))


def alerts(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def files_of(rules: Path) -> list[Path]:
    """Its file of tests, and the one of those that take hours or days, where it has any."""
    stem = rules.name.removesuffix(".rules.yaml")
    return [path for more in (".tests.yaml", ".long.tests.yaml") if (path := rules.with_name(stem + more)).exists()]


@cache
def exported() -> frozenset[str]:
    """Every sample that an engine with all that is by option has, and what Prometheus says of the scrape."""
    meter = PrometheusMeter()
    meter.channel("orders")
    meter.lane("orders", "modalities")
    meter.listener("orders")
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
    meter.channel("orders").breach("PID-3.usage", "error")
    meter.channel("orders").drift("HIS", "PID-3", 1)
    meter.channel("orders").finding("E214")
    meter.channel("orders").step("set", 0.1)
    meter.channel("orders").worker("late")
    meter.source_files("orders", 0, 0)
    _, body = meter.render()
    return frozenset(re.findall(r"^(\w+)", body.decode(), re.MULTILINE)) | {"up"}


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:(?:segmill|process)_\w+|up(?=\{))", expression))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_an_alert_looks_at_metrics_that_there_are_and_says_what_to_do(path: Path):
    assert alerts(path)
    for rule in alerts(path):
        named = metrics_in(rule["expr"])
        assert named and named <= exported(), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"] and rule["annotations"]["action"]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_what_an_alert_has_people_type_is_a_command_with_such_options(path: Path):
    for rule in alerts(path):
        # Not the unit or the namespace of that name.
        for name, rest in re.findall(
            r"(?<!-u )(?<!-n )(?<!status )\bsegmill (\S+)([^;.,:]*)", rule["annotations"]["action"]
        ):
            command = segmill.get_command(click.Context(segmill), name.rstrip(";.,:"))
            if isinstance(command, click.Group):
                command = command.get_command(click.Context(command), rest.split()[0])
            assert command is not None, (rule["alert"], name, rest)
            options = {name for parameter in command.params for name in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", rest)) <= options, (rule["alert"], name, rest)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_each_alert_is_tried_both_ways(path: Path):
    tried = []
    for file in files_of(path):
        tests = yaml.safe_load(file.read_text())
        assert tests["rule_files"] == [path.name]
        tried += [
            (one["alertname"], bool(one["exp_alerts"])) for test in tests["tests"] for one in test["alert_rule_test"]
        ]
    assert set(tried) == {(rule["alert"], fires) for rule in alerts(path) for fires in (True, False)}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_operators_read_of_each_alert_where_it_says(path: Path):
    page = REPOSITORY / "engine" / "docs" / PAGES[path.name]
    text = page.read_text()
    for rule in alerts(path):
        assert f"`{rule['alert']}`" in text or f"### {rule['alert']}\n" in text, rule["alert"]
        told, _, heading = rule["annotations"]["runbook"].partition("#")
        assert REPOSITORY / told == page and heading in anchors(page), rule["alert"]


@needs_promtool
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_promtool_takes_the_rules_and_they_do_what_their_tests_say(path: Path):
    tests = [file.name for file in files_of(path)]
    assert tests
    for words in (["check", "rules", path.name], ["test", "rules", *tests]):
        said = subprocess.run(["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr
