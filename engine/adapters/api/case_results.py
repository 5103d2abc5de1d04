"""How the cases of each channel came out the last time that somebody ran them here; gone with the engine."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engine.ports.bench import CaseTried

MOST_CHANNELS: Final = 500


@dataclass(slots=True, frozen=True)
class CasesRun:
    """One run. `digest`: of the files it was made with; `not_run`: cases beyond what one run takes."""

    at_us: int
    digest: bytes
    results: Mapping[str, CaseTried]
    not_run: int = 0

    @property
    def failed(self) -> list[str]:
        return [name for name, result in self.results.items() if not result.is_good]


class CaseResults:
    """The newest run of each channel. Used by the one loop of the console's server."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, CasesRun] = OrderedDict()

    def of(self, channel: str) -> CasesRun | None:
        return self._runs.get(channel)

    def put(self, channel: str, run: CasesRun) -> None:
        self._runs[channel] = run
        self._runs.move_to_end(channel)
        while len(self._runs) > MOST_CHANNELS:
            self._runs.popitem(last=False)
