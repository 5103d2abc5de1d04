"""`segmill check`: every mistake in a site's files at once, before anything runs."""

from pathlib import Path

import click

from engine.cli.command import json_option, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.output import count, emit, say
from engine.cli.sites import find_site, read_site, site_argument


@subcommand("check", "segmill check", "segmill check my-site --env", "segmill check --format github")
@site_argument
@click.option("--env", "environment", is_flag=True, help="Also try the ports, hosts and folders that the files name.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="json is one object a finding; github annotates a pull request.",
)
@json_option("one object a finding (as --format json)")
def command(site: Path | None, environment: bool, style: str, as_json: bool) -> int:
    """Find every mistake in a site's files.

    Names file, line and column, what is wrong and what to do, for all files at once; a channel that passes can
    run. Warnings alone end with 0.
    """
    from engine.cli.case_findings import case_findings
    from engine.cli.findings import as_text
    from engine.config.render import as_github
    from engine.config.render import as_json as finding_as_json

    folder = find_site(site)
    loaded = read_site(folder)
    findings = [*loaded.findings, *case_findings(loaded)]
    if environment:
        from engine.cli.environment import environment_findings

        findings += environment_findings(loaded, folder)
    findings.sort(key=lambda finding: finding.sort_key)
    errors = sum(finding.is_error for finding in findings)
    if as_json or style == "json":
        for finding in findings:
            emit(finding_as_json(finding))
    elif style == "github":
        for finding in findings:
            click.echo(as_github(finding))
    elif findings:
        click.echo(as_text(findings, folder))
    channels = count(len(loaded.channels), "channel")
    if errors:
        warnings = len(findings) - errors
        say(f"{count(errors, 'error')}" + (f", {count(warnings, 'warning')}" if warnings else "") + f" in {folder}")
    elif findings:
        say(f"{channels} can run; {count(len(findings), 'warning')}")
    else:
        say(f"{channels} can run: {', '.join(sorted(channel.name for channel in loaded.channels))}")
    return FINDINGS if errors else 0
