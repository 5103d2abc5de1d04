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

_BLANK: Final = b" \t\x0b\x0c\x1c\x1d\x1e\x1f"
"""What `str.strip` takes off ASCII text, but for line ends, which are none here."""
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


_Place = tuple[int, int, int, str]
"""Field, component, subcomponent, key."""
_Quick = tuple[tuple[bytes, int, tuple[_Place, ...]], ...]
"""CR + name + separator of a segment; its last field that is wanted; where in it what stands."""


def _by_segment(paths: Sequence[tuple[str, Path]]) -> _Quick | None:
    """None where a path has selectors, is of a header, or of a whole segment: then all goes the long way."""
    found: dict[bytes, list[_Place]] = {}
    for name, path in paths:
        spec: Spec = path.spec
        is_plain = spec.segment_selector is None and spec.field_selector is None and spec.field > 0
        if not is_plain or spec.segment in ("MSH", "BHS", "FHS"):
            return None
        place = (spec.field, max(spec.component, 1), max(spec.subcomponent, 1), name)
        found.setdefault(b"\r%s|" % spec.segment.encode("ascii"), []).append(place)
    return tuple((start, max(places)[0], tuple(sorted(places))) for start, places in found.items())


def _read_quickly(raw: bytes, quick: _Quick) -> tuple[KeyValue, ...] | None:
    """As `KeyReader.read`, of plain bytes; None where they are not that plain."""
    if len(raw) > SEARCHED_BYTES:
        end = raw.rfind(b"\r", 0, SEARCHED_BYTES)
        raw = raw[: end if end > 0 else SEARCHED_BYTES]
    if b"\n" in raw or b"\x1b" in raw:
        return None
    found: dict[tuple[str, bytes], None] = {}
    for start, last, places in quick:
        at = raw.find(start)
        left = MOST_SEGMENTS
        while at >= 0 and left:
            left -= 1
            end = raw.find(b"\r", at + 1)
            fields = raw[at + 1 : end if end > 0 else len(raw)].split(b"|", last + 1)
            at = raw.find(start, end) if end > 0 else -1
            count = len(fields)
            for field, component, subcomponent, name in places:
                if field >= count:
                    break
                text = fields[field]
                if not text:
                    continue
                if component == subcomponent == 1:
                    leaf = text.partition(b"^")[0]
                    if leaf.isalnum() and b"~" not in text:
                        found[name, leaf] = None
                        continue
                if b"\\" in text:
                    return None
                for value in _leaves(text, component, subcomponent):
                    found[name, value] = None
        if len(found) >= MOST_VALUES:
            break
    # In small letters some may be the same.
    values = dict.fromkeys([(name, value.decode("ascii").lower()) for name, value in found])
    return tuple(values)[:MOST_VALUES]


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
