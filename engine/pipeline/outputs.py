"""What each destination gets, where some read another character set than the message came in, or another form."""

from collections.abc import Mapping, Sequence

from engine.config.channel import ChannelFile
from engine.config.table import Table
from engine.config.worklist import WorklistOptions
from engine.hl7.convert import ConversionError, Form, convert
from engine.hl7.errors import UnencodableText, UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.recode import Recoded, Target, recode
from engine.model.envelope import DraftDelivery
from engine.model.finding import Finding
from engine.model.ids import ChannelName, DestinationName
from engine.pipeline.run import Result
from engine.pipeline.step import Run
from engine.pipeline.worklist import NotForWorklist, WorklistWriter

Targets = Mapping[DestinationName, Target]
"""Of the destinations that have a character set of their own; the others get the message as it is."""

Forms = Mapping[DestinationName, Form]
"""Of the destinations whose form is settled, whatever a `convert` step says; the others get the run's."""


Writers = Mapping[DestinationName, WorklistWriter]
"""Of the destinations that do not get the message, but what it says about a worklist."""


def writers_of(name: ChannelName, file: ChannelFile, tables: Mapping[str, Table]) -> Writers:
    """What makes the bodies of a channel's worklist destinations."""
    return {
        DestinationName(destination): WorklistWriter(name, entry.options, tables, strict_charset=file.charset.strict)
        for destination, entry in file.destinations.items()
        if isinstance(entry.options, WorklistOptions)
    }


def forms_of(file: ChannelFile) -> Forms:
    """What the destinations say: `format`, or a `charset`, which only HL7 has."""
    settled: dict[DestinationName, Form] = {}
    for name, destination in file.destinations.items():
        policy = destination.policy
        if policy.format is not None or policy.charset is not None:
            settled[DestinationName(name)] = policy.format or "hl7"
    return settled


def deliveries_of(
    message: Message,
    run: Run,
    destinations: Sequence[DestinationName],
    targets: Targets,
    forms: Forms,
    writers: Writers,
) -> Result:
    """The deliveries; held with all of them where one cannot be written, so that a release sends none twice.

    Rejected with all of them where one is for a worklist and cannot become an item: its sender hears what is wrong.
    """
    own: dict[DestinationName, bytes] = {}
    for to in destinations:
        if (writer := writers.get(to)) is not None:
            try:
                own[to], found = writer.write(message, run.now)
            except NotForWorklist as error:
                return Result("rejected", [], (*run.findings, *error.findings))
            run.findings += [finding for finding in found if finding not in run.findings]
    asked = {to: (targets.get(to), forms.get(to, run.form)) for to in destinations if to not in own}
    bodies: dict[tuple[Target | None, Form], bytes | None] = {}
    for target, form in dict.fromkeys(asked.values()):
        names = ", ".join([name for name, wanted in asked.items() if wanted == (target, form)])
        try:
            body, finding = _body(message, names, target, form)
        except UnencodableText as error:
            return Result("held", [], (*run.findings, _unwritten(error, names, target)))
        except ConversionError as error:
            text = f"to {names}: the message cannot be written as {form.upper()}: {error.reason}"
            return Result("held", [], (*run.findings, Finding("E275", "error", text, error.location)))
        bodies[target, form] = None if body == message.raw else body
        if finding is not None:
            run.findings.append(finding)
    made = [DraftDelivery(to, own[to] if to in own else bodies[asked[to]]) for to in destinations]
    return Result("processed", made, tuple(run.findings))


class CannotRewrite(Exception):
    """A delivery's bytes cannot be given to another destination. The reason names places, never what is in them."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def for_another(
    body: bytes,
    fallback: str,
    before: DestinationName,
    to: DestinationName,
    targets: Targets,
    forms: Forms,
    writers: Writers,
) -> bytes | None:
    """The bytes for `to` of what `before` was to get; None: the same ones. Raises CannotRewrite.

    They are written anew only where the two differ in what their settings say, and then from what `before` was to
    get: the steps and routes have had their say, and are not asked again.
    """
    if before in writers or to in writers:
        raise CannotRewrite("a worklist takes what was written for it, and nobody else does; reprocess the message")
    target, form = targets.get(to), forms.get(to)
    if form is None or (targets.get(before), forms.get(before)) == (target, form):
        return None
    try:
        made, _ = _body(Message.parse(body, fallback=fallback), to, target, form)
    except UnreadableMessage:
        raise CannotRewrite(f"what {before} was to get is no HL7") from None
    except UnencodableText as error:
        raise CannotRewrite(f"{error.location or 'it'} cannot be written in its character set") from None
    except ConversionError as error:
        raise CannotRewrite(f"{error.location or 'it'} cannot be written as {form.upper()}: {error.reason}") from None
    return None if made == body else made


def _body(message: Message, names: str, target: Target | None, form: Form) -> tuple[bytes, Finding | None]:
    """The bytes for these destinations, and what had to be written in another way."""
    if target is None:
        return convert(message, form), None
    recoded = recode(message, target)
    return recoded.body, _told(recoded, names, target) if recoded.foreign else None


def _told(recoded: Recoded, names: str, target: Target) -> Finding:
    many = "1 character" if recoded.foreign == 1 else f"{recoded.foreign} characters"
    text = f"to {names}: {many} that {target.name} does not have went as "
    if target.policy == "escape":
        return Finding("W271", "warning", f"{text}hexadecimal escapes", recoded.location)
    return Finding("W272", "warning", f"{text}the text that the channel says", recoded.location)


def _unwritten(error: UnencodableText, names: str, target: Target | None) -> Finding:
    if target is None:
        return Finding("E202", "error", f"the message cannot be written: {error.reason}", error.location)
    text = f"to {names}: the message cannot be written in {target.name}: {error.reason}"
    return Finding("E271", "error", text, error.location)
