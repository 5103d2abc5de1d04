"""What we give to operations fits the engine it is for."""

import configparser
import shlex
from pathlib import Path

import click
import pytest

from engine.cli.main import segmill

DEPLOY = Path(__file__).parent.parent / "deploy"


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / "segmill.service")
    return parser


def test_the_unit_runs_commands_that_there_are(unit):
    known = segmill.list_commands(click.Context(segmill))
    program, command, *_ = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/segmill")
    assert command in known


def test_a_reload_of_the_unit_is_a_command_that_there_is(unit):
    program, command, site = shlex.split(unit["Service"]["ExecReload"])
    assert program.endswith("/segmill")
    assert command in segmill.list_commands(click.Context(segmill))
    assert site == shlex.split(unit["Service"]["ExecStart"])[-1]


def test_a_broken_configuration_is_not_started_again_and_again(unit):
    from engine.cli.exits import CONFIGURATION

    assert unit["Service"]["RestartPreventExitStatus"] == str(CONFIGURATION)
    assert unit["Service"]["Restart"] == "always"
    # The exit code of a command before it would not count for RestartPreventExitStatus.
    assert "ExecStartPre" not in unit["Service"]


def test_a_stop_has_longer_than_the_engine_takes_to_drain(unit):
    from engine.config.settings import SiteSettings

    assert float(unit["Service"]["TimeoutStopSec"]) > SiteSettings().shutdown


def test_the_service_has_no_rights_that_it_does_not_need(unit):
    service = unit["Service"]
    assert service["User"] == "segmill"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
