"""`segmill profile import`: a conformance profile in XML as a profile file."""

from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.exits import FINDINGS, Failure
from engine.cli.output import count, emit, printable, say
from engine.cli.profile import IMPORT, SUBCOMMANDS
from engine.cli.profile_files import force_option, out_option, write


@member(SUBCOMMANDS["import"], "import", *IMPORT)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@out_option
@force_option
@json_option("the text of the file and what a person must see to")
def command(file: Path, out: Path | None, force: bool, as_json: bool) -> int:
    """Turn a conformance profile in XML into a profile file.

    FILE is in the message-profile format of HL7 v2 (root HL7v2xConformanceProfile), as HAPI and hl7apy read it. What
    it says as the standard does is left out. Conditions in words that cannot be tested, and tables that are not
    HL7's, are told: a person must see to them.
    """
    from engine.config.profile_xml import ProfileXmlError, read_profile

    try:
        imported = read_profile(file.read_bytes())
    except ProfileXmlError as error:
        raise Failure(FINDINGS, f"{file}: {error}") from None
    text = imported.document.text()
    if out is not None or not as_json:
        write(text, out, force=force)
    if as_json:
        emit({"profile": text, "notes": list(imported.notes)})
    for note in imported.notes:
        say(printable(note))
    if imported.notes:
        say(f"{count(len(imported.notes), 'thing')} to see to")
    return 0
