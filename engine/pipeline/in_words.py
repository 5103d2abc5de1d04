"""A channel's steps, answers and rules of delivery as sentences, for people who read no YAML.

Made from the models, never from a message. What came from `${...}` and is secret is starred.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from engine.config.actions import ActionText, Rules
from engine.config.channel import ChannelFile
from engine.config.entries import DeliveryPolicy, StepEntry
from engine.config.node import SourceText
from engine.config.types import TablePath
from engine.pipeline.steps.convert import ConvertOptions
from engine.pipeline.steps.copy import CopyOptions
from engine.pipeline.steps.delete import DeleteOptions
from engine.pipeline.steps.each import EachOptions
from engine.pipeline.steps.filter import FilterOptions
from engine.pipeline.steps.map import MapOptions
from engine.pipeline.steps.python import PythonOptions
from engine.pipeline.steps.set import SetOptions
from engine.pipeline.steps.validate import Rules as StepRules
from engine.pipeline.steps.validate import ValidateOptions


@dataclass(slots=True, frozen=True)
class Code:
    """What stands in a file as it is: a path, a condition, a name."""

    text: str


Words = tuple[str | Code, ...]


@dataclass(slots=True, frozen=True)
class Sentence:
    """A sentence, with those that say more of it. `name` is what the file calls it, `when` its condition."""

    words: Words
    name: str = ""
    when: str = ""
    inside: "tuple[Sentence, ...]" = ()


# -- steps ---------------------------------------------------------------------------------------

_COMES_TO: Mapping[str, str] = MappingProxyType(
    {
        "reject": "the message is refused to its sender",
        "hold": "the message is held for a person",
        "warn": "a warning is recorded with the message",
        "observe": "it is counted, and nothing else",
        "keep": "it is kept as it is, and that is recorded",
    }
)


def steps_in_words(entries: Sequence[StepEntry]) -> Iterator[Sentence]:
    """Each step, in order."""
    for entry in entries:
        words, inside = _step(entry)
        yield Sentence(words, entry.name, shown(entry.when) if entry.when is not None else "", inside)


def _step(entry: StepEntry) -> tuple[Words, tuple[Sentence, ...]]:
    options = entry.options
    match options:
        case FilterOptions():
            go_on = ("Only messages for which ", Code(shown(options.condition)), " holds go on. ")
            return (*go_on, "The others are acknowledged as accepted and go nowhere."), ()
        case SetOptions():
            return _listed("Writes", [_set(path, value) for path, value in options.values.items()])
        case CopyOptions():
            pairs = [(_code(target), " from ", _code(source)) for target, source in options.places.items()]
            return _listed("Copies", pairs)
        case DeleteOptions():
            return ("Removes ", *_all(options.paths), "."), ()
        case MapOptions():
            return _map(options)
        case ValidateOptions():
            return ("Checks the message. If a rule is broken, ", _COMES_TO[options.rules.mode], "."), tuple(
                _rules(options.rules)
            )
        case EachOptions():
            only = (" for which ", Code(shown(options.when)), " holds") if options.when is not None else ()
            return ("For each ", _code(options.segment), " segment", *only, ":"), tuple(steps_in_words(options.do))
        case PythonOptions():
            return ("Runs the site's own code ", Code(shown(options.function)), "."), ()
        case ConvertOptions():
            return (
                "What follows is sent as ",
                options.form.upper(),
                ", where a destination does not say otherwise.",
            ), ()
        case _:
            return ("Runs the step ", Code(entry.kind), ", which is not one of the engine's own."), ()


def _listed(verb: str, items: Sequence[Words]) -> tuple[Words, tuple[Sentence, ...]]:
    if len(items) == 1:
        return (f"{verb} ", *items[0], "."), ()
    return (f"{verb}:",), tuple(Sentence(item) for item in items)


def _set(path: SourceText, value: SourceText) -> Words:
    expression = getattr(value, "expression", "") if getattr(value, "is_expression", False) else None
    if expression is None:
        return (_code(path), " as ", Code(shown(value))) if value else (_code(path), " as empty")
    written = "***" if value.is_secret else expression.strip()
    return (_code(path), " as the value of ", Code(written))


def _map(options: MapOptions) -> tuple[Words, tuple[Sentence, ...]]:
    back = ", from the second column to the first" if options.direction == "back" else ""
    policy = options.otherwise.policy
    miss = (Code(options.otherwise.value), " is written") if policy == "default" else (_COMES_TO[policy],)
    places = [(_code(path), " in ", Code(str(table))) for path, table in options.tables.items()]
    rest: Words = (f"{back}. If a value has no row there, ", *miss, ".")
    if len(places) == 1:
        return ("Looks up ", *places[0], *rest), ()
    return (f"Looks values up in code tables{back}. If a value has no row there, ", *miss, ":"), tuple(
        Sentence(place) for place in places
    )


def _rules(rules: StepRules) -> Iterator[Sentence]:
    if rules.profile is not None:
        yield Sentence(("It keeps ", _profile(rules.profile), "."))
    if rules.required:
        yield Sentence(("There must be a value in ", *_all(rules.required), "."))
    for path, pattern in rules.pattern.items():
        yield Sentence((_code(path), " has the form ", Code(shown(pattern)), "."))
    for path, allowed in rules.values.items():
        if isinstance(allowed, TablePath):
            yield Sentence((_code(path), " is a key of ", Code(str(allowed)), "."))
        else:
            yield Sentence((_code(path), " is one of ", *_all(allowed), "."))
    for path, lengths in rules.length.items():
        least = f"{lengths.least} to " if lengths.least else "at most "
        yield Sentence((_code(path), f" has {least}{lengths.most} characters."))


def _profile(name: SourceText) -> str | Code:
    return "the standard" if getattr(name, "is_standard", False) else Code(str(name))


# -- answers -------------------------------------------------------------------------------------


def answers_in_words(file: ChannelFile) -> list[tuple[str, Words]]:
    """What a sender is answered, and when: an answer's code, and when it is given."""
    ack = file.ack
    if ack.when == "stored":
        accepted: Words = ("The message is on stable storage. Its content is looked at afterwards.",)
    elif ack.when.destination:
        accepted = (
            "The message is on stable storage, and ",
            Code(ack.when.destination),
            f" has accepted it. The sender waits for at most {time_in_words(ack.timeout)}; "
            f"then it is answered {ack.on_timeout}.",
        )
    else:
        accepted = ("The message and all its deliveries are on stable storage: processed, or filtered on purpose.",)
    held = "AA, CA" if ack.when_held == "AA" else "AE, CE"
    return [
        ("AA, CA", accepted),
        (held, ("A person has to see to the message first; it is kept.",)),
        ("AE, CE", ("The content breaks a rule. One ERR segment says which, and where, for each.",)),
        (
            "AR, CR",
            ("The type, event or sender is not for this channel, or the message cannot be read or is too long.",),
        ),
        (
            "none: the connection is closed" if ack.on_store_failure == "close" else f"{ack.on_store_failure}, CR",
            ("The message cannot be stored now. Keep it and send it again.",),
        ),
    ]


