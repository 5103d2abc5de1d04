"""What a change of files does to a running engine: said by a plan, done by a reload."""

from dataclasses import dataclass
from typing import Literal, Protocol

from engine.model.ids import ChannelName

Outcome = Literal["unchanged", "planned", "taken", "rejected", "busy"]


@dataclass(slots=True, frozen=True)
class PlannedChange:
    """One channel. `what`: which parts of it differ; `notes`: what that does, in sentences for people.

    `connections`: how many are closed for it; `waiting`: deliveries that wait for what is changed or removed;
    `held`: messages of it that a person has to look at.
    """

    channel: ChannelName
    change: Literal["added", "removed", "changed"]
    what: tuple[str, ...]
    connections: int = 0
    waiting: int = 0
    held: int = 0
    notes: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class FileError:
    """What is wrong in a file, as `segmill check` says it."""

    code: str
    file: str
    line: int
    column: int
    length: int
    message: str
    hint: str


@dataclass(slots=True, frozen=True)
class ReloadReport:
    """What a plan or reload came to.

    `taken`: what runs is what the files say, but for `needs_restart`. `rejected`: everything runs as before, for
    `errors` in files or for what `sentence` says. `busy`: another reload is under way, or the engine is stopping.
    `pending`: what goes on by itself after the report. `notes`: what the site's own settings come to, in sentences.
    """

    outcome: Outcome
    sentence: str
    channels: tuple[PlannedChange, ...] = ()
    settings: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    errors: tuple[FileError, ...] = ()
    pending: tuple[str, ...] = ()
    exit_code: int = 0
    notes: tuple[str, ...] = ()


class Reloading(Protocol):
    """The engine's own side of it."""

    async def plan(self) -> ReloadReport:
        """What a reload would do now; nothing is touched."""
        ...

    async def reload(self) -> ReloadReport:
        """Take up what the files say, all of it or nothing."""
        ...
