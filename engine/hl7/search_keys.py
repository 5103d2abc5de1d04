r"""The numbers that people look a message up by, read off its bytes: a patient's, a visit's, an order's.

It is done for every message that is stored, so most are read without being parsed: plain ASCII with the usual
delimiters, which is nearly all. What is odd about one (another character set, other delimiters, an escape in a value)
sends it the long way, by `Message`, which gives the same (hl7.md items 41, 43, 46).

Bounds: the first SEARCHED_BYTES of a message, MOST_VALUES values in all, and of a message that is longer than
SHORT_BYTES the first MOST_SEGMENTS segments that may hold one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from engine.hl7.errors import Hl7Error
from engine.hl7.grammar import Spec
from engine.hl7.message import Message
from engine.hl7.path import Path, compile_path

SEARCHED_BYTES: Final = 1 << 20
SHORT_BYTES: Final = 16 * 1024
"""Up to this size all segments are taken off at once: cheaper than one by one, and a millisecond at the most."""
MOST_SEGMENTS: Final = 600
MOST_VALUES: Final = 64

KeyValue = tuple[str, str]
"""A key's name, and a value of it as it is compared."""

_BLANK: Final = b" \t\x0b\x0c\x1c\x1d\x1e\x1f"
"""What `str.strip` takes off ASCII text, but for line ends, which are none here."""
LF, ESC, BACKSLASH, TILDE = b"\n\x1b\\~"
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
        self._quick = _quick(self._paths)

    def read(self, raw: bytes) -> tuple[KeyValue, ...]:
        """The values in `raw`, each once; none where it cannot be read. `""` (delete) and nothing are no values."""
        if not self._paths:
            return ()
        quick = self._quick
        # Numbers, as `b"\n" in raw` raises and catches an exception within to find out that it is not one.
        if quick is not None and raw.startswith(_USUAL_START) and raw.isascii() and LF not in raw and ESC not in raw:
            found = quick.read(raw)
            if found is not None:
                return found
        return self._read_slowly(raw)

    def paths_of(self, name: str) -> tuple[str, ...]:
        """Where a key stands."""
        return tuple(path.text for of, path in self._paths if of == name)

    def _read_slowly(self, raw: bytes) -> tuple[KeyValue, ...]:
        raw = raw[: _end_of(raw)]
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


_Place = tuple[int, str, tuple[int, int] | None]
"""Field, from 0; key; component and subcomponent, None for the first of the first, which nearly all are."""


class _Quick:
    """One pass over plain bytes for all keys: the segments that hold some, then the fields of these."""

    __slots__ = ("_each", "_every", "_places")

    def __init__(self, places: Mapping[str, Sequence[_Place]]) -> None:
        names = b"|".join(sorted(segment.encode("ascii") for segment in places))
        pattern = re.compile(rb"\r(%b)\|([^\r]*)" % names)
        self._every = pattern.findall
        self._each = pattern.finditer
        self._places = {
            segment.encode("ascii"): (max(field for field, _, _ in within) + 1, tuple(sorted(within, key=_field_of)))
            for segment, within in places.items()
        }

    def read(self, raw: bytes) -> tuple[KeyValue, ...] | None:
        """As `KeyReader.read`; None where these bytes are not that plain."""
        if len(raw) <= SHORT_BYTES:
            segments: Iterable[tuple[bytes, bytes]] = self._every(raw)
        else:
            matches = islice(self._each(raw, 0, _end_of(raw)), MOST_SEGMENTS)
            segments = ((match[1], match[2]) for match in matches)
        found: dict[KeyValue, None] = {}
        for segment, rest in segments:
            last, places = self._places[segment]
            fields = rest.split(b"|", last)
            count = len(fields)
            for field, name, inner in places:
                if field >= count:
                    break
                text = fields[field]
                if not text:
                    continue
                if inner is None:
                    leaf = text.partition(b"^")[0]
                    if leaf.isalnum() and TILDE not in text:
                        found[name, leaf.lower().decode()] = None
                        continue
                if BACKSLASH in text:
                    return None
                for value in _leaves(text, *inner) if inner is not None else _first_leaves(text):
                    found[name, value.lower().decode()] = None
            if len(found) >= MOST_VALUES:
                return tuple(found)[:MOST_VALUES]
        return tuple(found)


def _field_of(place: _Place) -> int:
    return place[0]


def _quick(paths: Sequence[tuple[str, Path]]) -> _Quick | None:
    """None where a path has selectors, is of a header, or of a whole segment: then all goes the long way."""
    found: dict[str, list[_Place]] = {}
    for name, path in paths:
        spec: Spec = path.spec
        is_plain = spec.segment_selector is None and spec.field_selector is None and spec.field > 0
        if not is_plain or spec.segment in ("MSH", "BHS", "FHS"):
            return None
        inner = max(spec.component, 1), max(spec.subcomponent, 1)
        found.setdefault(spec.segment, []).append((spec.field - 1, name, None if inner == (1, 1) else inner))
    return _Quick(found)


def _end_of(raw: bytes) -> int:
    """Where the searched part ends: before the segment that is beyond."""
    if len(raw) <= SEARCHED_BYTES:
        return len(raw)
    end = raw.rfind(b"\r", 0, SEARCHED_BYTES)
    return end if end > 0 else SEARCHED_BYTES


def _first_leaves(field: bytes) -> Iterator[bytes]:
    """As `_leaves`, of the first subcomponent of the first component."""
    for repetition in field.split(b"~"):
        value = repetition.partition(b"^")[0]
        if not value.isalnum():
            value = value.partition(b"&")[0].strip(_BLANK)
            if not value or value == b'""':
                continue
        yield value


def _leaves(field: bytes, component: int, subcomponent: int) -> Iterator[bytes]:
    """What is to be compared of each repetition of a field."""
    for repetition in field.split(b"~"):
        parts = repetition.split(b"^", component)
        if len(parts) < component:
            continue
        leaves = parts[component - 1].split(b"&", subcomponent)
        if len(leaves) < subcomponent:
            continue
        value = leaves[subcomponent - 1].strip(_BLANK)
        if value and value != b'""':
            yield value
