"""What is wrong with a channel's cases, for `segmill check`: a case that cannot fail says nothing.

None of it keeps a channel from running, so the engine does not look at cases, and all of it is a warning.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.config.base import did_you_mean
from engine.config.finding import ConfigFinding, Position, at

if TYPE_CHECKING:
    from engine.config.site import LoadedChannel, LoadedSite

CASES: Final = "cases"
_IN: Final = re.compile(r"in(?:\.[0-9]+)?\.hl7")
_OUT: Final = re.compile(r"out\.([^.]+)\.(?:hl7|json|xml)")
_PLAIN: Final = ("ack.hl7", "findings.txt", "expect.yaml")


def case_findings(loaded: "LoadedSite") -> list[ConfigFinding]:
    """Of all channels that could be read. That a channel has no case is told where others have some."""
    by_channel = [(channel, _folders(channel)) for channel in loaded.channels]
    has_cases = any(folders for _, folders in by_channel)
    return [finding for channel, folders in by_channel for finding in _of_channel(channel, folders, has_cases)]


def _folders(channel: "LoadedChannel") -> list[Path]:
    root = channel.folder / CASES
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _of_channel(channel: "LoadedChannel", folders: list[Path], has_cases: bool) -> Iterator[ConfigFinding]:
    if has_cases and not folders:
        hint = "put a message into cases/NAME/in.hl7, then: segmill test --update"
        yield at(Position(channel.shown, 1, 1), "W180", f"channel '{channel.name}' has no case, as others have", hint)
    for folder in folders:
        yield from _of_case(channel, folder, f"channels/{channel.name}/{CASES}/{folder.name}")


def _of_case(channel: "LoadedChannel", folder: Path, shown: str) -> Iterator[ConfigFinding]:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if not any(_IN.fullmatch(name) for name in names):
        hint = "its message stands in in.hl7, several in in.1.hl7, in.2.hl7"
        yield at(Position(shown, 1, 1), "W181", "a case without a message", hint)
    places = {*(f"out.{name}" for name in channel.file.destinations), "out.app_ack"}
    for name in names:
        if (found := _OUT.fullmatch(name)) is not None and f"out.{found[1]}" not in places:
            hint = did_you_mean(found[1], list(channel.file.destinations))
            yield at(Position(f"{shown}/{name}", 1, 1), "W182", f"no destination is named '{found[1]}'", hint)
        elif "/" in name and name not in channel.files and name.endswith((".csv", ".py", ".yaml", ".xml")):
            hint = did_you_mean(name, [one for one in channel.files if "/" in one or one.endswith(".py")])
            yield at(
                Position(f"{shown}/{name}", 1, 1), "W182", "the channel has no such file to take the place of", hint
            )
    if "expect.yaml" in names:
        yield from _expectations((folder / "expect.yaml").read_bytes(), f"{shown}/expect.yaml", places)


def _expectations(raw: bytes, shown: str, places: set[str]) -> Iterator[ConfigFinding]:
    from engine.pipeline.expect import read_expectations

    expected = read_expectations(raw)
    hint = "what can stand there: engine/docs/test-a-channel.md"
    for line, sentence in expected.wrong:
        yield at(Position(shown, max(line, 1), 1), "W181", sentence, hint)
    for name, (line, _) in expected.outputs.items():
        if name != "ack" and name not in places:
            told = did_you_mean(name, sorted(places - {"out.app_ack"}))
            yield at(Position(shown, max(line, 1), 1), "W182", f"no destination of the channel is '{name}'", told)
