"""What differs between two messages, field by field: for the trace of a step and for the cases of a channel.

The values compared are the texts as they stand in the message (escapes not undone), so that nothing
that would go over the wire differently is called equal.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from engine.hl7.delimiters import Delimiters
from engine.hl7.message import Message
from engine.pipeline.pairs import Pair, Segment, pair_segments


@dataclass(slots=True, frozen=True)
class Change:
    """One place with its text before and after; None where the place is not there. Holds values."""

    path: str
    before: str | None
    after: str | None


def changes(before: Message, after: Message) -> list[Change]:
    """Every leaf that differs, in the order of the message; [] only if both have the same segments, text for text.

    A segment that came or went is one change, with its whole text; so is one where only trailing
    delimiters differ.
    """
    return changes_of_pairs(pair_segments(_segments(before), _segments(after)), before.delimiters, after.delimiters)


def changes_of_pairs(pairs: Sequence[Pair], before: Delimiters, after: Delimiters) -> list[Change]:
    """The same of segments that are paired already; the delimiters are those of either message."""
    found: list[Change] = []
    for left, right in pairs:
        if left is None or right is None or left.text != right.text:
            found.extend(_segment_changes(left, right, before, after))
    return found


def _segments(message: Message) -> list[Segment]:
    names = message.names()
    total = Counter(names)
    seen: dict[str, int] = {}
    found = []
    for index, name in enumerate(names):
        seen[name] = number = seen.get(name, 0) + 1
        label = f"{name}[{number}]" if total[name] > 1 else name
        fields = message.fields(index)
        found.append(Segment(label, message.segment(index), fields))
    return found


def _segment_changes(
    old: Segment | None, new: Segment | None, cut_old: Delimiters, cut_new: Delimiters
) -> list[Change]:
    if old is None or new is None:
        present = old or new
        assert present is not None, "a pair has at least one side"
        return [Change(present.label, old.text if old else None, new.text if new else None)]
    found: list[Change] = []
    for number, (left, right) in enumerate(zip_longest(old.fields, new.fields)):
        if number and left != right and (left or right):
            found.extend(_field_changes(f"{new.label}-{number}", left, right, cut_old, cut_new))
    return found or [Change(new.label, old.text, new.text)]


def _field_changes(
    place: str, left: str | None, right: str | None, cut_old: Delimiters, cut_new: Delimiters
) -> list[Change]:
    if not left or not right or place in ("MSH-1", "MSH-2"):
        return [Change(place, left, right)]
    olds, news = left.split(cut_old.cut_repetition), right.split(cut_new.cut_repetition)
    is_repeated = max(len(olds), len(news)) > 1
    found: list[Change] = []
    for number, (old, new) in enumerate(zip_longest(olds, news), 1):
        if old != new:
            found.extend(_parts(f"{place}[{number}]" if is_repeated else place, old, new, cut_old, cut_new))
    return found


def _parts(place: str, old: str | None, new: str | None, cut_old: Delimiters, cut_new: Delimiters) -> list[Change]:
    """What differs in a repetition, by component."""
    if not old or not new:
        return [Change(place, old, new)]
    olds, news = old.split(cut_old.cut_component), new.split(cut_new.cut_component)
    is_plain = max(len(olds), len(news)) == 1
    if is_plain and cut_old.cut_subcomponent not in old and cut_new.cut_subcomponent not in new:
        return [Change(place, old, new)]
    found: list[Change] = []
    for number, (left, right) in enumerate(zip_longest(olds, news), 1):
        if left != right and (left or right):
            found.extend(_subparts(f"{place}.{number}", left, right, cut_old, cut_new))
    return found or [Change(place, old, new)]


def _subparts(place: str, old: str | None, new: str | None, cut_old: Delimiters, cut_new: Delimiters) -> list[Change]:
    """What differs in a component, by subcomponent."""
    if not old or not new:
        return [Change(place, old, new)]
    olds, news = old.split(cut_old.cut_subcomponent), new.split(cut_new.cut_subcomponent)
    if max(len(olds), len(news)) == 1:
        return [Change(place, old, new)]
    return [
        Change(f"{place}.{number}", left, right)
        for number, (left, right) in enumerate(zip_longest(olds, news), 1)
        if left != right
    ]
