"""`segmill spec`: the interface specification of a channel, for the people at its other ends."""

from pathlib import Path

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.completing import channel_names
from engine.cli.exits import CANNOT_WRITE, Failure
from engine.cli.output import count, emit, say
from engine.cli.sites import find_site, site_option


@subcommand("spec", "segmill spec adt --out adt.html", "segmill spec results --no-examples --out results.html")
@click.argument("channel", shell_complete=channel_names)
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the page into this file.")
@click.option("--force", is_flag=True, help="Overwrite the file that -o names.")
@click.option(
    "--examples/--no-examples", default=True, show_default=True, help="With the channel's cases as examples, or not."
)
@click.option(
    "--most", type=click.IntRange(1), default=20, show_default=True, help="So many cases at most, in order of name."
)
@site_option
@json_option("what is in it")
def command(
    channel: str, out: Path | None, force: bool, examples: bool, most: int, site: Path | None, as_json: bool
) -> int:
    """Write the interface specification of a channel as an HTML page.

    What it takes and from whom, what it asks of messages (its profile, checks and code tables), what it does to them
    step by step in words, what senders are answered, where messages go and what becomes of those that do not arrive;
    and the channel's cases as examples. One file without script, that loads nothing: to mail, print and keep. Nothing
    of stored messages is in it, but cases are shown as they are: see that no patient is in them. The same files make
    the same page, so that two can be compared.
    """
    from engine.cli.site_channels import loaded_channels
    from engine.cli.spec_content import content_of
    from engine.cli.spec_html import html_of

    if out is not None and out.exists() and not force:
        raise misuse(f"{out} is there already; --force overwrites it")
    folder = find_site(site)
    settings, channels = loaded_channels(folder, [channel])
    content = content_of(channels[0], settings, most if examples else 0)
    if as_json:
        emit(content.as_json())
        if out is None:
            return 0
    page = "\n".join(html_of(content)) + "\n"
    if out is None:
        click.echo(page, nl=False)
    else:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(page, encoding="utf-8")
        except OSError as exc:
            raise Failure(CANNOT_WRITE, f"{out} cannot be written: {exc.strerror}") from None
        say(f"wrote {out}")
    if content.examples:
        say(f"{count(len(content.examples), 'case')} in it as they are: see that no patient is in them (--no-examples)")
    return 0
