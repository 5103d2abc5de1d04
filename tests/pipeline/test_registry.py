"""Steps and sinks are found by name, the built-in ones by the same door as others."""

import tomllib
from importlib.metadata import EntryPoint

import pytest

from engine.pipeline import registry
from engine.pipeline.registry import BUILT_IN, RegistryError, load_kinds, load_steps
from engine.pipeline.step import StepKind


def test_a_clone_knows_the_steps_and_sinks_that_an_installation_does(repository):
    points = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["entry-points"]
    assert {group: dict(BUILT_IN[group]) for group in BUILT_IN} == {group: points[group] for group in BUILT_IN}


def test_every_kind_is_found_under_its_name():
    kinds = load_kinds()
    assert set(kinds.steps) >= {"filter", "set", "copy", "delete", "map", "each", "validate", "python"}
    assert set(kinds.sinks) >= {"mllp", "file"}
    assert all(kind.name == name for name, kind in (*kinds.steps.items(), *kinds.sinks.items()))


class Installed:
    """Stands for other people's distributions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
        found = {"engine.steps": list(points)}
        monkeypatch.setattr(registry, "entry_points", lambda group: found.get(group, []))


def test_an_installed_step_stands_beside_the_built_in_ones(monkeypatch):
    Installed(monkeypatch, EntryPoint("filter", BUILT_IN["engine.steps"]["filter"], "engine.steps"))
    steps: dict[str, StepKind] = load_steps()
    assert "filter" in steps and "map" in steps


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (EntryPoint("filter", "elsewhere:Filter", "engine.steps"), "two installed packages define 'filter'"),
        (EntryPoint("mine", "no_such_module:Step", "engine.steps"), "'mine' of no_such_module:Step cannot be loaded"),
        (EntryPoint("mine", BUILT_IN["engine.steps"]["set"], "engine.steps"), "is no kind"),
    ],
)
def test_a_step_that_cannot_be_used_is_named(monkeypatch, point, message):
    Installed(monkeypatch, point)
    with pytest.raises(RegistryError, match=message):
        load_steps()
