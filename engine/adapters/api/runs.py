"""Orders that are under way or were done, by their keys."""

import asyncio
from collections import OrderedDict
from typing import Final

from engine.adapters.api.problems import Problem
from engine.ports.control import ActionReport

MOST_RUNS: Final = 1_000


class Runs:
    """Orders by who gave them and under which key, so that one whose answer got lost can be asked for."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, str], tuple[str, asyncio.Future[ActionReport]]] = OrderedDict()

    def of(self, who: str, key: str, plan: str) -> "asyncio.Future[ActionReport] | None":
        """Raises Problem where the key is in use for something else."""
        found = self._runs.get((who, key)) if key else None
        if found is None:
            return None
        if found[0] != plan:
            raise Problem(409, "E485", "this key was used for something else; nothing was done: take another")
        return found[1]

    def add(self, who: str, key: str, plan: str, run: "asyncio.Future[ActionReport]") -> None:
        """A run that failed is not kept: the same may be tried again."""
        if not key:
            return
        self._runs[who, key] = (plan, run)

        def ended(done: "asyncio.Future[ActionReport]") -> None:
            if done.cancelled() or done.exception() is not None:
                self._runs.pop((who, key), None)

        run.add_done_callback(ended)
        while len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)