# -- delivery ------------------------------------------------------------------------------------

_KEYS: Final = (
    ("on_refused", "The receiver refuses the content (AE, CR)"),
    ("on_rejected", "The receiver rejects it for another reason (AR, CE)"),
    ("on_unanswered", "No answer comes in time"),
    ("on_unreachable", "The receiver cannot be reached"),
    ("on_unsendable", "The message cannot be sent this way"),
)


_FILE_KEYS: Final = (
    ("on_unreachable", "The file cannot be written"),
    ("on_unsendable", "The message cannot be made a file"),
)


def delivery_in_words(policy: DeliveryPolicy, sink: str) -> Iterator[tuple[str, Words]]:
    """What becomes of a delivery: a case, and what is done. `sink` is the kind of destination."""
    if policy.order_by is None:
        yield "Order", ("In the order of receipt, one after the other.",)
    else:
        over = f", over {policy.lanes} connections" if policy.lanes > 1 else ""
        yield (
            "Order",
            ("In the order of receipt among messages with the same ", Code(shown(policy.order_by)), f"{over}."),
        )
    if policy.priority is not None:
        yield "Priority", ("Messages for which ", Code(shown(policy.priority)), " holds go before those of others.")
    cases: dict[Words, list[str]] = {}
    for key, case in _FILE_KEYS if sink == "file" else _KEYS:
        cases.setdefault(tuple(_actions(getattr(policy, key), policy)), []).append(case)
    for words, names in cases.items():
        yield "; ".join([names[0], *(name[0].lower() + name[1:] for name in names[1:])]), words
    if policy.open is not None:
        zone = f" ({policy.open.zone})" if policy.open.zone else ""
        yield "Hours", (f"Only within {policy.open}{zone}; outside of them messages wait.",)
    if policy.rate is not None:
        yield "Rate", (f"At most {_rate(policy.rate)}.",)
    if policy.charset is not None:
        rest = {"hold": "is held for a person", "escape": "is written as its bytes"}.get(policy.unencodable)
        told = rest or f"becomes another text: {policy.unencodable}"
        yield "Character set", (Code(str(policy.charset)), f"; a character that it does not have {told}.")
    if policy.format is not None:
        yield "Format", (policy.format.upper(),)


