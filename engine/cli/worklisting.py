"""What the commands of `segmill worklist` share: options, the store, steps as rows and as JSON."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.exits import FINDINGS, Failure
from engine.cli.output import printable
from engine.cli.reading import note_reading
from engine.cli.sites import whereabouts
from engine.worklist.masking import PLAIN

if TYPE_CHECKING:
    from engine.ports.worklist import WorklistView
    from engine.worklist.item import Attributes, Item

name_option = click.option("--name", default="main", show_default=True, help="Which worklist.")
values_option = click.option(
    "--show-values", is_flag=True, help="Show what patients can be known by. Masked otherwise."
)
step_arguments: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: click.argument(  # noqa: E731
    "study", metavar="STUDY"
)(click.argument("step", metavar="STEP")(function))


@contextmanager
def opened(site: Path | None, data: Path | None, name: str, *, notes: str = "") -> Iterator["WorklistView"]:
    """A worklist in the store; `notes`: the command that shows values, for the record."""
    from engine.cli.stores import open_queries

    place = whereabouts(site, data)
    with open_queries(place.store, place.keys) as queries, queries.worklist(name) as view:
        if notes:
            note_reading(place, [], notes)
        yield view


def step_of(view: "WorklistView", study: str, step: str) -> "Item":
    """The step that is named, by its id as scanners see it or as it was ordered, or Failure."""
    from engine.worklist.item import ItemKey

    found = view.item(ItemKey(study, step))
    if found is None:  # by its id as it was ordered
        found = next((one for one in view.by_study(study) if one.original("ScheduledProcedureStepID") == step), None)
    if found is None:
        raise Failure(FINDINGS, "there is no such step on this worklist", "See those there are: segmill worklist list")
    return found


def start(item: "Item") -> str:
    """`2026-01-02 10:30`."""
    at = item.starts_at
    return f"{at[:4]}-{at[4:6]}-{at[6:8]} {at[8:10]}:{at[10:12]}"


def shown(text: str, show_values: bool) -> str:
    """A value of a patient's."""
    return printable(text if show_values else "".join("*" if c.isalnum() or not c.isascii() else c for c in text))


def status(item: "Item") -> str:
    """Its status, and whether it is held."""
    return f"{item.status} (held)" if item.is_held else item.status


def row(item: "Item", show_values: bool) -> tuple[str, ...]:
    """One line of a list, by HEADERS."""
    from engine.worklist.item import text

    return (
        start(item),
        status(item),
        printable(item.modality),
        printable("\\".join(item.stations)) or "(none)",
        shown(text(item.attributes, "PatientID"), show_values),
        shown(text(item.attributes, "PatientName"), show_values),
        shown(item.keys.accession.id, show_values),
        item.key.study_uid,
        printable(item.key.step_id),
    )


HEADERS: Final = ("start", "status", "modality", "stations", "patient", "name", "accession", "study", "step")


def as_json(item: "Item", show_values: bool) -> dict[str, Any]:
    """One step for programs; values of patients only where they were asked for."""
    told: dict[str, Any] = {
        "study": item.key.study_uid,
        "step": item.key.step_id,
        "status": item.status,
        "held": item.is_held,
        "starts_at": item.starts_at,
        "modality": item.modality,
        "stations": list(item.stations),
        "uid_origin": item.uid_origin,
    }
    if show_values:
        from engine.worklist.json_form import to_dicom_json

        told["dicom"] = to_dicom_json(item.attributes)
        told["ordered"] = dict(item.originals)
    return told


def lines(attributes: "Attributes", show_values: bool, indent: str = "") -> Iterator[str]:
    """Attributes with values, one a line."""
    for keyword, values in attributes.items():
        plain = [value for value in values if isinstance(value, str)]
        if plain:
            text = "\\".join(plain)
            yield f"{indent}{keyword}: {printable(text) if keyword in PLAIN else shown(text, show_values)}"
        for value in values:
            if not isinstance(value, str):
                yield f"{indent}{keyword}:"
                yield from lines(value, show_values, indent + "  ")


def keys_of(words: Sequence[str]) -> "Attributes":
    """`Modality=CT PatientID=...` as the identifier of a query. Raises click's misuse."""
    from engine.cli.command import misuse
    from engine.worklist.attributes import ITEM, SPS, STEP

    outer: dict[str, tuple[str, ...]] = {}
    inner: dict[str, tuple[str, ...]] = {}
    for word in words:
        keyword, _, value = word.partition("=")
        values = tuple(value.split("\\")) if value else ()
        if keyword in STEP:
            inner[keyword] = values
        elif keyword in ITEM and keyword != SPS:
            outer[keyword] = values
        else:
            raise misuse(
                f"'{keyword[:40]}' is no attribute of a worklist item: write KEYWORD=VALUE, such as Modality=CT"
            )
    return {**outer, SPS: (inner,)} if inner else outer
