"""Where a destination's policy sends messages to: that they get there, can be read there, and do not go in a circle."""

from collections.abc import Iterator, Sequence

from engine.config.actions import ActionText
from engine.config.channel import ChannelFile
from engine.config.entries import Destination
from engine.config.finding import ConfigFinding, Position, at
from engine.config.forms import forms_asked
from engine.config.kinds import Kinds, forms_of
from engine.hl7.convert import Form

Redirect = tuple[str, ActionText]
"""A destination, and the action of it that names another."""


def check_redirects(file: ChannelFile, kinds: Kinds) -> list[ConfigFinding]:
    """Findings at the name of the other destination. That there is one of that name is said elsewhere."""
    redirects = list(redirects_of(file))
    findings = [_back_to_the_sender(action) for action in _of_acknowledgements(file)]
    for name, action in redirects:
        if name == file.ack.when.destination:
            findings.append(_awaited(action, name))
        elif action.destination == name:
            findings.append(_at(action, "E180", f"'{name}' cannot take over from itself", "name another destination"))
        elif finding := _form(file, kinds, name, action):
            findings.append(finding)
    return findings + _circles(redirects)


def redirects_of(file: ChannelFile) -> Iterator[Redirect]:
    """Each destination with each action of its policy that gives its messages to another, once."""
    for name, destination in file.destinations.items():
        seen: set[tuple[Position | None, str]] = set()
        for _, action in destination.policy.actions:
            key = (action.position(), action.destination)
            if action.destination in file.destinations and key not in seen:
                seen.add(key)
                yield name, action


def _of_acknowledgements(file: ChannelFile) -> Sequence[ActionText]:
    back = file.ack.connect_back
    actions = back.policy.actions if back is not None else ()
    return [action for _, action in actions if action.destination]


def _at(action: ActionText, code: str, message: str, hint: str = "") -> ConfigFinding:
    place = action.position(action.destination_column, len(action.destination)) or Position("", 0, 0)
    return at(place, code, message, hint)


def _back_to_the_sender(action: ActionText) -> ConfigFinding:
    return _at(action, "E182", "an acknowledgement is its sender's alone", "take hold, skip or retry")


def _awaited(action: ActionText, name: str) -> ConfigFinding:
    message = f"senders wait for the answer of '{name}', so no other can take over from it"
    return _at(action, "E182", message, f"take hold or skip, or another ack.when than delivered({name})")


def _circles(redirects: Sequence[Redirect]) -> list[ConfigFinding]:
    """One finding for each circle, at the redirect that closes it."""
    graph: dict[str, dict[str, ActionText]] = {}
    for name, action in redirects:
        if action.destination != name:
            graph.setdefault(name, {}).setdefault(action.destination, action)
    findings: list[ConfigFinding] = []
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        for to, action in graph.get(name, {}).items():
            if to in path:
                circle = " -> ".join([*path[path.index(to) :], to])
                message = f"messages would go in a circle: {circle}"
                findings.append(_at(action, "E180", message, "let the last one hold them"))
            elif to not in done:
                visit(to, (*path, to))
        done.add(name)

    for name in graph:
        if name not in done:
            visit(name, (name,))
    return findings


def _form(file: ChannelFile, kinds: Kinds, name: str, action: ActionText) -> ConfigFinding | None:
    """What `name` was to get must be something the other can be given: HL7 is written anew, JSON and XML are not."""
    before, after = file.destinations[name], file.destinations[action.destination]
    wanted = _settled(after)
    carried = _carried(after, kinds)
    for form in sorted(_possible(before, file)):
        becomes = wanted or form
        if becomes != form and form != "hl7":
            message = f"'{name}' gets {form.upper()}, which cannot be made {becomes.upper()} for '{action.destination}'"
            return _at(action, "E181", message, f"give both the same format, or '{name}' HL7")
        if becomes not in carried:
            message = f"'{name}' gets {form.upper()}, which '{action.destination}' cannot carry"
            return _at(action, "E181", message, f"give '{action.destination}' a format, or '{name}' HL7")
    return None


def _settled(destination: Destination) -> Form | None:
    policy = destination.policy
    return policy.format or ("hl7" if policy.charset is not None else None)


def _possible(destination: Destination, file: ChannelFile) -> set[Form]:
    settled = _settled(destination)
    return {settled} if settled is not None else {"hl7", *forms_asked(file)}


def _carried(destination: Destination, kinds: Kinds) -> set[Form]:
    return set(forms_of(kinds.sinks[destination.sink], destination.options))
