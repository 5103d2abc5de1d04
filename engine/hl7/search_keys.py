r"""The numbers that people look a message up by, read off its bytes: a patient's, a visit's, an order's.

It is done for every message that is stored, so most are read without being parsed: plain ASCII with the usual
delimiters, which is nearly all. What is odd about one (another character set, other delimiters, an escape in a value)
sends it the long way, by `Message`, which gives the same (hl7.md items 41, 43, 46).

Bounds: the first SEARCHED_BYTES of a message, MOST_SEGMENTS segments of a name, MOST_VALUES values in all.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from engine.hl7.errors import Hl7Error
from engine.hl7.grammar import Spec
from engine.hl7.message import Message
from engine.hl7.path import Path, compile_path

SEARCHED_BYTES: Final = 1 << 20
MOST_SEGMENTS: Final = 100
MOST_VALUES: Final = 64

KeyValue = tuple[str, str]
"""A key's name, and a value of it as it is compared."""

_USUAL_START: Final = b"MSH|^~\\&|"

DEFAULT_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "mrn": ("PID-2.1", "PID-3.1", "MRG-1.1"),
    "visit": ("PV1-19.1",),
    "placer": ("ORC-2.1", "OBR-2.1"),
    "filler": ("ORC-3.1", "OBR-3.1"),
    "accession": ("OBR-18", "IPC-1.1"),
}
"""What can be looked up where nobody says otherwise. Control ids have an index of their own."""


def comparable(value: str) -> str:
    """A value as it is compared: without blanks around it, and whatever its case."""
    return value.strip().casefold()


class KeyReader:
    """Reads the values of the keys that one channel has: by name, the paths where each stands."""

    __slots__ = ("_fallback", "_paths", "_quick", "names")

    def __init__(self, keys: Mapping[str, Sequence[str]], *, fallback: str = "cp1252") -> None:
        """`fallback`: as of `Message.parse`. Raises PathError for a path that is none."""
        self.names = tuple(keys)
        self._fallback = fallback
        self._paths = [(name, compile_path(path)) for name, paths in keys.items() for path in paths]
        self._quick = _by_segment(self._paths)

    def read(self, raw: bytes) -> tuple[KeyValue, ...]:
        """The values in `raw`, each once; none where it cannot be read. `""` (delete) and nothing are no values."""
        quick = self._quick
        if quick is not None and raw.startswith(_USUAL_START) and raw.isascii():
            found = _read_quickly(raw, quick)
            if found is not None:
                return found
        return self._read_slowly(raw)

    def paths_of(self, name: str) -> tuple[str, ...]:
        """Where a key stands."""
        return tuple(path.text for of, path in self._paths if of == name)

    def _read_slowly(self, raw: bytes) -> tuple[KeyValue, ...]:
        if len(raw) > SEARCHED_BYTES:
            end = raw.rfind(b"\r", 0, SEARCHED_BYTES)
            raw = raw[: end if end > 0 else SEARCHED_BYTES]
        found: dict[KeyValue, None] = {}
        try:
            message = Message.parse(raw, fallback=self._fallback)
            for name, path in self._paths:
                for value in path.all(message):
                    if (text := comparable(value)) and text != '""':
                        found[name, text] = None
                        if len(found) >= MOST_VALUES:
                            return tuple(found)
        except Hl7Error:
            pass  # it is kept and found by other means; what was read of it counts
        return tuple(found)


_Quick = Mapping[bytes, Sequence[tuple[int, int, int, str]]]
"""By `CR` + name + separator: (field, component, subcomponent, key), by field."""


def _by_segment(paths: Sequence[tuple[str, Path]]) -> _Quick | None:
    """None where a path has selectors, is of a header, or of a whole segment: then all goes the long way."""
    found: dict[bytes, list[tuple[int, int, int, str]]] = {}
    for name, path in paths:
        spec: Spec = path.spec
        is_plain = spec.segment_selector is None and spec.field_selector is None and spec.field > 0
        if not is_plain or spec.segment in ("MSH", "BHS", "FHS"):
            return None
        place = (spec.field, max(spec.component, 1), max(spec.subcomponent, 1), name)
        found.setdefault(b"\r%s|" % spec.segment.encode("ascii"), []).append(place)
    return {start: sorted(places) for start, places in found.items()}


def _read_quickly(raw: bytes, quick: _Quick) -> tuple[KeyValue, ...] | None:
    """As `KeyReader.read`, of plain bytes; None where they are not that plain."""
    if raw.find(b"\n", 0, SEARCHED_BYTES) >= 0 or raw.find(b"\x1b", 0, SEARCHED_BYTES) >= 0:
        return None
    found: dict[KeyValue, None] = {}
    for start, places in quick.items():
        last = places[-1][0]
        for segment in _segments(raw, start):
            fields = segment.split(b"|", last + 1)
            for field, component, subcomponent, name in places:
                if field >= len(fields):
                    break
                text = fields[field]
                if not text:
                    continue
                if text.isalnum() and component == subcomponent == 1:
                    found[name, text.decode("ascii").casefold()] = None
                    continue
                if b"\\" in text:
                    return None
                for repetition in text.split(b"~"):
                    parts = repetition.split(b"^", component)
                    if len(parts) < component:
                        continue
                    leaves = parts[component - 1].split(b"&", subcomponent)
                    if len(leaves) < subcomponent:
                        continue
                    value = comparable(leaves[subcomponent - 1].decode("ascii"))
                    if value and value != '""':
                        found[name, value] = None
            if len(found) >= MOST_VALUES:
                return tuple(found)[:MOST_VALUES]
    return tuple(found)


def _segments(raw: bytes, start: bytes) -> Iterator[bytes]:
    at = raw.find(start, 0, SEARCHED_BYTES)
    for _ in range(MOST_SEGMENTS):
        if at < 0:
            return
        end = raw.find(b"\r", at + 1)
        yield raw[at + 1 :] if end < 0 else raw[at + 1 : end]
        at = -1 if end < 0 else raw.find(start, end, SEARCHED_BYTES)
