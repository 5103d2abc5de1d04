"""Which segment of one message is which of another: what `compare` needs before it can look at fields.

The pairing is the one with the least to tell. Two segments of one name differ by as many fields as differ;
a segment that came or went costs all of its fields and one more, so a segment that was edited is never told
as one gone and another come, even where its new text is the old one of its neighbour.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

MOST_CELLS: Final = 250_000
"""Past so many pairs to weigh (two runs of 500 segments that all differ) a rougher pairing must do."""


@dataclass(slots=True, frozen=True)
class Segment:
    """A segment with the name a path would call it by, such as `OBX[3]`."""

    label: str
    text: str
    fields: list[str]


Pair = tuple[Segment | None, Segment | None]
"""The same segment before and after; None where it came or went."""


def pair_segments(old: list[Segment], new: list[Segment]) -> list[Pair]:
    """Every segment of both, each once, in the order of the messages; what went stands before what came."""
    head = 0
    while head < min(len(old), len(new)) and old[head].text == new[head].text:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail].text == new[-1 - tail].text:
        tail += 1
    old_end, new_end = len(old) - tail, len(new) - tail
    left, right = old[head:old_end], new[head:new_end]
    pair = _cheapest if len(left) * len(right) <= MOST_CELLS else _rough
    return [
        *zip(old[:head], new[:head], strict=True),
        *pair(left, right),
        *zip(old[old_end:], new[new_end:], strict=True),
    ]


def _cheapest(old: list[Segment], new: list[Segment]) -> list[Pair]:
    """The least costly alignment, by dynamic programming from the end."""
    went, came = [_weight(segment) for segment in old], [_weight(segment) for segment in new]
    # costs[i][j]: of pairing old[i:] with new[j:].
    costs = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for j in range(len(new) - 1, -1, -1):
        costs[-1][j] = costs[-1][j + 1] + came[j]
    for i in range(len(old) - 1, -1, -1):
        row, below = costs[i], costs[i + 1]
        row[-1] = below[-1] + went[i]
        for j in range(len(new) - 1, -1, -1):
            row[j] = min(below[j] + went[i], row[j + 1] + came[j])
            if old[i].fields[0] == new[j].fields[0]:
                row[j] = min(row[j], below[j + 1] + _distance(old[i], new[j]))
    return _walk(old, new, costs, went)


def _walk(old: list[Segment], new: list[Segment], costs: list[list[int]], went: list[int]) -> list[Pair]:
    """The pairs on the cheapest way; of ways that cost the same, the one that pairs first."""
    pairs: list[Pair] = []
    i = j = 0
    while i < len(old) and j < len(new):
        is_same = old[i].fields[0] == new[j].fields[0]
        if is_same and costs[i][j] == costs[i + 1][j + 1] + _distance(old[i], new[j]):
            pairs.append((old[i], new[j]))
            i, j = i + 1, j + 1
        elif costs[i][j] == costs[i + 1][j] + went[i]:
            pairs.append((old[i], None))
            i += 1
        else:
            pairs.append((None, new[j]))
            j += 1
    return [*pairs, *((gone, None) for gone in old[i:]), *((None, come) for come in new[j:])]


def _rough(old: list[Segment], new: list[Segment]) -> list[Pair]:
    """In place where both have the same segments; else by equal text first, and by name between."""
    names = [segment.fields[0] for segment in old], [segment.fields[0] for segment in new]
    if names[0] == names[1]:
        return list(zip(old, new, strict=True))
    pairs: list[Pair] = []
    by_text = SequenceMatcher(None, [s.text for s in old], [s.text for s in new], autojunk=False)
    for tag, i, i_end, j, j_end in by_text.get_opcodes():
        if tag == "equal":
            pairs.extend(zip(old[i:i_end], new[j:j_end], strict=True))
            continue
        by_name = SequenceMatcher(None, names[0][i:i_end], names[1][j:j_end], autojunk=False)
        for inner, a, a_end, b, b_end in by_name.get_opcodes():
            if inner == "equal":
                pairs.extend(zip(old[i + a : i + a_end], new[j + b : j + b_end], strict=True))
            else:
                pairs.extend((gone, None) for gone in old[i + a : i + a_end])
                pairs.extend((None, come) for come in new[j + b : j + b_end])
    return pairs


def _weight(segment: Segment) -> int:
    """What it costs that a segment came or went."""
    return 1 + sum(map(bool, segment.fields))


def _distance(old: Segment, new: Segment) -> int:
    """How many fields differ; 1 where only delimiters at the end do."""
    if old.text == new.text:
        return 0
    common = min(len(old.fields), len(new.fields))
    rest = sum(map(bool, old.fields[common:])) + sum(map(bool, new.fields[common:]))
    return max(1, sum(map(str.__ne__, old.fields, new.fields)) + rest)
