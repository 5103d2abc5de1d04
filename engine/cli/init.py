"""`segmill init`: a site that is green on `check` and `test` at once, to change from there."""

import json
import shutil
from pathlib import Path
from typing import Final

import click

from engine.cli.command import json_option, subcommand
from engine.cli.exits import CANNOT_WRITE, Failure
from engine.cli.output import emit, say
from engine.cli.schema import FILE_NAMES, destinations_of, schemas, write_schemas
from engine.cli.shipped import EXAMPLES, shipped
from engine.cli.sites import CHANNELS, SITE_FILE

SCHEMA_FOLDER: Final = ".segmill"

SITE_YAML: Final = """\
# The site: what all channels share. Every setting with its meaning: segmill schema site
environment: {environment}
data: data                          # the control socket, and what a run leaves
store: sqlite:data/segmill.db       # every message; retention: {{bodies: 90d}} forgets old ones
admin: {{port: "${{SEGMILL_ADMIN_PORT:-{admin_port}}}"}}   # /metrics, /livez, /readyz; 0 takes a free port
"""

DICOM_YAML: Final = """\
dicom:                              # where scanners ask for the worklist; 0.0.0.0 once they are other machines
  host: ${SEGMILL_DICOM_HOST:-127.0.0.1}
  port: "${SEGMILL_DICOM_PORT:-11112}"
  ae_title: SEGMILL
"""
"""Of a site with a channel that feeds the worklist."""
FEEDS_WORKLIST: Final = "scanners"

GITIGNORE: Final = """\
# What a running engine leaves here: patient data, none of it for a repository.
/data/
/out/
"""

GITATTRIBUTES: Final = """\
# Line ends are a part of a message: leave them alone.
*.hl7 -text
"""


@subcommand("init", "segmill init my-site", "segmill init results-site --example oru")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--example",
    type=click.Choice(sorted(EXAMPLES)),
    default="adt",
    show_default=True,
    help="The channel to begin with: admissions, orders, results, or orders for the worklist of scanners.",
)
@json_option("the files that were made")
def command(folder: Path, example: str, as_json: bool) -> int:
    """Start a site: a channel with its table and cases.

    Makes DIR with segmill.yaml, one channel with its code tables and cases, the schemas that let an editor complete
    and check, and a .gitignore. `segmill check` and `segmill test` pass at once.
    """
    channel = EXAMPLES[example]
    made = make_site(folder, [channel], environment="test", admin_port=9464)
    if as_json:
        emit({"site": str(folder), "channel": channel, "files": [str(path) for path in made]})
        return 0
    case = next(path for path in made if path.name == "in.hl7")
    say(f"Made {len(made)} files in {folder}: one channel, {channel}. Next:")
    click.echo(f"  cd {folder}")
    click.echo("  segmill check                  every mistake in its files")
    click.echo("  segmill test                   its cases: message in; answer, outputs and findings out")
    click.echo(f"  segmill try {channel} {case.relative_to(folder)}")
    click.echo("  segmill run                    the engine")
    return 0


def make_site(folder: Path, channels: list[str], *, environment: str, admin_port: int) -> list[Path]:
    """A site in `folder` with some of the shipped channels; returns its files.

    Raises Failure 73 where a file of another site stands in the way; nothing is overwritten.
    """
    planned = [folder / SITE_FILE, *(folder / CHANNELS / name for name in channels)]
    if there := next((path for path in planned if path.exists()), None):
        raise Failure(CANNOT_WRITE, f"{there} is there already", "Choose a folder that is no site yet.")
    ready = schemas()
    (folder / CHANNELS).mkdir(parents=True, exist_ok=True)
    before = set(folder.rglob("*"))
    settings = SITE_YAML.format(environment=environment, admin_port=admin_port)
    if FEEDS_WORKLIST in channels:
        settings += DICOM_YAML
    (folder / SITE_FILE).write_text(settings, encoding="utf-8")
    for name in channels:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(shipped("channels") / name, folder / CHANNELS / name, ignore=ignored)
    write_schemas({**ready, "channel": schemas(destinations_of(folder))["channel"]}, folder / SCHEMA_FOLDER)
    _write_new(folder / ".gitignore", GITIGNORE)
    _write_new(folder / ".gitattributes", GITATTRIBUTES)
    _write_new(folder / ".vscode" / "settings.json", _editor_settings())
    _write_new(folder / ".vscode" / "extensions.json", _as_json({"recommendations": ["redhat.vscode-yaml"]}))
    return sorted(path for path in set(folder.rglob("*")) - before if path.is_file())


def _write_new(path: Path, text: str) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _editor_settings() -> str:
    schemas = {
        f"./{SCHEMA_FOLDER}/{FILE_NAMES['channel']}": f"{CHANNELS}/*/channel.yaml",
        f"./{SCHEMA_FOLDER}/{FILE_NAMES['site']}": SITE_FILE,
    }
    # HL7 files end their segments with CR, which an editor would otherwise turn into LF on saving.
    return _as_json({"yaml.schemas": schemas, "files.associations": {"*.hl7": "plaintext"}, "files.eol": "auto"})


def _as_json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