def _actions(rules: Rules | ActionText, policy: DeliveryPolicy) -> Iterator[str | Code]:
    if isinstance(rules, ActionText):
        yield f"{_action(rules, policy)}."
        return
    for codes, action in rules.by_code.items():
        yield f"{codes}: {_action(action, policy)}. "
    if rules.otherwise is not None:
        start = "Otherwise: " if rules.by_code else ""
        yield f"{start}{_action(rules.otherwise, policy)}."


def _action(action: ActionText, policy: DeliveryPolicy) -> str:
    match action.kind:
        case "hold":
            return "It is set aside for a person, and the next one goes"
        case "skip":
            return "It is given up, which is recorded"
        case "stop":
            return "Everything behind it waits until a person has released it"
        case "redirect":
            return f"{action.destination} takes it over"
        case _:
            return f"It is sent again {_retry(action, policy)}"


def _retry(action: ActionText, policy: DeliveryPolicy) -> str:
    retry = policy.retry
    first, most = time_in_words(retry.first), time_in_words(retry.most)
    waits = f"after {first}" + (f", then less and less often, at most {most} apart" if retry.most > retry.first else "")
    attempts = action.limit_attempts if action.limit_attempts is not None else retry.limit_attempts
    seconds = action.limit_s if action.limit_s is not None else retry.limit_s
    if attempts is not None:
        bound = f", at most {attempts} times"
    elif seconds is not None:
        bound = f", for at most {time_in_words(seconds)}"
    else:
        return f"{waits}, until it is accepted"
    then = {"skip": "given up", "stop": "everything behind it waits", "redirect": f"{action.destination} takes it over"}
    return f"{waits}{bound}; then {then.get(action.then, 'it is set aside for a person')}"


# -- small things --------------------------------------------------------------------------------


def time_in_words(seconds: float) -> str:
    """`30 seconds`, `2 minutes`, `7 days`: in the largest unit that leaves no rest."""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            number = int(seconds // size)
            return f"{number} {name}{'' if number == 1 else 's'}"
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"


def _rate(per_second: float) -> str:
    for factor, unit in ((1, "second"), (60, "minute")):
        if per_second * factor >= 1:
            return f"{per_second * factor:g} messages a {unit}"
    return f"{per_second * 3600:g} messages an hour"


def shown(text: str) -> str:
    """A text of a file, whole; starred where a part of it is secret."""
    return "***" if isinstance(text, SourceText) and text.is_secret else str(text)


def _code(text: str) -> Code:
    return Code(shown(text))


def _all(texts: Iterable[str]) -> Iterator[str | Code]:
    for number, text in enumerate(texts):
        if number:
            yield ", "
        yield Code(shown(text))
