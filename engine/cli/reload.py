"""`segmill reload`: the running engine takes up what the files say."""

from pathlib import Path

from engine.cli.command import json_option, subcommand
from engine.cli.sites import data_option, find_site, site_argument, whereabouts


@subcommand("reload", "segmill reload")
@site_argument
@data_option
@json_option("what was taken up")
def command(site: Path | None, data: Path | None, as_json: bool) -> int:
    """Have the running engine take up the site's files.

    Waits until that is done. All files are read and checked first: with one error in them, or a port that cannot be
    opened, everything runs on as before. What did not change keeps its connections and queues; `segmill plan` shows
    what would. Exits with 1 when something needs a restart, 69 without an engine or when a port failed, 75 while
    another reload is under way, 78 for errors in the files.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.reloads import tell

    place = whereabouts(site, data, needs_store=False)
    report = RunningEngine(place.data).reload()
    folder = find_site(site) if data is None or site is not None else None
    return tell(report, site=folder, as_json=as_json)
