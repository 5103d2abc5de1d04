"""The ways of a site's messages as SVG: every name in it is escaped, and nothing in it runs."""

from collections.abc import Iterator
from html import escape
from typing import Final

from engine.config.graph import Edge, Graph, Node

COLUMNS: Final = ("source", "channel", "destination")
WIDE, HIGH, GAP_X, GAP_Y, MARGIN = 250, 46, 130, 18, 20
MOST_LABEL: Final = 44


class _Look:
    """Colours, or the classes that stand for them."""

    def __init__(self, embedded: bool) -> None:
        self._embedded = embedded
        self.whole = 'class="graph"' if embedded else 'font-family="sans-serif" font-size="13"'
        self.head = 'class="head"' if embedded else 'fill="#555"'
        self.line = 'class="line"' if embedded else 'stroke="#555"'
        self.about = 'class="about"' if embedded else 'fill="#555"'

    def node(self, kind: str) -> str:
        if self._embedded:
            return f'class="node {kind}"'
        fill = {"source": "#e8f0fa", "channel": "#fdf3dc", "destination": "#e6f4ea"}[kind]
        return f'fill="{fill}" stroke="#888"'


def svg(graph: Graph, *, embedded: bool = False) -> str:
    """Three columns: sources, channels, destinations, each node beside those it belongs to.

    A picture of its own has its colours in it; `embedded` in a page, the page's style sheet says them by class.
    """
    look = _Look(embedded)
    placed = _placed(graph)
    wide = 2 * MARGIN + 3 * WIDE + 2 * GAP_X
    high = 2 * MARGIN + max((y + HIGH for _, y in placed.values()), default=HIGH)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        f'{look.whole} role="img" aria-label="The ways of the site\'s messages">',
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" {look.head}/></marker></defs>',
    ]
    if not embedded:
        lines.append(f'<rect width="{wide}" height="{high}" fill="#fff"/>')
    lines += [line for edge in graph.edges for line in _arrow(edge, placed, look)]
    lines += [line for node in graph.nodes for line in _box(node, placed[node.id], look)]
    return "\n".join([*lines, "</svg>"])


def _placed(graph: Graph) -> dict[str, tuple[int, int]]:
    """Left upper corners. A channel stands at its first destination, a source at its first channel."""
    step = HIGH + GAP_Y
    kinds = {node.id: node.kind for node in graph.nodes}
    after: dict[str, list[str]] = {node.id: [] for node in graph.nodes}
    for edge in graph.edges:
        if kinds[edge.before] != "destination":
            after[edge.before].append(edge.after)
    rows: dict[str, int] = {}
    free = dict.fromkeys(COLUMNS, 0)

    def put(node: str, least: int) -> int:
        if node in rows:
            return rows[node]
        kind = kinds[node]
        row = max(least, free[kind])
        below = [put(one, row) for one in dict.fromkeys(after[node])]
        row = max(row, min((one for one in below if one >= row), default=row))
        rows[node] = row
        free[kind] = row + 1
        return row

    for kind in COLUMNS:
        for node in graph.nodes:
            if node.kind == kind:
                put(node.id, 0)
    return {
        node: (MARGIN + COLUMNS.index(kinds[node]) * (WIDE + GAP_X), MARGIN + row * step) for node, row in rows.items()
    }


def _box(node: Node, corner: tuple[int, int], look: "_Look") -> Iterator[str]:
    x, y = corner
    yield "<g>"
    yield f"<title>{_markup(f'{node.name} {node.about}'.strip())}</title>"
    yield f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="6" {look.node(node.kind)}/>'
    middle = y + (20 if node.about else 28)
    yield f'<text x="{x + 10}" y="{middle}" font-weight="bold">{_markup(_cut(node.name, 32))}</text>'
    if node.about:
        yield f'<text x="{x + 10}" y="{y + 37}" font-size="11" {look.about}>{_markup(_cut(node.about, 38))}</text>'
    yield "</g>"


def _arrow(edge: Edge, placed: dict[str, tuple[int, int]], look: "_Look") -> Iterator[str]:
    (x1, y1), (x2, y2) = placed[edge.before], placed[edge.after]
    dashed = ' stroke-dasharray="5 4"' if edge.is_fallback else ""
    if x1 == x2:
        # Both are destinations: around the right side.
        right, start, end = x1 + WIDE, y1 + HIGH // 2, y2 + HIGH // 2
        path = f"M{right} {start}C{right + 18} {start} {right + 18} {end} {right} {end}"
    else:
        start, end, bend = y1 + HIGH // 2, y2 + HIGH // 2, (x1 + WIDE + x2) // 2
        path = f"M{x1 + WIDE} {start}C{bend} {start} {bend} {end} {x2} {end}"
    yield f'<path d="{path}" fill="none" {look.line}{dashed} marker-end="url(#a)">'
    yield f"<title>{_markup(edge.label or 'always')}</title></path>"
    if edge.label and x1 != x2:
        text = _markup(_cut(edge.label, 22))
        yield f'<text x="{x2 - 14}" y="{end - 6}" font-size="10" {look.about} text-anchor="end">{text}</text>'


def _cut(text: str, most: int = MOST_LABEL) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _markup(text: str) -> str:
    """XML has no way to write a control character, not even as a number; nor has a name any use for one."""
    return escape("".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text))
