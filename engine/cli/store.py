"""`segmill store`: encryption of what is stored."""

from typing import Final

import click

from engine.cli.command import COMMANDS, Group

SUBCOMMANDS: Final = {
    "status": "Show whether the store is encrypted, and with which keys.",
    "key": "Make a key for the store.",
    "encrypt": "Encrypt a store that is plain.",
    "decrypt": "Make an encrypted store a plain one again.",
    "rotate": "Change the key of an encrypted store.",
}
STATUS: Final = ("segmill store status", "segmill store status --count --json")
KEY: Final = ("segmill store key store.key", "segmill store key -")
ENCRYPT: Final = ("segmill store encrypt",)
DECRYPT: Final = ("segmill store decrypt --yes",)
ROTATE: Final = ("segmill store rotate", "segmill store rotate --data-key")


@click.group(
    "store",
    cls=Group,
    subcommands=SUBCOMMANDS,
    examples=(*STATUS, *KEY, *ENCRYPT, *DECRYPT, *ROTATE),
    short_help=COMMANDS["store"],
    no_args_is_help=True,
)
def command() -> None:
    """Encrypt what is stored, and change the keys it is encrypted with.

    The key is named under 'encryption' in segmill.yaml, and stands in a file or the environment. Without it the store
    cannot be read by anybody: keep a copy of it, and not where the backups are. A key is spoken of by its id, a hash.
    """
