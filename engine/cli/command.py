"""What all commands share: the group that loads them when asked for, their common options, their help."""

import difflib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import click

from engine.cli.exits import MEANINGS, MISUSE
from engine.cli.output import DEBUG, QUIET

COMMANDS: Final = {
    "demo": "See it work: a running engine, 250 messages, four channels.",
    "init": "Start a site: a channel with its table and cases.",
    "check": "Find every mistake in a site's files.",
    "test": "Run the cases of a site's channels.",
    "try": "Show what a channel does to a message, step by step.",
    "run": "Run the engine.",
    "plan": "Show what a change of files does, before it is done.",
    "reload": "Have the running engine take up the site's files.",
    "validate": "Hold messages against the standard or a profile.",
    "compare": "Hold messages against each other, field by field.",
    "convert": "Turn messages into JSON or XML, or back into HL7.",
    "send": "Send messages over MLLP.",
    "listen": "Receive messages over MLLP, and answer well or badly.",
    "messages": "Search the stored messages, or show one.",
    "replay": "Send stored messages again, process them again, or send an edited one.",
    "release": "Let held messages and deliveries go on.",
    "tables": "Show the codes for which messages are held, add their rows, and let go on what waited.",
    "queue": "Show what waits for each destination, and hold, skip, retry, redirect or pause it.",
    "worklist": "Show what is on the worklists, and what a scanner's query would find.",
    "dicom": "Ask a DICOM server: whether it answers, and what its worklist has.",
    "users": "Say who may sign in, and what each may do.",
    "tokens": "Give programs tokens to ask the API with, and take them back.",
    "audit": "Show what people did to messages and queues, oldest first.",
    "import-mirth": "Turn channels of a Mirth Connect export into channel folders, and say what is left to do.",
    "profile": "Learn, compare and import profiles: what a site asks of its messages.",
    "stats": "Count what is in messages, field by field.",
    "generate": "Invent traffic for a channel: patients who come, are ordered for, resulted and discharged.",
    "deidentify": "Write messages with pseudonyms in the place of what says who the patient is.",
    "backup": "Copy the store and the site's files into a folder, while the engine runs.",
    "store": "Encrypt what is stored, and change the keys it is encrypted with.",
    "restore": "Put a backup back: the site and its store, or the store alone.",
    "doctor": "Look at the site, its store and this machine, and say what to do.",
    "support-bundle": "Write a file for support: what is known of the engine, without patient data.",
    "retention": "Show what the running engine has forgotten, and whether it goes on.",
    "senders": "Show in which character sets the senders write, and which of their feeds are silent.",
    "graph": "Draw where messages come in, which channel takes them, and where they go.",
    "impact": "Show which channels use a thing, and where.",
    "spec": "Write the interface specification of a channel as an HTML page.",
    "docs": "Read the documentation.",
    "explain": "Tell the long story of a code.",
    "completion": "Print the script that makes a shell complete commands and options.",
    "schema": "Print the JSON Schema that editors check channel files with.",
}
"""In the order of somebody's first day; one sentence each, as in the command's own help."""

OTHER_WORDS: Final = {
    "lint": "check",
    "dry-run": "try",
    "start": "run",
    "serve": "run",
    "restart": "reload",
    "deploy": "reload",
    "diff": "plan",
    "resend": "replay",
    "reprocess": "replay",
    "search": "messages",
    "pause": "queue",
    "resume": "queue",
    "skip": "queue",
    "retry": "queue",
    "redirect": "queue",
    "hold": "queue",
    "log": "audit",
    "encrypt": "store",
    "decrypt": "store",
    "user": "users",
    "token": "tokens",
    "passwd": "users",
    "mwl": "worklist",
    "findscu": "dicom",
    "echoscu": "dicom",
    "echo": "dicom",
    "find": "dicom",
    "receive": "listen",
    "man": "docs",
    "doc": "docs",
    "synthesize": "generate",
    "fake": "generate",
    "simulate": "generate",
    "new": "init",
    "create": "init",
    "import": "import-mirth",
    "mirth": "import-mirth",
}
"""What people who know other tools type first."""

EXIT_CODES: Final = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items()) + "."


class Commands(click.Group):
    """Knows its commands by name and sentence; imports one only when it is used (help within 100 ms)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # `try` is a word of Python's own; a module cannot have that name and be imported by a statement.
        module = "try_" if cmd_name == "try" else cmd_name.replace("-", "_")
        found = import_module(f"engine.cli.{module}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        meant = OTHER_WORDS.get(name) or next(iter(difflib.get_close_matches(name, COMMANDS, 1)), "")
        hint = f"did you mean '{meant}'?" if meant else "see 'segmill --help'"
        raise click.UsageError(f"no command '{name}'; {hint}", ctx)


class Command(click.Command):
    """A command with an example in its help, and the options that every command has."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params.append(
            click.Option(
                ["-q", "--quiet"],
                is_flag=True,
                expose_value=False,
                callback=_set_quiet,
                help="Say nothing but data and errors.",
            )
        )
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=_set_debug,
                help="Show a traceback if something goes wrong in segmill itself.",
            )
        )

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        if ctx.resilient_parsing:  # somebody pressed Tab
            from engine.cli.completing import offer_words

            for parameter in params:
                offer_words(parameter)
        return params

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write_text(f"\b$ {example}" if len(example) > 60 else f"$ {example}")
        formatter.write_paragraph()
        formatter.write_text(EXIT_CODES)


class Group(Command, click.Group):
    """A command with commands of its own, each in a file `<group>_<name>.py`, imported only when it is used."""

    def __init__(self, *args: Any, subcommands: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subcommands = subcommands

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.subcommands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.subcommands:
            return None
        found = import_module(f"engine.cli.{self.name}_{cmd_name.replace('-', '_')}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.subcommands.items()))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        click.Command.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)


def _set_quiet(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta[QUIET] = True


def _set_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta[DEBUG] = True


def subcommand(name: str, *examples: str) -> Callable[[Callable[..., Any]], Command]:
    """Makes a function the command `name`; each of `examples` is a line a reader can type, and a test does."""

    def decorate(function: Callable[..., Any]) -> Command:
        made = click.command(name, cls=Command, examples=examples, short_help=COMMANDS[name])(function)
        assert isinstance(made, Command)
        return made

    return decorate


def member(sentence: str, name: str, *examples: str) -> Callable[[Callable[..., Any]], Command]:
    """Makes a function the command `name` of a group, which lists it with `sentence`."""

    def decorate(function: Callable[..., Any]) -> Command:
        made = click.command(name, cls=Command, examples=examples, short_help=sentence)(function)
        assert isinstance(made, Command)
        return made

    return decorate


def json_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--json`, which every command has; `what` says what comes."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON on standard output.")


def misuse(sentence: str) -> click.UsageError:
    """The command was used wrongly (exit code 2)."""
    error = click.UsageError(sentence)
    assert error.exit_code == MISUSE
    return error
