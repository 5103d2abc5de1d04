"""The check of one segment: what must be there, and a check of each field that is."""

from collections.abc import Callable, Iterable
from typing import Final

from engine.hl7.delimiters import HEADERS
from engine.hl7.dictionary import Dictionary, FieldDef
from engine.hl7.profile import Element, SegmentDefinition
from engine.hl7.validate.checks import Demand, FieldCheck, Quick
from engine.hl7.validate.fields import Elements, FieldCompiler
from engine.hl7.validate.rules import Breach, Judge
from engine.hl7.validate.run import Run

SegmentCheck = Callable[[Run, list[str]], None]
"""Of the segment at hand, with its fields as `Message.fields` gives them."""

_AFTER_MARKS: Final = 3
"""The first field of a header that is looked at: MSH-1 and MSH-2 are the delimiters, of which reading it tells."""


def compile_segment(
    dictionary: Dictionary, judge: Judge, name: str, elements: Iterable[Element], own: SegmentDefinition | None
) -> SegmentCheck | None:
    """The check of segments of that name; `own` is the profile's definition of it. None: there is nothing to check."""
    standard = dictionary.segment(name)
    asked = Elements(elements)
    if standard is None and own is None and not asked.fields():
        return None
    definitions = {field.number: field for field in standard.fields} if standard else {}
    if own is not None:
        definitions |= {f.number: FieldDef(f.number, f.name, f.data_type, "O", None, None, "") for f in own.fields}
    compiler = FieldCompiler(dictionary, judge, name, asked)
    begin = _AFTER_MARKS if name in HEADERS else 1
    last = max([*definitions, *asked.fields()], default=0)
    demands: list[Demand] = []
    checks: list[FieldCheck | None] = [None] * begin
    quicks: list[Quick | None] = [None] * begin
    for number in range(begin, last + 1):
        definition = definitions.get(number)
        if demand := compiler.demand(number, definition):
            demands.append(demand)
        checks.append(compiler.field(number, definition))
        quicks.append(compiler.quick(number, definition))
    beyond = judge.breach("field.unknown", name, "") if standard is not None else None
    return _check(tuple(demands), tuple(checks), tuple(quicks), begin, beyond)


def _check(
    demands: tuple[Demand, ...],
    checks: tuple[FieldCheck | None, ...],
    quicks: tuple[Quick | None, ...],
    begin: int,
    beyond: Breach | None,
) -> SegmentCheck:
    known = len(checks)

    def check(run: Run, fields: list[str]) -> None:
        run.fields = fields
        count = len(fields)
        for number, verdict in demands:
            if number >= count or ((text := fields[number]).isalnum() is False and run.is_empty(text)):
                run.add(verdict(run), number)
        repetition, component, subcomponent = run.repetition, run.component, run.subcomponent
        number = begin - 1
        for text in fields[begin:known]:
            number += 1
            if text and (look := checks[number]) is not None:
                if (
                    (quick := quicks[number]) is not None
                    and (text.isalnum() or not (component in text or repetition in text or subcomponent in text))
                    and quick(text)
                ):
                    continue
                look(run, number, text)
        if count > known and beyond is not None:
            for number in range(known, count):
                if not run.is_empty(fields[number]):
                    run.add(beyond, number)
                    return

    return check
