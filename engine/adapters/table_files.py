"""Writes rows into code tables of a site: checked before and after, whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

from engine.config.table import Table


class RowRefused(Exception):
    """The file is as it was. `is_about_the_row`: another row may do; `is_of_the_file`: it has mistakes already."""

    def __init__(self, sentence: str, *, is_about_the_row: bool = False, is_of_the_file: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.is_about_the_row = is_about_the_row
        self.is_of_the_file = is_of_the_file


def add_row(path: Path, cells: Sequence[str]) -> int:
    """Write the row behind the last one; its line. Raises RowRefused, and OSError where the file cannot be written."""
    before = path.read_bytes()
    table, findings = Table.load(before, path.name)
    if errors := [finding for finding in findings if finding[2].startswith("E")]:
        line, _, code, text = errors[0]
        raise RowRefused(f"{path}:{line} {code} {text}", is_of_the_file=True)
    _check(table, path.name, cells)
    padded = [*cells, *[""] * (len(table.columns) - len(cells))]
    text = before.decode("utf-8-sig")
    ending = "\r\n" if "\r\n" in text else "\n"
    text += ("" if text.endswith(("\n", "\r")) else ending) + ",".join(map(_cell, padded)) + ending
    made, findings = Table.load(text, path.name)
    found = made.rows.get(cells[0])
    if found is None or any(finding[2].startswith("E") for finding in findings):
        raise RowRefused(f"the row would not be read back from {path.name}; the file is as it was")
    _replace(path, text.encode())
    return found.line


def _check(table: Table, name: str, cells: Sequence[str]) -> None:
    def refused(sentence: str) -> RowRefused:
        return RowRefused(sentence, is_about_the_row=True)

    if table.is_dated:
        raise refused(f"{name} has dates: add the row in an editor, so that its times do not meet those of another")
    if (row := table.rows.get(cells[0])) is not None:
        raise refused(f"{name} has that key already, in line {row.line}")
    if not 2 <= len(cells) <= len(table.columns):
        columns = ", ".join(table.columns)
        raise refused(f"{name} has {len(table.columns)} columns ({columns}); a key and a value are needed at least")
    if any("\n" in cell or "\r" in cell for cell in cells):
        raise refused("a cell is one line")


def _cell(text: str) -> str:
    needs_quotes = text != text.strip() or any(c in text for c in ',"') or text.startswith("#") or text == "*"
    return '"' + text.replace('"', '""') + '"' if needs_quotes else text


def _replace(path: Path, content: bytes) -> None:
    path = path.resolve()  # a table that channels share by a link stays one
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_bytes(content)
        draft.chmod(path.stat().st_mode & 0o777)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
