"""`segmill graph`: the ways of a site's messages as Mermaid, DOT or SVG."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.command import json_option, subcommand
from engine.cli.exits import CANNOT_WRITE, Failure
from engine.cli.output import emit, printable, say
from engine.cli.site_channels import loaded_channels, split_site
from engine.cli.sites import site_option

if TYPE_CHECKING:
    from engine.config.graph import Edge, Graph, Node

COLUMNS: Final = ("source", "channel", "destination")
WIDE, HIGH, GAP_X, GAP_Y, MARGIN = 250, 46, 130, 18, 20
MOST_LABEL: Final = 44


@subcommand("graph", "segmill graph", "segmill graph adt --format dot", "segmill graph --format svg -o site.svg")
@click.argument("words", nargs=-1, metavar="[SITE] [CHANNEL]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(("mermaid", "dot", "svg")),
    default="mermaid",
    show_default=True,
    help="Mermaid for wikis and pull requests, DOT for Graphviz, SVG for everything else.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")
@site_option
@json_option("nodes and edges")
def command(words: tuple[str, ...], form: str, output: Path | None, site: Path | None, as_json: bool) -> int:
    """Draw where messages come in, which channel takes them, and where they go.

    Dashed is what another destination takes over when the first one cannot have it. All channels of the site, or the
    named ones. Holds addresses and no secret.
    """
    from engine.config.graph import graph_of

    folder, names = split_site(words, site)
    _, channels = loaded_channels(folder, names)
    graph = graph_of(channels)
    if as_json:
        emit(_as_json(graph))
        return 0
    text = {"mermaid": _mermaid, "dot": _dot, "svg": _svg}[form](graph)
    if output is None:
        click.echo(text)
        return 0
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as exc:
        raise Failure(CANNOT_WRITE, f"{output} cannot be written: {exc.strerror}") from None
    say(f"wrote {output}")
    return 0


def _as_json(graph: "Graph") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(graph)


def _numbered(graph: "Graph") -> dict[str, str]:
    """An id for each node that every one of these languages takes."""
    return {node.id: f"n{number}" for number, node in enumerate(graph.nodes, 1)}


def _mermaid(graph: "Graph") -> str:
    ids = _numbered(graph)
    shapes = {"source": ("([", "])"), "channel": ("[", "]"), "destination": ("[/", "/]")}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        left, right = shapes[node.kind]
        about = f"<br/>{_entities(node.about)}" if node.about else ""
        lines.append(f'  {ids[node.id]}{left}"{_entities(node.name)}{about}"{right}')
    for edge in graph.edges:
        arrow = "-.->" if edge.is_fallback else "-->"
        label = f'|"{_entities(_cut(edge.label))}"|' if edge.label else ""
        lines.append(f"  {ids[edge.before]} {arrow}{label} {ids[edge.after]}")
    return "\n".join(lines)


def _entities(text: str) -> str:
    """Mermaid has no escapes: what it would read as its own is written as a number."""
    return "".join(f"#{ord(c)};" if c in '"#<>&|[]{}()`;\\' or not c.isprintable() else c for c in text)


def _dot(graph: "Graph") -> str:
    ids = _numbered(graph)
    shapes = {"source": "oval", "channel": "box", "destination": "parallelogram"}
    lines = ["digraph site {", "  rankdir=LR;", '  node [fontname="sans-serif"];', '  edge [fontname="sans-serif"];']
    for node in graph.nodes:
        label = _quoted("\n".join(filter(None, (node.name, node.about))))
        lines.append(f"  {ids[node.id]} [label={label}, shape={shapes[node.kind]}];")
    for edge in graph.edges:
        style = ', style="dashed"' if edge.is_fallback else ""
        lines.append(f"  {ids[edge.before]} -> {ids[edge.after]} [label={_quoted(_cut(edge.label))}{style}];")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    lines = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return '"' + "\\n".join(lines) + '"'


def _svg(graph: "Graph") -> str:
    """Three columns: sources, channels, destinations, each node beside those it belongs to."""
    placed = _placed(graph)
    wide = 2 * MARGIN + 3 * WIDE + 2 * GAP_X
    high = 2 * MARGIN + max((y + HIGH for _, y in placed.values()), default=HIGH)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        'font-family="sans-serif" font-size="13" role="img" aria-label="The ways of the site\'s messages">',
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        f'<rect width="{wide}" height="{high}" fill="#fff"/>',
    ]
    lines += [line for edge in graph.edges for line in _arrow(edge, placed)]
    lines += [line for node in graph.nodes for line in _box(node, placed[node.id])]
    return "\n".join([*lines, "</svg>"])


def _placed(graph: "Graph") -> dict[str, tuple[int, int]]:
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


def _box(node: "Node", corner: tuple[int, int]) -> Iterator[str]:
    x, y = corner
    fill = {"source": "#e8f0fa", "channel": "#fdf3dc", "destination": "#e6f4ea"}[node.kind]
    yield "<g>"
    yield f"<title>{_markup(f'{node.name} {node.about}'.strip())}</title>"
    yield f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="6" fill="{fill}" stroke="#888"/>'
    middle = y + (20 if node.about else 28)
    yield f'<text x="{x + 10}" y="{middle}" font-weight="bold">{_markup(_cut(node.name, 32))}</text>'
    if node.about:
        yield f'<text x="{x + 10}" y="{y + 37}" font-size="11" fill="#444">{_markup(_cut(node.about, 38))}</text>'
    yield "</g>"


def _arrow(edge: "Edge", placed: dict[str, tuple[int, int]]) -> Iterator[str]:
    (x1, y1), (x2, y2) = placed[edge.before], placed[edge.after]
    dashed = ' stroke-dasharray="5 4"' if edge.is_fallback else ""
    if x1 == x2:
        # Both are destinations: around the right side.
        right, start, end = x1 + WIDE, y1 + HIGH // 2, y2 + HIGH // 2
        path = f"M{right} {start}C{right + 18} {start} {right + 18} {end} {right} {end}"
    else:
        start, end, bend = y1 + HIGH // 2, y2 + HIGH // 2, (x1 + WIDE + x2) // 2
        path = f"M{x1 + WIDE} {start}C{bend} {start} {bend} {end} {x2} {end}"
    yield f'<path d="{path}" fill="none" stroke="#555"{dashed} marker-end="url(#a)">'
    yield f"<title>{_markup(edge.label or 'always')}</title></path>"
    if edge.label and x1 != x2:
        text = _markup(_cut(edge.label, 22))
        yield f'<text x="{x2 - 14}" y="{end - 6}" font-size="10" fill="#555" text-anchor="end">{text}</text>'


def _cut(text: str, most: int = MOST_LABEL) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _markup(text: str) -> str:
    """XML has no way to write a control character, not even as a number."""
    return escape(printable(text))
