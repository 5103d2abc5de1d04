"""Lines of CSV that people open in a spreadsheet: RFC 4180, and no cell is anything but text."""

import csv
import io
from collections.abc import Sequence
from typing import Final

from engine.adapters.console.values import plain

INERT: Final = "'"
DANGEROUS: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""With one of these a spreadsheet takes a cell for a formula, or looks behind it for one (OWASP, CSV injection)."""


def csv_line(cells: Sequence[str]) -> bytes:
    """Every cell in quotes. What a spreadsheet would take for a formula has an apostrophe before it."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow([inert(cell) for cell in cells])
    return out.getvalue().encode("utf-8", "backslashreplace")


def inert(cell: str) -> str:
    """The cell as text and nothing else, whole; control characters are written as marks."""
    shown = plain(cell, len(cell))
    return INERT + shown if cell.startswith(DANGEROUS) or shown.lstrip().startswith(DANGEROUS) else shown
