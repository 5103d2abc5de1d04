"""`segmill worklist query`: what a C-FIND would give, and why."""

from pathlib import Path

import click

from engine.cli.command import json_option, member, misuse
from engine.cli.output import columns, count, emit, say
from engine.cli.sites import data_option, site_option
from engine.cli.worklist import QUERY, SUBCOMMANDS
from engine.cli.worklisting import HEADERS, keys_of, name_option, opened, row, values_option
from engine.cli.worklisting import as_json as told_of

MOST: int = 1_000_000


@member(SUBCOMMANDS["query"], "query", *QUERY)
@click.argument("keys", nargs=-1, metavar="[KEYWORD=VALUE]...")
@click.option("--calling", default="", metavar="AE", help="As this scanner: own_items_only, accents.")
@name_option
@values_option
@site_option
@data_option
@json_option("what comes of the query")
def command(
    keys: tuple[str, ...],
    calling: str,
    name: str,
    show_values: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Show what a scanner would get for these keys, and which key takes what away.

    Keys are DICOM keywords: Modality=CT, ScheduledStationAETitle=CT1, PatientName=Muster*, and of the step
    ScheduledProcedureStepStartDate=20260102-20260105. Ends with 1 where nothing is found.
    """
    from dataclasses import replace

    from engine.cli.sites import find_site, read_site
    from engine.worklist.matching import BadKey, compile_query, find

    hides = folds = False
    if data is None:
        settings = read_site(find_site(site)).site
        dicom = settings.dicom if settings is not None else None
        modality = dicom.modalities.get(calling) if dicom is not None else None
        hides = modality is not None and modality.own_items_only
        folds = dicom is not None and dicom.folds_accents(calling)
    try:
        query = compile_query(keys_of(keys), folds_accents=folds)
    except BadKey as error:
        raise misuse(f"a scanner would be answered A900: {error.keyword} is no value of its kind") from None
    notes = "worklist query --show-values" if show_values else ""
    with opened(site, data, name, notes=notes) as view:
        candidates = [one.item for one in view.candidates(replace(query, requested={}), MOST)]
    found = find(query, candidates, hidden=(lambda item: calling not in item.stations) if hides else None)
    if as_json:
        told = {"answers": len(found.items), "without": dict(found.without), "not_matched": list(query.unmatched)}
        emit({**told, "steps": [told_of(item, show_values) for item in found.items]})
    else:
        if found.items:
            click.echo(columns(HEADERS, [row(item, show_values) for item in found.items]))
        say(count(len(found.items), "answer"))
        for keyword, number in found.without.items():
            if number > len(found.items):
                say(f"  {number} without {keyword}")
        for keyword in query.unmatched:
            say(f"  {keyword} is not matched here: it is returned, and restricts nothing")
        if hides:
            say(f"  {calling} sees its own steps only (own_items_only)")
    return 0 if found.items else 1
