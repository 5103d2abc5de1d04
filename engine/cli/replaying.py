"""What a replay would change: the channel's result for stored messages, held against what was sent before."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from engine.cli.exits import CONFIGURATION, Failure
from engine.cli.output import count, printable, say, styled

if TYPE_CHECKING:
    from engine.model.ids import ChannelName
    from engine.pipeline.compare import Change
    from engine.pipeline.compile import CompiledChannel
    from engine.pipeline.run import Result
    from engine.ports.store import StoredMessage, StoreQueries

COMPARED: Final = 500
"""So many messages are run for the plan, the oldest."""
SHOWN: Final = 3
AsOf = int | Literal["received"] | None


@dataclass(slots=True, frozen=True)
class Differs:
    """One message that comes out otherwise than before: a destination with the places, or another state."""

    seq: int
    destination: str
    changes: "tuple[Change, ...]" = ()
    words: str = ""


@dataclass(slots=True)
class Comparison:
    """What processing again would change, of the messages that were looked at."""

    compared: int = 0
    same: int = 0
    differing: int = 0
    states: Counter[str] = field(default_factory=Counter)
    first: list[Differs] = field(default_factory=list)

    def note(self, differs: Sequence[Differs]) -> None:
        self.compared += 1
        if not differs:
            self.same += 1
            return
        self.differing += 1
        self.first += differs[: max(0, SHOWN - len(self.first))]


class Versions:
    """Channels by recorded version, compiled once."""

    def __init__(self, queries: "StoreQueries", current: dict[str, int], as_of: AsOf) -> None:
        self._queries = queries
        self._current = current
        self._as_of = as_of
        self._made: dict[tuple[str, int], CompiledChannel] = {}

    def version_of(self, message: "StoredMessage") -> int:
        """With which version it would be processed."""
        if self._as_of == "received":
            return message.version
        if self._as_of is not None:
            return self._as_of
        return self._current.get(message.channel) or self._queries.last_version(message.channel) or message.version

    def of(self, message: "StoredMessage") -> "CompiledChannel":
        """The channel that would process it. Raises Failure where that version cannot be had."""
        key = (str(message.channel), self.version_of(message))
        if key not in self._made:
            self._made[key] = self._make(message.channel, key[1])
        return self._made[key]

    def _make(self, channel: "ChannelName", version: int) -> "CompiledChannel":
        from engine.cli.command import misuse
        from engine.cli.own_code import guarded
        from engine.config.site import load_version
        from engine.model.ids import VersionId
        from engine.pipeline.compile import compile_channel
        from engine.pipeline.registry import load_kinds, load_steps

        number: VersionId = VersionId(version)
        files = self._queries.version_files(number)
        loaded, findings = load_version(channel, files, load_kinds()) if files else (None, [])
        if loaded is None:
            if not files:
                raise misuse(
                    f"version {version} of channel {channel} is not recorded; segmill messages SEQ shows a message's"
                )
            codes = ", ".join(sorted({f.code for f in findings if f.is_error}))
            raise Failure(
                CONFIGURATION,
                f"version {version} of channel {channel} cannot run here ({codes})",
                "Take another: segmill messages SEQ shows with which a message was processed.",
            )
        return guarded(lambda: compile_channel(loaded, load_steps(), runs_own_code=True))


def compare(queries: "StoreQueries", messages: Sequence["StoredMessage"], versions: Versions) -> Comparison:
    """Run the oldest of `messages` through their channels here, and hold what comes out against what was sent."""
    from engine.ports.clock import from_us

    found = Comparison()
    for message in messages[:COMPARED]:
        stored = queries.message(message.seq)
        if stored is None or stored.raw is None:
            continue
        channel = versions.of(stored)
        result = _run(channel, stored.raw, from_us(stored.received_at_us))
        found.states[result.state] += 1
        found.note(_differences(queries, stored, result))
    return found


def _run(channel: "CompiledChannel", raw: bytes, now: Any) -> "Result":
    from engine.cli.own_code import OwnCodeEnded, guarded
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message
    from engine.model.finding import Finding
    from engine.pipeline.run import Result

    try:
        message = Message.parse(raw, fallback=channel.fallback_charset)
        return guarded(lambda: channel.run(message, now)) if channel.isolated else channel.run(message, now)
    except OwnCodeEnded as ended:
        return Result("held", [], (ended.finding,))
    except UnreadableMessage as error:
        return Result("held", [], (Finding("E233", "error", error.reason),))


def _differences(queries: "StoreQueries", stored: "StoredMessage", result: "Result") -> list[Differs]:
    if result.state not in ("processed", stored.state):
        codes = ", ".join(dict.fromkeys(f.code for f in result.findings)) or "no finding"
        return [Differs(stored.seq, "", words=f"{stored.state} -> {result.state} ({codes})")]
    before = {}
    for delivery in queries.deliveries(stored.seq, bodies=True):
        if delivery.destination != "app_ack" and delivery.origin is None:
            before[delivery.destination] = delivery.body
    after = {d.destination: stored.raw if d.body is None else d.body for d in result.deliveries}
    found = []
    for destination in dict.fromkeys((*before, *after)):
        if destination not in after:
            found.append(Differs(stored.seq, destination, words="no longer goes there"))
        elif destination not in before:
            found.append(Differs(stored.seq, destination, words="goes there as well"))
        elif before[destination] is None:
            found.append(Differs(stored.seq, destination, words="the bytes of then are no longer kept"))
        elif before[destination] != after[destination]:
            changed = body_changes(before[destination] or b"", after[destination] or b"")
            found.append(Differs(stored.seq, destination, changed, "" if changed else "other bytes"))
    return found


def body_changes(before: bytes, after: bytes) -> "tuple[Change, ...]":
    """Field by field, where both are HL7, or attribute by attribute, where both are for a worklist; else ()."""
    from engine.hl7.convert import form_of
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message
    from engine.pipeline.compare import changes
    from engine.pipeline.event_compare import event_changes

    if (of_events := event_changes(before, after)) is not None:
        return tuple(of_events)
    if form_of(before) != "hl7" or form_of(after) != "hl7":
        return ()
    try:
        return tuple(changes(Message.parse(before), Message.parse(after)))
    except UnreadableMessage:
        return ()


def show(found: Comparison, total: int, *, show_values: bool) -> None:
    """To people."""
    of = f" (of the oldest {found.compared})" if found.compared < total else ""
    say(f"{count(found.same, 'message')} would come out as before, {found.differing} otherwise{of}")
    for differs in found.first:
        to = f" to {differs.destination}" if differs.destination else ""
        say(f"  message {differs.seq}{to}: {differs.words or count(len(differs.changes), 'difference')}")
        for line in change_lines(differs.changes, show_values=show_values):
            say(f"    {line}")
    if not show_values and any(differs.changes for differs in found.first):
        say("Values are masked; --show-values shows them.")


def change_lines(found: "Sequence[Change]", *, show_values: bool) -> list[str]:
    """Each place with its text before and after, masked unless `show_values`."""
    return [
        f"{printable(change.path)}  {styled(_text(change.before, show_values), fg='red')} -> "
        f"{styled(_text(change.after, show_values), fg='green')}"
        for change in found[:20]
    ] + ([f"and {len(found) - 20} more"] if len(found) > 20 else [])


def _text(text: str | None, show_values: bool) -> str:
    if text is None:
        return "(none)"
    shown = text if show_values else "".join("*" if c.isalnum() or not c.isascii() else c for c in text)
    return f'"{printable(shown)}"'


def as_json(found: Comparison, *, show_values: bool) -> dict[str, object]:
    """For programs; values only where they were asked for."""
    first = []
    for differs in found.first:
        places: list[dict[str, str | None]] = [
            {"path": c.path, "before": c.before, "after": c.after} if show_values else {"path": c.path}
            for c in differs.changes
        ]
        told = {"seq": differs.seq, "destination": differs.destination or None, "words": differs.words}
        first.append({**told, "changes": places})
    return {
        "compared": found.compared,
        "same": found.same,
        "differing": found.differing,
        "states": dict(found.states),
        "first": first,
    }


def edited_message(original: bytes, file: Path | None, edits: Sequence[str], *, new_id: str | None) -> bytes:
    """The changed message: of a file, or of `PATH=TEXT` on the original; `new_id` not None: with that MSH-10.

    Raises a misuse that says what is wrong.
    """
    from engine.cli.command import misuse
    from engine.cli.message_files import read_messages
    from engine.hl7.errors import Hl7Error
    from engine.hl7.message import Message

    raw = original
    if file is not None:
        found = read_messages([str(file)], tidy=True, hint="")
        if len(found) != 1:
            raise misuse(f"{file} holds {len(found)} messages; an edited message is one")
        raw = found[0].raw
    try:
        message = Message.parse(raw)
        for edit in edits:
            path, sign, text = edit.partition("=")
            if not sign:
                raise misuse(f"--set {edit}: write PATH=TEXT, such as PID-8=F")
            message.set(path, text)
        if new_id is not None:
            message.set("MSH-10", new_id)
        return message.to_bytes() if edits or new_id is not None else raw
    except Hl7Error as error:
        raise misuse(f"the edited message cannot be written: {error}") from None
