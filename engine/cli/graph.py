"""`segmill graph`: the ways of a site's messages as Mermaid, DOT or SVG."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.command import json_option, subcommand
from engine.cli.exits import CANNOT_WRITE, Failure
from engine.cli.output import emit, printable, say
from engine.cli.site_channels import loaded_channels, split_site
from engine.cli.sites import site_option

if TYPE_CHECKING:
    from engine.config.graph import Graph

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
    from engine.config.graph_svg import svg

    folder, names = split_site(words, site)
    _, channels = loaded_channels(folder, names)
    graph = graph_of(channels)
    if as_json:
        emit(_as_json(graph))
        return 0
    text = {"mermaid": _mermaid, "dot": _dot, "svg": svg}[form](graph)
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


def _cut(text: str, most: int = MOST_LABEL) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
