"""The shipped channels do what their cases say, and their cases show what matters."""

from pathlib import Path

import pytest

from engine.config.site import load_site
from engine.pipeline.cases import check_case
from engine.pipeline.compile import CompiledChannel, compile_channel
from engine.pipeline.registry import load_kinds, load_steps

REPOSITORY = Path(__file__).parent.parent
SHIPPED = ["adt", "orders", "results", "scanners"]
CASES = sorted(path.parent for path in (REPOSITORY / "channels").glob("*/cases/*/ack.hl7"))


@pytest.fixture(scope="module")
def channels() -> dict[str, CompiledChannel]:
    # An empty environment: the channels must run with their defaults alone.
    site = load_site(REPOSITORY, load_kinds(), {})
    assert not site.findings
    steps = load_steps()
    return {c.name: compile_channel(c, steps, runs_own_code=True) for c in site.channels}


def outcome(channels: dict[str, CompiledChannel], case: Path):
    files = {path.name: path.read_bytes() for path in case.iterdir()}
    return check_case(channels[case.parent.parent.name], files)


def test_the_shipped_channels_are_these(channels):
    assert sorted(channels) == SHIPPED


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.parent.name}-{path.name}")
def test_a_case_comes_to_what_its_files_say(channels, case: Path):
    told = outcome(channels, case)
    assert told.is_good, told.render()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_channel_shows_what_it_does_when_things_go_wrong(channels, name: str):
    cases = [case for case in CASES if case.parent.parent.name == name]
    states = {state for case in cases for state in outcome(channels, case).states}
    assert len(cases) >= 6
    assert states >= {"processed", "filtered", "held", "rejected", "duplicate"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_hot_channel_stays_in_the_engines_process(channels, name: str):
    assert not channels[name].isolated


def test_a_changed_table_is_noticed_by_a_case(channels, tmp_path: Path):
    """The goldens can fail: one ward moved, and the case that admits there says so."""
    import shutil

    shutil.copytree(REPOSITORY / "channels" / "adt", tmp_path / "channels" / "adt")
    table = tmp_path / "channels/adt/tables/wards.csv"
    table.write_text(table.read_text().replace("3W,W03,", "3W,W99,"))
    site = load_site(tmp_path, load_kinds(), {})
    changed = {"adt": compile_channel(site.channels[0], load_steps(), runs_own_code=True)}
    told = outcome(changed, tmp_path / "channels/adt/cases/admit")
    assert "PV1-3.1" in told.render()
