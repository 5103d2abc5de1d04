"""What each destination gets, where some of them read another character set than the message came in."""

from collections.abc import Mapping, Sequence

from engine.hl7.errors import UnencodableText
from engine.hl7.message import Message
from engine.hl7.recode import Recoded, Target, recode
from engine.model.envelope import DraftDelivery
from engine.model.finding import Finding
from engine.model.ids import DestinationName
from engine.pipeline.run import Result
from engine.pipeline.step import Run

Targets = Mapping[DestinationName, Target]
"""Of the destinations that have a character set of their own; the others get the message as it is."""


def deliveries_of(message: Message, run: Run, destinations: Sequence[DestinationName], targets: Targets) -> Result:
    """The deliveries; held with all of them where one cannot be written, so that a release sends none twice."""
    bodies: dict[Target | None, bytes | None] = {}
    for to in destinations:
        target = targets.get(to)
        if target in bodies:
            continue
        names = ", ".join([name for name in destinations if targets.get(name) == target])
        try:
            body, finding = _body(message, names, target)
        except UnencodableText as error:
            return Result("held", [], (*run.findings, _unwritten(error, names, target)))
        bodies[target] = None if body == message.raw else body
        if finding is not None:
            run.findings.append(finding)
    drafts = [DraftDelivery(to, bodies[targets.get(to)]) for to in destinations]
    return Result("processed", drafts, tuple(run.findings))


def _body(message: Message, names: str, target: Target | None) -> tuple[bytes, Finding | None]:
    """The bytes for these destinations, and what had to be written in another way."""
    if target is None:
        return message.to_bytes(), None
    recoded = recode(message, target)
    return recoded.body, _told(recoded, names, target) if recoded.foreign else None


def _told(recoded: Recoded, names: str, target: Target) -> Finding:
    many = f"{recoded.foreign} character{'s' if recoded.foreign > 1 else ''}"
    lacks = f"that {target.name} does not have"
    if target.policy == "escape":
        text = f"to {names}: {many} {lacks} went as hexadecimal escapes"
        return Finding("W271", "warning", text, recoded.location)
    return Finding("W272", "warning", f"to {names}: {many} {lacks} were replaced", recoded.location)


def _unwritten(error: UnencodableText, names: str, target: Target | None) -> Finding:
    if target is None:
        return Finding("E202", "error", f"the message cannot be written: {error.reason}", error.location)
    text = f"to {names}: the message cannot be written in {target.name}: {error.reason}"
    return Finding("E271", "error", text, error.location)
