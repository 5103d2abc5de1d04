"""A site of one channel, written and read in a line, with a small set of steps and sinks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import Field

from engine.config.base import ConfigModel
from engine.config.entries import StepEntry
from engine.config.kinds import Kinds
from engine.config.site import LoadedSite, load_site
from engine.config.types import (
    ConditionText,
    FileText,
    FolderText,
    FunctionText,
    PathText,
    SegmentText,
    TablePath,
    ValueText,
)
from engine.config.units import Duration
from engine.testing.sites import make_site


class FilterOptions(ConfigModel):
    condition: ConditionText = Field(alias="filter")


class SetOptions(ConfigModel):
    values: dict[PathText, ValueText] = Field(alias="set", min_length=1)


class DeleteOptions(ConfigModel):
    paths: tuple[PathText, ...] = Field(alias="delete", min_length=1)


class MapOptions(ConfigModel):
    tables: dict[PathText, TablePath] = Field(alias="map", min_length=1)


class EachOptions(ConfigModel):
    segment: SegmentText = Field(alias="each")
    when: ConditionText | None = None
    do: tuple[StepEntry, ...]


class PythonOptions(ConfigModel):
    function: FunctionText = Field(alias="python")


class MllpOptions(ConfigModel):
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    ack_timeout: Duration = 30.0
    ca: FileText | None = None


class FileOptions(ConfigModel):
    folder: FolderText
    name: str = "{MSH-10}.hl7"


@dataclass(frozen=True)
class Kind:
    name: str
    model: type[ConfigModel]


STEPS = {
    "filter": FilterOptions,
    "set": SetOptions,
    "delete": DeleteOptions,
    "map": MapOptions,
    "each": EachOptions,
    "python": PythonOptions,
}
SINKS = {"mllp": MllpOptions, "file": FileOptions}

CHANNEL = """\
listen:
  mllp: {port: 2576}
routes:
  - to: archive
destinations:
  archive:
    file: {folder: out}
"""
"""The shortest channel without a finding."""


@pytest.fixture
def kinds() -> Kinds:
    return Kinds({n: Kind(n, m) for n, m in STEPS.items()}, {n: Kind(n, m) for n, m in SINKS.items()})


Load = Callable[..., LoadedSite]


@pytest.fixture
def load(tmp_path: Path, kinds: Kinds) -> Load:
    """Reads a site whose one channel is `orders`, or whose channels are given by name."""

    def read(
        channels: str | Mapping[str, str | Mapping[str, str | bytes]],
        *,
        settings: str = "",
        files: Mapping[str, str | bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> LoadedSite:
        if isinstance(channels, str):
            channels = {"orders": {"channel.yaml": channels, **(files or {})}}
        return load_site(make_site(tmp_path / "site", channels, settings), kinds, env or {})

    return read


@pytest.fixture
def found(load: Load) -> Callable[..., list[tuple[int, int, str]]]:
    """Line, column and code of every finding in one channel's file."""

    def read(channel: str, **more: object) -> list[tuple[int, int, str]]:
        return [(f.line, f.column, f.code) for f in load(channel, **more).findings]

    return read


@pytest.fixture
def channel() -> str:
    return CHANNEL
