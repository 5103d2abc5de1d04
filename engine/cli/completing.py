"""What a press of Tab offers beside commands and options: names from the site's folder, topics of the docs."""

import click

from engine.cli.sites import CHANNEL_FILE, CHANNELS, find_site


def channel_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The channels of the site that the command line is about; none where there is no site."""
    try:
        folder = find_site(ctx.params.get("site"))
    except click.UsageError:
        return []
    names = (path.parent.name for path in (folder / CHANNELS).glob(f"*/{CHANNEL_FILE}"))
    return sorted(name for name in names if name.startswith(incomplete))
