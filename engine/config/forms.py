"""Forms of messages (HL7, JSON, XML) across a channel: what a `convert` step asks of which destinations."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from engine.config.channel import ChannelFile
from engine.config.entries import Destination, StepEntry, refused_form
from engine.config.finding import ConfigFinding, Position
from engine.config.kinds import Kinds, forms_of
from engine.hl7.convert import Form

STEP = "convert"


def check_forms(file: ChannelFile, kinds: Kinds) -> list[ConfigFinding]:
    """Destinations that would get from a `convert` step what they cannot carry."""
    asked = forms_asked(file)
    if not asked:
        return []
    findings = []
    for destination in file.destinations.values():
        if destination.policy.format is None and destination.policy.charset is None:
            findings += [_refused(destination, form) for form in sorted(asked - _carried(destination, kinds))]
    return findings


def forms_asked(file: ChannelFile) -> set[Form]:
    """What `convert` steps may make of a message."""
    return {form for step in _all_steps(file.steps) if (form := getattr(step.options, "form", None)) is not None}


def _carried(destination: Destination, kinds: Kinds) -> set[Form]:
    return set(forms_of(kinds.sinks[destination.sink], destination.options))


def _refused(destination: Destination, form: Form) -> ConfigFinding:
    place = Position(destination.file, destination.line, destination.column)
    hint = "a convert step asks for it; give this destination format: hl7"
    return replace(refused_form(place, destination.sink, form), hint=hint)


def _all_steps(entries: Sequence[StepEntry]) -> Iterator[StepEntry]:
    """Every `convert` step, also those inside of others."""
    for entry in entries:
        if entry.kind == STEP:
            yield entry
        inner = getattr(entry.options, "do", ())
        yield from _all_steps([item for item in inner if isinstance(item, StepEntry)])
