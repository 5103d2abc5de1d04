"""What pages ask of the bench, and the channel that they ask it for."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from engine.adapters.api.entries import Call
from engine.adapters.api.problems import Problem, not_there
from engine.adapters.console.channel_files import Looked, look
from engine.pipeline.registry import load_kinds
from engine.ports.bench import Bench, BenchBusy

T = TypeVar("T")


def bench_of(call: Call) -> Bench:
    """Where texts are tried. Raises Problem."""
    if call.api.bench is None:
        raise Problem(503, "E530", "this engine has no process for it: segmill try")
    return call.api.bench


async def asked(question: Coroutine[Any, Any, T]) -> T:
    """The bench's answer. Raises Problem where too many ask."""
    try:
        return await question
    except BenchBusy:
        raise Problem(503, "E530", "many try something at this moment", {"retry-after": "2"}) from None


async def look_at(call: Call, name: str) -> Looked:
    """The channel as it runs and as its files are. Raises Problem."""
    found = await call.search(look, call.api.site(), name, load_kinds())
    if found is None:
        raise not_there()
    return found
