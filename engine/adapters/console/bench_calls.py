"""What pages ask of the bench, and the channel that they ask it for."""

import asyncio
from collections.abc import Coroutine
from functools import cache
from typing import Any, Final, TypeVar

from engine.adapters.api.entries import Call
from engine.adapters.api.problems import Problem, not_there
from engine.adapters.console.channel_files import Looked, look
from engine.config.kinds import Kinds
from engine.config.site import LoadedSite
from engine.pipeline.registry import load_kinds
from engine.ports.bench import Bench, BenchBusy

T = TypeVar("T")

MOST_OF_ONE: Final = 3
"""So many of one person wait or are at work: the places are for all who try something."""


def bench_of(call: Call) -> Bench:
    """Where texts are tried. Raises Problem."""
    if call.api.bench is None:
        raise Problem(503, "E530", "this engine has no process for it: segmill try")
    return call.api.bench


async def asked(call: Call, question: Coroutine[Any, Any, T]) -> T:
    """The bench's answer. Raises Problem where too many ask, or who asks has enough under way."""
    name, trying = call.who.name, call.api.trying
    if trying[name] >= MOST_OF_ONE:
        question.close()
        raise Problem(503, "E530", "what you tried before is still under way", {"retry-after": "2"})
    trying[name] += 1
    try:
        return await question
    except BenchBusy:
        raise Problem(503, "E530", "many try something at this moment", {"retry-after": "2"}) from None
    finally:
        trying[name] -= 1
        if not trying[name]:
            del trying[name]


@cache
def _kinds() -> Kinds:
    """Those that there are; they do not change while the engine runs."""
    return load_kinds()


def _look(site: LoadedSite, name: str, *, is_brief: bool) -> Looked | None:
    found = look(site, name, _kinds(), is_brief=is_brief)
    if found is not None:
        found.text  # noqa: B018 - made here, on a thread, and remembered
    return found


async def look_at(call: Call, name: str, *, is_brief: bool = False) -> Looked:
    """The channel as it runs and as its files are. Raises Problem."""
    found = await asyncio.to_thread(_look, call.api.site(), name, is_brief=is_brief)
    if found is None:
        raise not_there()
    return found
