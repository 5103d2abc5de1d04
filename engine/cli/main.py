"""`segmill`: one command line for the analyst, for operations and for scripts.

Data goes to standard output, talk to standard error (ux.md section 2.2). What goes wrong is a sentence and an
exit code; a traceback comes only with --debug, and the message of an unexpected exception never, since it may
quote what was being worked on.
"""

import os
import sys
import traceback
from typing import NoReturn

import click

from engine import __version__
from engine.cli.command import EXIT_CODES, Commands
from engine.cli.exits import CANNOT_WRITE, DEFECT, GOOD, NOT_ALLOWED, Failure
from engine.cli.output import DEBUG
from engine.collector import expect_imports

INTERRUPTED = 130


@click.group(
    cls=Commands,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(__version__, message="segmill %(version)s")
@click.pass_context
def segmill(ctx: click.Context) -> None:
    """An HL7 v2 interface engine: MLLP in, channels of plain files, a durable store, truthful answers."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    elif os.environ.get("FORCE_COLOR"):
        ctx.color = True


def main(args: list[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code."""
    expect_imports()
    # Where a caller closed one of them (>&-), what would go there goes nowhere.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the end
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A message may hold bytes that no charset explains, and a terminal may know ASCII only.
            stream.reconfigure(errors="backslashreplace")
    if instruction := os.environ.get("_SEGMILL_COMPLETE"):
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(segmill, {}, "segmill", "_SEGMILL_COMPLETE", instruction))
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: list[str]) -> int:
    """Run one command; return its exit code."""
    ctx: click.Context | None = None
    try:
        ctx = segmill.make_context("segmill", list(args))
        with ctx:
            result = segmill.invoke(ctx)
            sys.stdout.flush()
            return result if isinstance(result, int) else GOOD
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except Failure as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has enough: nothing is wrong, and nothing more can be said.
        _forget_output()
        return GOOD
    except OSError as exc:
        if ctx is not None and ctx.meta.get(DEBUG):
            traceback.print_exc()
        what = f"cannot use {exc.filename}" if exc.filename else "cannot write"
        click.echo(f"segmill: {what}: {exc.strerror or type(exc).__name__}", err=True)
        _forget_output()
        return NOT_ALLOWED if isinstance(exc, PermissionError) else CANNOT_WRITE
    except Exception as exc:  # noqa: BLE001 - the edge of the process; the message may quote a field's value
        if ctx is not None and ctx.meta.get(DEBUG):
            traceback.print_exc()
        else:
            click.echo(f"segmill: a defect in segmill: {type(exc).__name__} at {_place(exc)}", err=True)
            click.echo("Run it again with --debug for the traceback, and report that.", err=True)
        return DEFECT


def _forget_output() -> None:
    """What is still in the buffer cannot be written, and must not be tried again when the process ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _place(error: BaseException) -> str:
    """The last line of our own code that an exception came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}engine{os.sep}" in frame.filename] or frames
    return f"{own[-1].filename.rpartition(os.sep)[2]}:{own[-1].lineno}"
