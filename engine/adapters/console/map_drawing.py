"""The map as SVG: three columns, and a line a way. Every name is escaped; colours are the style sheet's.

What is wrong shows by more than its colour: the line is dashed, and says in words what it is. Words stand at the end
where a line's own node is, the sender's or the receiver's. That end gives each of its lines a slot of its own, so a
node with many is as high as its words take, and no words stand on others. A line leaves its slot at the edge where it
comes from, with its words on the other side of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from engine.adapters.console.map_text import cut, lines_of, width_of
from engine.adapters.console.shown import number
from engine.adapters.console.site_map import Edge, Node, SiteMap, a_minute

WIDE, HIGH, GAP, MARGIN = 230, 44, 250, 8
BETWEEN: Final = 14
"""From one node to the next."""
LINE: Final = 16
"""Of a name that takes several."""
SLOT: Final = 17
"""What a line with its words takes."""
PORT: Final = 6
"""From one line to the next where they have no words."""
LEAST_LABEL: Final = 8.0
"""So much of a way's name is there in any case."""
AGAIN: Final = 420
"""A node that is higher says its name again, so that it is seen wherever one looks."""
COLUMNS: Final = tuple(MARGIN + at * (WIDE + GAP) for at in range(3))
TOTAL: Final = COLUMNS[2] + WIDE + MARGIN
INSIDE: Final = WIDE - 20
NAME, ABOUT, WORDS, STRONG = 8.5, 6.6, 6.6, 6.9
"""How wide a letter is, on the whole, in a wide font (DejaVu): of names, what is below them, words, and bold ones."""


@dataclass(slots=True)
class _Place:
    """Where a node is: from `top`, so `high`."""

    node: Node
    high: float
    top: float = 0.0

    @property
    def centre(self) -> float:
        return self.top + self.high / 2


_Places = Mapping[str, _Place]


def draw(shown: SiteMap) -> Markup:
    """The whole of it; as high as it takes."""
    left = _places(shown.senders, (edge.before for edge in shown.ins), SLOT)
    right = _places(shown.receivers, (edge.after for edge in shown.outs), SLOT)
    middle = _places(shown.channels, (edge.after for edge in shown.ins), PORT)
    for id_, place in _places(shown.channels, (edge.before for edge in shown.outs), PORT).items():
        middle[id_].high = max(middle[id_].high, place.high)
    high = max(_high(column) for column in (left, middle, right))
    _spread(middle, high)
    _beside(left, [(edge.before, middle[edge.after].centre) for edge in shown.ins], high)
    _beside(right, [(edge.after, middle[edge.before].centre) for edge in shown.outs], high)
    lines = [*_ways(shown.ins, left, middle, is_in=True), *_ways(shown.outs, right, middle, is_in=False)]
    drawn = [
        *(_line(way) for way in lines),  # below all words: no line goes through those of another
        *(_way(way) for way in lines),
        *(_box(place, COLUMNS[at]) for at, column in enumerate((left, middle, right)) for place in column.values()),
    ]
    return Markup('<svg class="map" viewBox="0 0 {w} {h:.0f}" width="{w}" height="{h:.0f}">{inside}</svg>').format(
        w=TOTAL, h=high, inside=Markup("").join(drawn)
    )


@dataclass(slots=True, frozen=True)
class _Way:
    """`y`: where it ends at the side's node; `port`: at the channel."""

    edge: Edge
    y: float
    words_y: float
    port: float
    is_in: bool

    @property
    def path(self) -> str:
        x1, x2 = (COLUMNS[0] + WIDE, COLUMNS[1]) if self.is_in else (COLUMNS[1] + WIDE, COLUMNS[2])
        y1, y2 = (self.y, self.port) if self.is_in else (self.port, self.y)
        bend = (x1 + x2) / 2
        return f"M{x1:.0f} {y1:.1f}C{bend:.0f} {y1:.1f} {bend:.0f} {y2:.1f} {x2:.0f} {y2:.1f}"


# -- where nodes are ------------------------------------------------------------------------------------------


def _places(nodes: Sequence[Node], ends: Iterable[str], each: int) -> dict[str, _Place]:
    """As high as its name takes, and `each` of what ends at it."""
    ways = {node.id: 0 for node in nodes}
    for id_ in ends:
        ways[id_] += 1
    places = {}
    for node in nodes:
        text = HIGH + LINE * (len(lines_of(node.name, INSIDE / NAME)) - 1)
        places[node.id] = _Place(node, max(text, ways[node.id] * each + 10))
    return places


def _high(column: _Places) -> float:
    return 2 * MARGIN + sum(place.high + BETWEEN for place in column.values()) + (0 if column else HIGH)


def _spread(column: _Places, high: float) -> None:
    """One below the other, with the room between them that there is."""
    room = (high - _high(column)) / max(1, len(column)) + BETWEEN
    at = MARGIN + room / 2
    for place in column.values():
        place.top = at
        at += place.high + room


def _beside(column: _Places, ties: Sequence[tuple[str, float]], high: float) -> None:
    """As near as may be to what each is tied to, in that order and without one over the other."""
    wished: dict[str, list[float]] = {id_: [] for id_ in column}
    for id_, centre in ties:
        wished[id_].append(centre)
    centres = {id_: sum(all_) / len(all_) if all_ else float(MARGIN) for id_, all_ in wished.items()}
    ordered = [column[id_] for id_ in sorted(centres, key=lambda id_: centres[id_])]
    behind = sum(place.high + BETWEEN for place in ordered)
    free = MARGIN + BETWEEN / 2
    for place in ordered:
        latest = high - MARGIN + BETWEEN / 2 - behind  # so that those behind it still have room
        place.top = min(max(centres[place.node.id] - place.high / 2, free), max(latest, free))
        free = place.top + place.high + BETWEEN
        behind -= place.high + BETWEEN


