"""The map as SVG: three columns, and a line a way. Every name is escaped; colours are the style sheet's.

What is wrong shows by more than its colour: the line is dashed, and says in words what it is.
"""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

from engine.adapters.console.shown import number
from engine.adapters.console.site_map import Edge, Node, SiteMap, a_minute

WIDE, HIGH, GAP, ROW, MARGIN = 230, 44, 250, 58, 8
COLUMNS: Final = tuple(MARGIN + at * (WIDE + GAP) for at in range(3))
TOTAL: Final = COLUMNS[2] + WIDE + MARGIN
MOST_NAME, MOST_ABOUT, MOST_WORDS = 26, 34, 30


def draw(shown: SiteMap) -> Markup:
    """The whole of it; as high as it takes."""
    rows = max(len(shown.senders), len(shown.channels), len(shown.receivers), 1)
    middle = _even(shown.channels, rows)
    left = _beside(shown.senders, [(edge.before, middle[edge.after]) for edge in shown.ins], rows)
    right = _beside(shown.receivers, [(edge.after, middle[edge.before]) for edge in shown.outs], rows)
    ports = _Ports()
    lines = [_line(edge, left[edge.before], middle[edge.after], 0, ports) for edge in shown.ins]
    lines += [_line(edge, middle[edge.before], right[edge.after], 1, ports) for edge in shown.outs]
    boxes = [
        _box(node, COLUMNS[column], tops[node.id])
        for column, (nodes, tops) in enumerate(
            ((shown.senders, left), (shown.channels, middle), (shown.receivers, right))
        )
        for node in nodes
    ]
    high = 2 * MARGIN + rows * ROW
    return Markup('<svg class="map" viewBox="0 0 {w} {h}" width="{w}" height="{h}">{inside}</svg>').format(
        w=TOTAL, h=high, inside=Markup("").join([*lines, *boxes])
    )


class _Ports:
    """Lines of one node leave it one below the other."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, int], int] = {}

    def y(self, node: str, side: int, top: float) -> float:
        at = self._used.get((node, side), 0)
        self._used[node, side] = at + 1
        return top + HIGH / 2 + ((at + 1) // 2) * (6 if at % 2 else -6) if at < 7 else top + HIGH / 2


def _even(nodes: Sequence[Node], rows: int) -> dict[str, float]:
    step = rows / max(1, len(nodes))
    return {node.id: MARGIN + (at + 0.5) * step * ROW - HIGH / 2 for at, node in enumerate(nodes)}


def _beside(nodes: Sequence[Node], ties: Sequence[tuple[str, float]], rows: int) -> dict[str, float]:
    """As near as may be to what each is tied to, in that order and without one over the other."""
    wished: dict[str, list[float]] = {node.id: [] for node in nodes}
    for id_, top in ties:
        wished[id_].append(top)
    centre = {id_: sum(tops) / len(tops) if tops else float(MARGIN) for id_, tops in wished.items()}
    ordered = sorted(centre, key=lambda id_: centre[id_])
    tops: dict[str, float] = {}
    free = float(MARGIN + (ROW - HIGH) / 2)
    last = MARGIN + (rows - 0.5) * ROW - HIGH / 2
    for at, id_ in enumerate(ordered):
        latest = last - (len(ordered) - 1 - at) * ROW  # so that those behind it still have room
        tops[id_] = min(max(centre[id_], free), max(latest, free))
        free = tops[id_] + ROW
    return tops


def _box(node: Node, x: float, y: float) -> Markup:
    title = f"{node.name} {node.about}".strip()
    box = Markup(
        '<g class="node {look}"><title>{title}</title><rect x="{x:.0f}" y="{y:.1f}" width="{w}" height="{h}" rx="6"/>'
        '<text x="{tx:.0f}" y="{y1:.1f}" class="name">{name}</text>'
        '<text x="{tx:.0f}" y="{y2:.1f}" class="about">{about}</text></g>'
    ).format(
        look=node.look,
        title=title,
        x=x,
        y=y,
        w=WIDE,
        h=HIGH,
        tx=x + 10,
        y1=y + (18 if node.about else 27),
        y2=y + 35,
        name=_cut(node.name, MOST_NAME),
        about=_cut(node.about, MOST_ABOUT),
    )
    return Markup('<a href="{}">{}</a>').format(node.to, box) if node.to else box


def _line(edge: Edge, top: float, end_top: float, side: int, ports: _Ports) -> Markup:
    x1, x2 = COLUMNS[side] + WIDE, COLUMNS[side + 1]
    y1, y2 = ports.y(edge.before, 1, top), ports.y(edge.after, 0, end_top)
    bend = (x1 + x2) / 2
    path = f"M{x1:.0f} {y1:.1f}C{bend:.0f} {y1:.1f} {bend:.0f} {y2:.1f} {x2:.0f} {y2:.1f}"
    # Near the end that is its own: the channel's side has many, this one has few.
    below = 12 if y2 > y1 + 1 else -4  # where the line does not come from
    tx, ty = (x2 - 6, y2 + below) if side else (x1 + 6, y1 - 4)
    anchor = "end" if side else "start"
    text = Markup('<text x="{x:.0f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>').format(
        x=tx, y=ty, anchor=anchor, words=_words(edge)
    )
    return Markup(
        '<a href="{to}" class="way {look}" aria-label="{label}"><title>{label}</title><path class="touch" d="{path}"/>'
        '<path class="line" d="{path}"/>{text}</a>'
    ).format(to=edge.to, look=edge.look, label=described(edge), path=path, text=text)


def _words(edge: Edge) -> Markup:
    mark = "⚠ " if edge.look in ("bad", "warn") else ""
    said = [edge.label] if edge.label else []
    if edge.queued:
        said.append(f"{number(edge.queued)} queued")
    elif edge.rate is not None and edge.look == "ok":
        said.append(a_minute(edge.rate))
    if edge.look in ("bad", "warn"):
        said.append(edge.words)
    return escape(mark + _cut(", ".join(said), MOST_WORDS + (10 if edge.look == "bad" else 0)))


def described(edge: Edge) -> str:
    """In words, for who cannot see it."""
    before, after = (name.split(" ", 1)[1] for name in (edge.before, edge.after))
    rate = f", {a_minute(edge.rate)}" if edge.rate is not None else ""
    waits = f", {number(edge.queued)} queued" if edge.queued else ""
    label = f" ({edge.label})" if edge.label else ""
    return f"{before} to {after}{label}: {edge.words}{rate}{waits}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
