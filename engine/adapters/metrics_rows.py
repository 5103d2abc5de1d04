"""Families of metrics with rows for each channel, destination or listener, rendered without holding anybody up.

A site with hundreds of channels has tens of thousands of such rows. Making each anew holds the interpreter's lock for a
tenth of a second, in stretches of 5 ms whenever the engine's loop wants it: its senders wait. So the text of a child's
rows is kept, with places for the values, and a scrape only fills these in; and it lets go of the lock every few
children (ADR 62). How names and labels are written stays the library's business: the text comes from its encoder.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Generic, Literal, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric

from engine.adapters.metrics_numbers import Counts, Histogram, Timing

AT_A_STRETCH: Final = 8
"""So many children are rendered between two rests: some 0.2 ms. One whose text must be made takes as long."""
GIVE_WAY_S: Final = 0.0002
MOST_FORMATS: Final = 4
"""Texts are kept for so many formats; who asks for yet another has all made anew."""

Key = str | tuple[str, ...]
Found = tuple[Sequence[Key], Sequence[float]]
"""Label values of the rows, beyond those of the child, and their values: one each, two of a summary (count and sum); of
a histogram the bounds, and behind the counts up to each bound the count of all and the sum."""
N = TypeVar("N")
KINDS: Final[Mapping[str, type[Any]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "summary": SummaryMetricFamily,
    "histogram": HistogramMetricFamily,
}
Children = Sequence[tuple[tuple[str, ...], N]]
Encode = Callable[["_One"], bytes]


@dataclass(slots=True, frozen=True)
class Family(Generic[N]):
    """One family. `labels`: those that its rows have beyond their child's. `rows`: of a child, given the time of the
    scrape in seconds."""

    kind: Literal["counter", "gauge", "summary", "histogram"]
    name: str
    documentation: str
    rows: Callable[[N, float], Found]
    labels: tuple[str, ...] = ()


ONE: Final[Sequence[Key]] = ((),)


def one(value: Callable[[N], float]) -> Callable[[N, float], Found]:
    """A single row."""
    return lambda numbers, now_s: (ONE, (value(numbers),))


def each(counts: Callable[[N], Counts]) -> Callable[[N, float], Found]:
    """A row for each of a closed set."""

    def rows(numbers: N, now_s: float) -> Found:
        values = counts(numbers).values
        return tuple(values), tuple(values.values())

    return rows


def every(counts: Callable[[N], Mapping[Any, float]]) -> Callable[[N, float], Found]:
    """A row for each that was met; more may come in another thread meanwhile."""

    def rows(numbers: N, now_s: float) -> Found:
        found = dict(counts(numbers))
        return tuple(found), tuple(found.values())

    return rows


def timings(steps: Callable[[N], Mapping[str, Timing]]) -> Callable[[N, float], Found]:
    """How often and how long, for each."""

    def rows(numbers: N, now_s: float) -> Found:
        found = dict(steps(numbers))
        return tuple(found), [value for timing in found.values() for value in (timing.count, timing.total)]

    return rows


def distribution(histogram: Callable[[N], Histogram]) -> Callable[[N, float], Found]:
    """Prometheus counts cumulatively: each bucket holds everything up to its bound."""

    def rows(numbers: N, now_s: float) -> Found:
        of = histogram(numbers)
        running = 0
        values: list[float] = []
        for count in of.counts.copy():
            running += count
            values.append(running)
        return of.named_bounds, (*values, running, of.total)

    return rows


class WideFamilies(Generic[N]):
    """Families whose rows come from the same children. `labels`: how a child is named."""

    def __init__(self, labels: tuple[str, ...], families: Sequence[Family[N]]) -> None:
        self._labels = labels
        self._families = tuple(families)
        self._texts: dict[str, _Texts] = {}
        self._lock = Lock()

    def collect(self, children: Children[N], now_s: float) -> Iterator[Metric]:
        """As a registry's collector gives them."""
        for family in self._families:
            metric = self._metric(family)
            for child, numbers in children:
                add(metric, family.kind, child, *family.rows(numbers, now_s))
            yield metric

    def render(
        self,
        children: Children[N],
        now_s: float,
        content_type: str,
        encode: Callable[[Any], bytes],
        *,
        rest: Callable[[float], None],
    ) -> bytes:
        """As `encode` writes what `collect` gives. Blocks; `rest` is how it gives way. Any thread may call."""
        with self._lock:
            texts = self._texts.get(content_type)
            if texts is None:
                if len(self._texts) >= MOST_FORMATS:
                    self._texts.clear()
                texts = self._texts[content_type] = _Texts(len(self._families))
            parts: list[list[bytes]] = [[self._head(texts, at, encode)] for at in range(len(self._families))]
            # All of a child in one go: what is counted together is then seen together, or nearly.
            since_rest = 0
            for child, numbers in children:
                if since_rest >= AT_A_STRETCH:
                    rest(GIVE_WAY_S)
                    since_rest = 0
                since_rest += 1
                for at, family in enumerate(self._families):
                    keys, values = family.rows(numbers, now_s)
                    kept = texts.of[at].get(child)
                    if kept is None or kept[0] != keys:
                        kept = texts.of[at][child] = keys, self._text(family, child, keys, values, encode)
                        since_rest = AT_A_STRETCH
                    if values:
                        parts[at].append(kept[1] % tuple(map(float, values)))
            return b"".join(part for of_family in parts for part in of_family)

    def _metric(self, family: Family[N]) -> Any:
        return KINDS[family.kind](family.name, family.documentation, labels=(*self._labels, *family.labels))

    def _head(self, texts: "_Texts", at: int, encode: Encode) -> bytes:
        if not texts.heads[at]:
            lines = encode(_One(self._metric(self._families[at]))).splitlines(keepends=True)
            texts.heads[at] = b"".join(line for line in lines if not line.startswith(b"# EOF"))
        return texts.heads[at]

    def _text(
        self, family: Family[N], child: tuple[str, ...], keys: Sequence[Key], values: Sequence[float], encode: Encode
    ) -> bytes:
        """A child's rows as they are encoded, with `%a` where each value stands: a float as Python writes it.

        The library writes large ones as Go does, with an exponent sooner; who reads one reads the other.
        """
        metric = self._metric(family)
        add(metric, family.kind, child, keys, values)
        # Not splitlines: a label's value may hold characters that it would split at.
        lines = [line for line in encode(_One(metric)).split(b"\n") if line and not line.startswith(b"# ")]
        return b"".join(line.rsplit(b" ", 1)[0].replace(b"%", b"%%") + b" %a\n" for line in lines)


class _One:
    """A registry of one family, for an encoder."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


class _Texts:
    """In one format: of each family its head, and by child the keys of its rows, and their text."""

    def __init__(self, families: int) -> None:
        self.heads = [b""] * families
        self.of: list[dict[tuple[str, ...], tuple[Sequence[Key], bytes]]] = [{} for _ in range(families)]


def add(metric: Any, kind: str, child: Sequence[str], keys: Sequence[Key], values: Sequence[float]) -> None:
    """Add a child's rows to one of the library's families."""
    match kind:
        case "histogram":
            metric.add_metric(child, list(zip(keys, values, strict=False)), sum_value=values[-1])
        case "summary":
            for at, key in enumerate(keys):
                metric.add_metric((*child, *_parts(key)), values[2 * at], values[2 * at + 1])
        case _:
            for key, value in zip(keys, values, strict=True):
                metric.add_metric((*child, *_parts(key)), value)


def _parts(key: Key) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key
