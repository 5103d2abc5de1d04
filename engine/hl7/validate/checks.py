"""The checks that run: closures over what a compiler decided, each as small as it can be.

`TextCheck` looks at a text at one of three depths: 0 a repetition of a field, 1 a component, 2 a subcomponent. A tree
that is deeper or shallower than its definition is read as hl7.md item 43 says. The delete marker is passed over.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from engine.hl7.escape import unescape
from engine.hl7.validate.rules import Breach
from engine.hl7.validate.run import Run
from engine.hl7.validate.values import Test

NULL: Final = '""'

Depth = Literal[0, 1, 2]
TextCheck = Callable[[Run, int, int, int, int, str], None]
"""Of a text with its field, repetition, component and subcomponent."""
FieldCheck = Callable[[Run, int, str], None]
"""Of a whole field with its number."""
Quick = Callable[[str], object]
"""Says at a glance that a text without delimiters is surely right; what it doubts goes the long way."""
Verdict = Callable[[Run], Breach | None]
"""What is said of a place in this message; it may hang on a condition."""


class Demand(NamedTuple):
    """That a field or part has a value: what is said when it has none."""

    number: int
    verdict: Verdict


class Parts(NamedTuple):
    """What is asked of the parts of a text: `checks[n]` is of part n, `known` how many the data type has.

    `quicks[n]` is of part n too: None where there is no short cut.
    """

    demands: tuple[Demand, ...]
    checks: tuple[TextCheck | None, ...]
    quicks: tuple[Quick | None, ...]
    known: int
    unknown: Breach | None


def text_check(
    depth: Depth,
    whole: Sequence[Test],
    leaf: Sequence[Test],
    coded: tuple[str, Test] | None,
    parts: Parts | None,
    fits: int = -1,
) -> TextCheck | None:
    """The check of a text: tests of all of it, of its first leaf, of its code, and of its parts.

    `fits`: a text no longer than that passes all tests of `whole`.
    """
    if not whole and not leaf and coded is None and parts is None:
        return None
    leaf = tuple(leaf)
    whole = tuple(whole)
    demands = parts is not None and bool(parts.demands)

    def check(run: Run, field: int, repetition: int, component: int, subcomponent: int, text: str) -> None:
        if text == NULL or (demands and run.is_empty(text)):
            return
        if whole and len(text) > fits:
            value = unescape(text, run.message.delimiters, run.message.codec) if run.escape in text else text
            for test in whole:
                if (breach := test(value)) is not None:
                    run.add(breach, field, repetition, component, subcomponent)
        pieces: Sequence[str] = (text,)
        if depth != 2 and not text.isalnum():
            mark = run.component if depth == 0 else run.subcomponent
            if mark in text:
                pieces = text.split(mark)
        if leaf:
            value = _leaf(run, pieces[0])
            if value and value != NULL:
                for test in leaf:
                    if (breach := test(value)) is not None:
                        run.add(breach, field, repetition, component, subcomponent)
        if coded is not None:
            _check_code(run, coded, pieces, (field, repetition, component, subcomponent))
        if parts is not None:
            if depth == 0:
                flat = run.subcomponent not in text
                _check_components(run, parts, field, repetition, pieces, flat=flat)
            else:
                _check_subcomponents(run, parts, field, repetition, component, pieces)

    return check


def _leaf(run: Run, text: str) -> str:
    if text.isalnum():
        return text
    if run.subcomponent in text:
        text = text.partition(run.subcomponent)[0]
    return unescape(text, run.message.delimiters, run.message.codec) if run.escape in text else text


def _check_code(run: Run, coded: tuple[str, Test], pieces: Sequence[str], at: tuple[int, int, int, int]) -> None:
    """A code whose coding system is empty or HL7's own table; any other system has codes of its own."""
    system, test = coded
    if len(pieces) > 2 and pieces[2] and pieces[2] != system:
        return
    code = _leaf(run, pieces[0])
    if code and code != NULL and (breach := test(code)) is not None:
        run.add(breach, *at)


def _check_components(
    run: Run, parts: Parts, field: int, repetition: int, pieces: Sequence[str], *, flat: bool
) -> None:
    """`flat`: none of them has subcomponents."""
    count = len(pieces)
    for number, verdict in parts.demands:
        if number > count or run.is_empty(pieces[number - 1]):
            run.add(verdict(run), field, repetition, number)
    _, checks, quicks, known, unknown = parts
    number = 0
    for piece in pieces if count < len(checks) else pieces[: len(checks) - 1]:
        number += 1
        if piece and (check := checks[number]) is not None:
            if flat and (quick := quicks[number]) is not None and quick(piece):
                continue
            check(run, field, repetition, number, 0, piece)
    for number in range(known + 1, count + 1):
        if not run.is_empty(pieces[number - 1]):
            run.add(unknown, field, repetition, number)
            return


def _check_subcomponents(
    run: Run, parts: Parts, field: int, repetition: int, component: int, pieces: Sequence[str]
) -> None:
    for number, verdict in parts.demands:
        if number > len(pieces) or run.is_empty(pieces[number - 1]):
            run.add(verdict(run), field, repetition, component, number)
    for number, (piece, check) in enumerate(zip(pieces, parts.checks[1:], strict=False), 1):
        if piece and check is not None:
            check(run, field, repetition, component, number, piece)
    for number in range(parts.known + 1, len(pieces) + 1):
        if not run.is_empty(pieces[number - 1]):
            run.add(parts.unknown, field, repetition, component, number)
            return


def forbidden_part(forbidden: Verdict, check: TextCheck | None) -> TextCheck:
    """Of a component that may have no value, the delete marker included; where it may, `check`."""

    def look(run: Run, field: int, repetition: int, component: int, subcomponent: int, text: str) -> None:
        if text.strip(run.marks) and (breach := forbidden(run)) is not None:
            run.add(breach, field, repetition, component, subcomponent)
        elif check is not None:
            check(run, field, repetition, component, subcomponent, text)

    return look


class Times(NamedTuple):
    """How often a field may repeat, counting repetitions with a value. `most` None: as often as it likes."""

    least: int = 0
    most: int | None = None
    breach: Breach | None = None


def field_check(check: TextCheck | None, times: Times, forbidden: Verdict | None) -> FieldCheck | None:
    """The check of a whole field: whether it may be there, how often it repeats, and each repetition."""
    if check is None and forbidden is None and times.breach is None:
        return None
    least, most, breach = times

    def look(run: Run, number: int, text: str) -> None:
        if forbidden is not None and text.strip(run.marks) and (found := forbidden(run)) is not None:
            run.add(found, number)
            return
        if run.repetition not in text:
            if least > 1 and not run.is_empty(text):
                run.add(breach, number)
            if check is not None:
                check(run, number, 1, 0, 0, text)
            return
        repetitions = text.split(run.repetition)
        if breach is not None:
            valued = [at for at, each in enumerate(repetitions, 1) if not run.is_empty(each)]
            if most is not None and len(valued) > most:
                run.add(breach, number, valued[most])
            elif 0 < len(valued) < least:
                run.add(breach, number)
        if check is not None:
            for at, each in enumerate(repetitions, 1):
                if each:
                    check(run, number, at, 0, 0, each)

    return look


def length_test(least: int, most: int | None, breach: Breach) -> Test:
    """Of how many characters a value has."""
    if most is None:
        return lambda value: breach if len(value) < least else None
    if not least:
        return lambda value: breach if len(value) > most else None
    return lambda value: None if least <= len(value) <= most else breach
