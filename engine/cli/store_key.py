"""`segmill store key`: a new key, in a file of its own."""

import os
from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.exits import CANNOT_WRITE, Failure
from engine.cli.output import emit, say
from engine.cli.sites import is_site
from engine.cli.store import KEY, SUBCOMMANDS


@member(SUBCOMMANDS["key"], "key", *KEY)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@json_option("the key's id and its file")
def command(file: Path, as_json: bool) -> int:
    """Make a key for the store.

    32 random bytes as a line of base64, in FILE, which is made for its owner only and is not there yet; - prints it, to
    be taken up by a vault. Its id is shown, which may be shown to anybody.
    """
    from engine.adapters.stores.place import sync_folder
    from engine.model.store_key import StoreKey

    key = StoreKey.make()
    if str(file) == "-":
        if as_json:
            emit({"id": key.id, "key": key.line()})
        else:
            click.echo(key.line())
            say(f"the key {key.id}: keep it where the backups are not")
        return 0
    try:
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as made:
            made.write(key.line() + "\n")
            made.flush()
            os.fsync(made.fileno())
        sync_folder(file.absolute().parent)  # a store is worth nothing without it: its name is to last as well
    except FileExistsError:
        raise Failure(CANNOT_WRITE, f"{file} is there already: a key is never overwritten", "Name another.") from None
    except OSError as exc:
        raise Failure(CANNOT_WRITE, f"{file} cannot be written: {exc.strerror}") from None
    if as_json:
        emit({"id": key.id, "file": str(file)})
    else:
        click.echo(str(file))
        say(f"the key {key.id}. Keep a copy of it, and not where the backups are: without it the store is lost.")
        # As segmill.yaml means it: from the site's folder.
        named = file if is_site(Path.cwd()) else file.absolute()
        say(f"In segmill.yaml: encryption: {{key: '${{file:{named}}}'}}")
    return 0
