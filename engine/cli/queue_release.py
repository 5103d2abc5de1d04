"""`segmill queue release`: the same as `segmill release`, beside its sisters."""

from engine.cli.command import Command
from engine.cli.queue import RELEASE, SUBCOMMANDS
from engine.cli.release import command as release

command = Command(
    "release",
    callback=release.callback,
    params=[option for option in release.params if option.name not in ("quiet", "debug")],  # each command has its own
    help=release.help,
    short_help=SUBCOMMANDS["release"],
    examples=RELEASE,
)
