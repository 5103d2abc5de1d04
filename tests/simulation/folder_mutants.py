"""Mutants of the file source; see `mutants`."""

from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

import engine.adapters.sources.file as module
from engine.adapters.sources.file import PEER, FileSource
from engine.adapters.sources.inbox import Inbox, Seen
from engine.ports.source import Taken
from tests.simulation.mutants import mutant


@mutant("a file is put away before its messages are stored")
def _put_away_early() -> Iterator[None]:
    async def early(self: FileSource, messages: Any) -> bool:
        for at, part in enumerate(messages.parts):
            self._inlet.take(part, PEER)
            messages.taken[at] = Taken("kept")
        return True

    with patch.object(FileSource, "_bring", early):
        yield


@mutant("what an engine that was killed had taken out of the folder is forgotten")
def _left_behind() -> Iterator[None]:
    prepare = Inbox.prepare

    def forgetful(self: Inbox) -> list[str]:
        prepare(self)
        return []

    with patch.object(Inbox, "prepare", forgetful):
        yield


@mutant("a file is taken while it is being written")
def _taken_early() -> Iterator[None]:
    def hasty(self: FileSource, waiting: Sequence[Seen]) -> list[Seen]:
        return list(waiting)

    with patch.object(FileSource, "_whole", hasty):
        yield


@mutant("a file is done whatever is refused of it")
def _always_done() -> Iterator[None]:
    with patch.object(module, "_verdict", lambda messages: module._Verdict(True)):
        yield
