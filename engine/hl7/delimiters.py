"""The delimiters that a message defines for itself in MSH-1 and MSH-2.

HL7 v2.5.1 section 2.5.4; v2.7 section 2.5.5.2 for the truncation character.
"""

import re
from collections.abc import Sequence
from typing import Final

from engine.hl7.errors import Notice, UnreadableMessage

HEADERS = frozenset({"MSH", "FHS", "BHS"})
"""Segments whose field 1 is the separator itself (spec item 41)."""

NOT_IN_USE = "\r"
"""Cuts nothing: the text of a segment holds no CR. Stands in for a delimiter that MSH-2 leaves out."""


LARGE_CHARS: Final = 1 << 18
"""A text so long is looked through for one character after the other, and not cut at each, nor copied without need."""


class Delimiters:
    """One message's delimiters. An empty text means: not in use, so nothing is split there (spec item 39).

    `written` is MSH-2 as it stands, which is what must be sent on (items 26 and 42). The `cut_...`
    twins are what the readers split by, with `NOT_IN_USE` for the empty ones.
    """

    __slots__ = (
        "component",
        "cut_component",
        "cut_escape",
        "cut_repetition",
        "cut_subcomponent",
        "escape",
        "field",
        "repetition",
        "special",
        "specials",
        "subcomponent",
        "truncation",
        "written",
    )

    def __init__(self, field: str, marks: Sequence[str], written: str) -> None:
        """`marks`: component, repetition, escape, subcomponent, truncation; '' for one not in use."""
        self.field = field
        self.component, self.repetition, self.escape, self.subcomponent, self.truncation = marks
        self.written = written
        self.cut_component = self.component or NOT_IN_USE
        self.cut_repetition = self.repetition or NOT_IN_USE
        self.cut_escape = self.escape or NOT_IN_USE
        self.cut_subcomponent = self.subcomponent or NOT_IN_USE
        marks_in_use = field + "".join(marks[:4])
        #: Finds the first character that a value may not hold as it stands: delimiters, and CR, LF, VT, FS.
        self.special = re.compile("[" + re.escape(marks_in_use) + "\r\n\x0b\x1c" + "]")
        #: The same characters. Looking for each takes a tenth of the pattern's time in a text of megabytes.
        self.specials = marks_in_use + "\r\n\x0b\x1c"

    def are_in(self, value: str) -> bool:
        """Whether `value` holds a character that it may not hold as it stands."""
        if len(value) < LARGE_CHARS:
            return self.special.search(value) is not None
        return any(mark in value for mark in self.specials)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Delimiters) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Delimiters({self.field!r}, {self.written!r})"

    def _key(self) -> tuple[str, ...]:
        return (self.field, self.component, self.repetition, self.escape, self.subcomponent, self.truncation)


STANDARD = Delimiters("|", ("^", "~", "\\", "&", ""), "^~\\&")
"""`|^~\\&`, the recommended ones (v2.5.1 section 2.5.4, figure 2-1)."""


def read_delimiters(header: str) -> tuple[Delimiters, tuple[Notice, ...]]:
    r"""The delimiters of an MSH, FHS or BHS segment's text, and what was odd about them (spec items 38 to 40).

    `^~&` and `^~\\&` are repaired to `^~\&`; any other short form is taken by position, with the rest not in
    use. Letters, digits, blanks, and a character's second appearance are no delimiters.
    Raises UnreadableMessage when the fourth character cannot be a separator.
    """
    field = header[3:4]
    if not _can_delimit(field):
        raise UnreadableMessage("the fourth character of the message cannot be a field separator", "102")
    written = header[4:].partition(field)[0]
    if written == "^~\\&":
        return (STANDARD if field == "|" else Delimiters(field, (*written, ""), written)), ()
    name = header[:3]
    place = f"{name}-2"
    if written in ("^~&", "^~\\\\&"):
        notice = Notice("W310", f"{place} was read as the four usual delimiters", place)
        return Delimiters(field, ("^", "~", "\\", "&", ""), written), (notice,)
    notices = []
    marks: list[str] = []
    for mark in written[:5]:
        marks.append(mark if _can_delimit(mark) and mark not in marks else "")
    if "" in marks or len(written) > 5:
        text = f"{place} has {len(written)} characters, of which {len(''.join(marks))} can be used as delimiters"
        notices.append(Notice("W311", text, place, "102"))
    elif len(marks) < 4:
        notices.append(Notice("W312", f"{place} has {len(marks)} of 4 delimiters", place))
    marks += [""] * (5 - len(marks))
    return Delimiters(field, marks, written), tuple(notices)


def _can_delimit(mark: str) -> bool:
    """Printable, and neither letter, digit nor blank. '"' is kept out too: it writes the delete marker."""
    return mark.isprintable() and not mark.isalnum() and not mark.isspace() and mark not in ("", '"')
