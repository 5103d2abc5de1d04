"""`segmill run`: the engine."""

import json
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import click

from engine.cli.command import subcommand
from engine.cli.output import SCHEMA
from engine.cli.sites import find_site, require_site, site_argument


@subcommand("run", "segmill run my-site")
@site_argument
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the store and the control socket in this folder instead.",
)
@click.option("--watch", is_flag=True, help="Reload after each change of the site's files, for whoever writes them.")
@click.option("--json", "as_json", is_flag=True, help="Log lines as JSON, on standard error as always.")
def command(site: Path | None, data: Path | None, watch: bool, as_json: bool) -> int:
    """Run the engine.

    Checks the site, opens its ports and runs until SIGTERM or Ctrl-C; then answers and stores what is in hand, and
    ends with 0; a second signal ends it at once. SIGHUP reloads the files, as `segmill reload` does. Logs start, stop
    and what changes to standard error, nothing for a message that goes well.
    """
    folder = find_site(site)
    require_site(folder)
    leave_no_core()
    from engine.app import run_site
    from engine.cli.support_bundle import SiteSupport

    if as_json:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    support = SiteSupport(folder, data)
    return _run_loop()(run_site(folder, data=data, watch=watch, support=support))


def leave_no_core() -> None:
    """A core would hold messages (SEC1). The hard limit stays, so that an engineer may ask for one: prlimit --core."""
    if find_spec("resource") is None:  # Windows, which makes none
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _run_loop() -> Callable[[Coroutine[Any, Any, int]], int]:
    """uvloop's where the `fast` extra is installed (idle TLS connections take a third less there), else asyncio's."""
    name = "uvloop" if find_spec("uvloop") is not None else "asyncio"
    return cast(Callable[[Coroutine[Any, Any, int]], int], import_module(name).run)


class JsonLines(logging.Formatter):
    """A log record as one JSON object on a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "schema": SCHEMA,
            "at": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
