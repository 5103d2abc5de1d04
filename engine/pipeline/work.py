"""What a step costs, counted and not timed, so that the same message comes to the same end on every machine.

Steps run on the loop that all channels share. Each takes time in proportion to the message, but for what goes over
segments or repetitions and looks at others each time: that takes its count from the message's allowance
(`Message.spend`), and a message without any is held with E204 (reliability.md E2). One unit is about 50 to 100 ns.
"""

from collections.abc import Callable, Iterable
from typing import Final

from engine.hl7.grammar import Every, Nth, Where
from engine.hl7.message import Message
from engine.hl7.path import Path

ROUND: Final = 20
"""Of going over one segment."""
STEP: Final = 40
"""Of one step in a round."""
PLACE: Final = 400
"""Of one place that a `*` stands for."""
HELD: Final = 50
"""Of holding one segment against a profile: less than it takes, so that a message may be larger there."""
UNBOUNDED: Final = 1 << 62
"""The allowance where a deadline stands in for it: in a process of its own."""
_BYTES_SHIFT: Final = 5
_REPETITION: Final = 6


def outside(paths: Iterable[Path]) -> Callable[[Message], int] | None:
    """The function that gives what one round pays for reading beyond its own segment; None where it reads nothing.

    The first segment of a name, or one by its number, costs its own text; one by its content, or all, the text of all.
    """
    ones: dict[tuple[str, int], bool] = {}
    all_of: dict[str, bool] = {}
    for path in paths:
        spec = path.spec
        if path.focus:
            continue
        has_filter = isinstance(spec.field_selector, (Nth, Where, Every))
        if isinstance(spec.segment_selector, (Where, Every)):
            all_of[spec.segment] = all_of.get(spec.segment, False) or has_filter
        else:
            number = spec.segment_selector.number if isinstance(spec.segment_selector, Nth) else 1
            ones[spec.segment, number] = ones.get((spec.segment, number), False) or has_filter
    if not ones and not all_of:
        return None

    def units(message: Message) -> int:
        total = 0
        for (name, number), has_filter in ones.items():
            found = message.indexes(name)
            if number <= len(found):
                total += _text(message, found[number - 1], has_filter)
        for name, has_filter in all_of.items():
            total += sum(_text(message, index, has_filter) for index in message.indexes(name))
        return total

    return units


def _text(message: Message, index: int, has_filter: bool) -> int:
    text = message.segment(index)
    units = len(text) >> _BYTES_SHIFT
    return units + _REPETITION * text.count(message.delimiters.repetition or "~") if has_filter else units
