"""How a command speaks: data on standard output, talk on standard error, nothing a terminal could act upon.

Whatever came from a message goes through `printable` first: a control character in a name must not move the
reader's cursor, and a byte that no charset explains must not end the command.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

SCHEMA: Final = 1
"""Version of what --json prints; a key may be added under the same number, none may change its meaning."""

WIDE: Final = 100_000

DEBUG: Final = "segmill.debug"
QUIET: Final = "segmill.quiet"
"""Where --debug and --quiet are kept: keys of the root context's `meta`."""


def emit(record: Mapping[str, Any]) -> None:
    """One JSON object on one line of standard output."""
    click.echo(json.dumps({"schema": SCHEMA, **record}, ensure_ascii=False, default=str))


def say(text: str = "") -> None:
    """Talk: what the command does and did, on standard error; nothing with --quiet."""
    ctx = click.get_current_context(silent=True)
    if ctx is None or not ctx.find_root().meta.get(QUIET):
        click.echo(text, err=True)


def styled(text: str, **style: Any) -> str:
    """`text` with a style that colourless terminals, pipes and NO_COLOR take off again."""
    return click.style(text, **style)


def is_coloured() -> bool:
    """Whether standard output takes colours."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def printable(text: str) -> str:
    """`text` with control characters, direction marks and stray bytes written as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def columns(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """Rows in aligned columns under `headers`, a line each; those named in `right` are numbers.

    A line is as long as it must be: a terminal wraps it, and what is copied or piped stays whole.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(Text(header), justify="right" if header in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text.from_ansi(cell) for cell in row))
    console = Console(file=sys.stdout, width=WIDE, highlight=False, no_color=not is_coloured())
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 message`, `2 messages`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def local_time(us: int) -> str:
    """Microseconds since 1970 as people here read a clock."""
    return datetime.fromtimestamp(us / 1_000_000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def utc_time(us: int) -> str | None:
    """Microseconds since 1970 as RFC 3339, for programs; None for 0, which is never."""
    return datetime.fromtimestamp(us / 1_000_000, UTC).isoformat().replace("+00:00", "Z") if us else None


def duration(seconds: float) -> str:
    """`850 us`, `4.2 ms`, `1.3 s`: three digits are as many as anybody reads."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s"