# -- lines ----------------------------------------------------------------------------------------------------


def _ways(edges: Sequence[Edge], own: _Places, middle: _Places, *, is_in: bool) -> list[_Way]:
    """Lines between a side's nodes and channels; of one node in the order of where they go: none cross at it."""
    ends = [(edge.before, edge.after) if is_in else (edge.after, edge.before) for edge in edges]
    slots: dict[int, tuple[float, float]] = {}
    ports: dict[int, float] = {}
    for id_, ats in _by_node(end[0] for end in ends).items():
        ats.sort(key=lambda at: middle[ends[at][1]].centre)
        slots |= zip(ats, _slots(own[id_].centre, [middle[ends[at][1]].centre for at in ats]), strict=True)
    for id_, ats in _by_node(end[1] for end in ends).items():
        ats.sort(key=lambda at: own[ends[at][0]].centre)
        first = middle[id_].centre - (len(ats) - 1) * PORT / 2
        ports |= {at: first + row * PORT for row, at in enumerate(ats)}
    return [_Way(edge, *slots[at], ports[at], is_in) for at, edge in enumerate(edges)]


def _by_node(ends: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for at, id_ in enumerate(ends):
        found.setdefault(id_, []).append(at)
    return found


def _slots(centre: float, others: Sequence[float]) -> list[tuple[float, float]]:
    """Of each line where it ends, and where its words stand; `others`: where it comes from, the highest first."""
    if len(others) == 1:
        return [(centre, centre + 13 if others[0] < centre - 1 else centre - 5)]
    first = centre - len(others) * SLOT / 2
    tops = [first + row * SLOT for row in range(len(others))]
    return [
        (top + 2, top + 14) if other < top else (top + SLOT - 2, top + SLOT - 6)
        for top, other in zip(tops, others, strict=True)
    ]


def _line(way: _Way) -> Markup:
    """As it is seen."""
    return Markup('<path class="line {look}" d="{path}"/>').format(look=way.edge.look, path=way.path)


def _way(way: _Way) -> Markup:
    """Its words, and where it is touched; and the line once more, for whoever points at it."""
    edge = way.edge
    x, anchor = (COLUMNS[0] + WIDE + 6, "start") if way.is_in else (COLUMNS[2] - 6, "end")
    return Markup(
        '<a href="{to}" class="way {look}" aria-label="{label}"><title>{label}</title><path class="touch" d="{path}"/>'
        '<path class="pointed" d="{path}"/><text x="{x:.0f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text></a>'
    ).format(
        to=edge.to,
        look=edge.look,
        label=described(edge),
        path=way.path,
        x=x,
        y=way.words_y,
        anchor=anchor,
        words=_words(edge),
    )


def _words(edge: Edge) -> Markup:
    """What is wrong is said whole; how much waits, and the name of the way, have the room that is left."""
    is_wrong = edge.look in ("bad", "warn")
    mark = "⚠ " if is_wrong else ""
    most = (GAP - 24) / (STRONG if is_wrong else WORDS) - width_of(mark)
    waits = [f"{number(edge.queued)} queued"] if edge.queued else []
    if not waits and not is_wrong and edge.rate is not None:
        waits = [a_minute(edge.rate)]
    how = [edge.words] if is_wrong else []
    if is_wrong and width_of(", ".join([*waits, *how])) + min(width_of(edge.label) + 2, LEAST_LABEL) > most:
        waits = []
    rest = ", ".join([*waits, *how])
    label = cut(edge.label, max(LEAST_LABEL, most - width_of(rest) - 2))
    return escape(mark + cut(", ".join(filter(None, (label, rest))), most))


def described(edge: Edge) -> str:
    """In words, for who cannot see it."""
    before, after = (name.split(" ", 1)[1] for name in (edge.before, edge.after))
    rate = f", {a_minute(edge.rate)}" if edge.rate is not None else ""
    waits = f", {number(edge.queued)} queued" if edge.queued else ""
    label = f" ({edge.label})" if edge.label else ""
    return f"{before} to {after}{label}: {edge.words}{rate}{waits}"


# -- nodes ----------------------------------------------------------------------------------------------------


def _box(place: _Place, x: float) -> Markup:
    node = place.node
    texts = [("name", line) for line in lines_of(node.name, INSIDE / NAME)]
    if node.about:
        texts.append(("about", cut(node.about, INSIDE / ABOUT)))
    times = max(1, int(place.high // AGAIN))
    inside = Markup("").join(
        Markup('<text x="{x:.0f}" y="{y:.1f}" class="{kind}">{text}</text>').format(
            x=x + 10,
            y=place.top + place.high * (2 * time + 1) / (2 * times) + LINE * (row - len(texts) / 2) + 12,
            kind=kind,
            text=text,
        )
        for time in range(times)
        for row, (kind, text) in enumerate(texts)
    )
    box = Markup(
        '<g class="node {look}"><title>{title}</title>'
        '<rect x="{x:.0f}" y="{y:.1f}" width="{w}" height="{h:.1f}" rx="6"/>{inside}</g>'
    ).format(
        look=node.look,
        title=f"{node.name} {node.about}".strip(),
        x=x,
        y=place.top,
        w=WIDE,
        h=place.high,
        inside=inside,
    )
    return Markup('<a href="{}">{}</a>').format(node.to, box) if node.to else box
