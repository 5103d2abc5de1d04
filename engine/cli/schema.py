"""`segmill schema`: what editors check and complete channel files with, and what a message is in JSON."""

import json
from pathlib import Path
from typing import Any, Final

import click

from engine.cli.command import subcommand
from engine.cli.output import say

FILE_NAMES: Final = {
    "channel": "channel.schema.json",
    "site": "site.schema.json",
    "profile": "profile.schema.json",
}


@subcommand("schema", "segmill schema channel", "segmill schema --write .segmill")
@click.argument("what", type=click.Choice(["channel", "site", "profile", "message"]), default="channel")
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write all schemas into this folder instead.",
)
@click.option("--json", is_flag=True, expose_value=False, help="A schema is JSON already; this changes nothing.")
def command(what: str, folder: Path | None) -> int:
    """Print the JSON Schema that editors check channel files with.

    It is made from the same models that `segmill check` reads files into, so both say the same. An editor uses it
    through a first line such as: # yaml-language-server: $schema=../../.segmill/channel.schema.json
    Written into a site it suggests the names of the site's destinations, too: write it anew when they change.
    `message` is that of a message in JSON, as `segmill convert` and `format: json` write it.
    """
    if folder is None:
        click.echo(as_text(message_schema() if what == "message" else schemas()[what]))
        return 0
    for path in write_schemas(schemas(_around(folder)), folder):
        say(f"wrote {path}")
    return 0


def _around(folder: Path) -> tuple[str, ...]:
    """The destinations of the site that the folder is in, if it is in one."""
    from engine.cli.site_channels import find_or_none

    site = find_or_none(folder if folder.exists() else folder.parent)
    return destinations_of(site) if site is not None else ()


def destinations_of(site: Path) -> tuple[str, ...]:
    """The names of a site's destinations, of channels that can be read: an editor suggests them for routes."""
    from engine.cli.sites import read_site

    return tuple(sorted({str(name) for channel in read_site(site).channels for name in channel.file.destinations}))


def schemas(destinations: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """The schemas of channel.yaml, of segmill.yaml and of profiles, draft-07. `destinations`: names to suggest."""
    from engine.config.schema import channel_schema, profile_schema, site_schema
    from engine.pipeline.registry import load_kinds

    return {"channel": channel_schema(load_kinds(), destinations), "site": site_schema(), "profile": profile_schema()}


def message_schema() -> dict[str, Any]:
    """The schema of a message in JSON, 2020-12."""
    from engine.hl7.convert.json_form import SCHEMA

    return dict(SCHEMA)


def write_schemas(ready: dict[str, dict[str, Any]], folder: Path) -> list[Path]:
    """The schemas as files in `folder`; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in ready.items():
        path = folder / FILE_NAMES[name]
        path.write_text(as_text(schema) + "\n", encoding="utf-8")
        written.append(path)
    return written


def as_text(schema: dict[str, Any]) -> str:
    """A schema as people can read it, the same bytes every time."""
    return json.dumps(schema, indent=2, ensure_ascii=False)
