"""What a change of files means for connections and for what waits, in numbers and sentences, before it is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.config.changes import ChannelChange, DestinationChange, SiteChange, SiteState
from engine.config.settings import SiteSettings
from engine.config.site import LoadedChannel
from engine.exit_codes import FINDINGS, GOOD
from engine.model.ids import ChannelName
from engine.model.states import MessageState
from engine.ports.reload import Outcome, PlannedChange, ReloadReport
from engine.ports.store import LaneDepth


@dataclass(slots=True, frozen=True)
class Facts:
    """What there is now. `connections`: open ones by channel, of ports that would be closed or opened anew.

    `is_running`: whether an engine works by the files before, so that it can see to what waits.
    """

    depths: Sequence[LaneDepth] = ()
    counts: Mapping[tuple[ChannelName, MessageState], int] = field(default_factory=dict)
    connections: Mapping[ChannelName, int] = field(default_factory=dict)
    is_running: bool = True

    def depth(self, channel: ChannelName, destination: str) -> tuple[int, int]:
        """How many deliveries are queued and held for a destination."""
        for depth in self.depths:
            if (depth.channel, depth.destination) == (channel, destination):
                return depth.queued, depth.held
        return 0, 0

    def count(self, channel: ChannelName, state: MessageState) -> int:
        """How many messages of a channel are in a state."""
        return self.counts.get((channel, state), 0)


def planned(change: SiteChange, before: SiteState | None, after: SiteState, facts: Facts) -> tuple[PlannedChange, ...]:
    """Each channel's change with what it comes to."""
    old = {channel.name: channel for channel in before.site.channels} if before is not None else {}
    new = {channel.name: channel for channel in after.site.channels}
    return tuple(_planned(one, old.get(one.name), new.get(one.name), facts) for one in change.channels)


def planned_report(
    change: SiteChange, channels: tuple[PlannedChange, ...], notes: tuple[str, ...] = ()
) -> ReloadReport:
    """The report of a plan."""
    return report_of("planned", change, channels, notes)


def place_notes(before: SiteSettings, after: SiteSettings, facts: Facts) -> tuple[str, ...]:
    """What another `data` or `store` means for what is stored, which neither of them moves."""
    if before.store != after.store:
        waits = [_number(sum(depth.queued for depth in facts.depths), "delivery")]
        waits += [_number(sum(depth.held for depth in facts.depths), "held delivery")]
        received = sum(count for (_, state), count in facts.counts.items() if state in ("received", "waiting"))
        waits += [_number(received, "message") + " not processed yet"]
        waits += [_number(sum(n for (_, state), n in facts.counts.items() if state == "held"), "held message")]
        there = [text for text in waits if not text.startswith("0 ")]
        what = f"what it has stays there, with {', '.join(there)}, and goes nowhere from then on" if there else ""
        note = f"store: after a restart {_file(after)} is the store; {_file(before)} is left as it is"
        how = "to keep it, stop the engine, move the file there with its -wal file, and start it"
        return (f"{note}; {what}; {how}",) if what else (f"{note}; nothing waits in it",)
    if before.data != after.data:
        return (
            f"data: after a restart the control socket is in {after.data}; the store stays {_file(after)}, as 'store' "
            "says: change that, too, if it is to move",
        )
    return ()


def _file(settings: SiteSettings) -> str:
    return settings.store_path or "memory"


def report_of(
    outcome: Outcome, change: SiteChange, channels: tuple[PlannedChange, ...], notes: tuple[str, ...] = ()
) -> ReloadReport:
    """The report, in numbers and one sentence."""
    needs = change.not_live
    parts = [_number(len(channels), "channel")] if channels else []
    parts += ["settings of the site"] if change.settings else []
    verb = "would change" if outcome == "planned" else "changed"
    sentence = f"{verb}: {' and '.join(parts)}" if parts else "nothing to take up"
    if needs:
        sentence += f"; needs a restart: {', '.join(needs)}"
    code = FINDINGS if needs and outcome != "planned" else GOOD
    return ReloadReport(
        outcome,
        sentence,
        channels,
        change.settings,
        needs,
        exit_code=code,
        notes=notes,
    )


def _planned(
    change: ChannelChange, old: LoadedChannel | None, new: LoadedChannel | None, facts: Facts
) -> PlannedChange:
    name = change.name
    notes = [*_of_listen(change, old, new, facts)]
    waiting = held = 0
    for destination in change.destinations:
        queued, aside = facts.depth(name, destination.name)
        waiting += queued
        notes += _of_destination(destination, queued, aside, facts)
    if change.kind == "removed":
        held = facts.count(name, "held")
        notes += _of_removed(name, held, facts)
    what = [*change.what, *(_told(destination) for destination in change.destinations if change.kind == "changed")]
    if change.listen != "none" and change.kind == "changed":
        what.append(f"listen: {change.listen}")
    if not what and change.kind == "changed":
        what.append("text only")
    return PlannedChange(name, change.kind, tuple(what), facts.connections.get(name, 0), waiting, held, tuple(notes))


def _told(destination: DestinationChange) -> str:
    if destination.kind != "changed":
        return f"destination {destination.name}: {destination.kind}"
    return f"destination {destination.name}: {', '.join(destination.what)}"


def _of_listen(change: ChannelChange, old: LoadedChannel | None, new: LoadedChannel | None, facts: Facts) -> list[str]:
    closed = facts.connections.get(change.name, 0)
    if change.listen == "certificates":
        return ["new connections are made with the new certificates; those there are stay"]
    if change.listen == "none" or not closed:
        return []
    return [f"{_number(closed, 'connection')} closed, each once what it has in hand is answered"]


def _of_destination(change: DestinationChange, queued: int, held: int, facts: Facts) -> list[str]:
    name = change.name
    notes: list[str] = []
    if change.kind == "changed":
        if queued:
            notes.append(f"{_number(queued, 'delivery')} for {name} go on by its new settings, in their order")
    elif change.kind == "removed":
        if queued and facts.is_running:
            notes.append(
                f"{_number(queued, 'delivery')} for {name} still go out by its old settings; what is left when the "
                "engine stops stays in the store"
            )
        elif queued:
            notes.append(f"{_number(queued, 'delivery')} for {name} stay in the store and go nowhere")
        if held:
            notes.append(
                f"{_number(held, 'held delivery')} for {name} stay in the store; release or discard them first"
            )
    return notes


def _of_removed(name: ChannelName, held: int, facts: Facts) -> list[str]:
    notes: list[str] = []
    received = facts.count(name, "received")
    if received and facts.is_running:
        notes.append(f"{_number(received, 'message')} accepted and not processed yet still go through it")
    elif received:
        notes.append(f"{_number(received, 'message')} accepted and not processed stay in the store as they are")
    if fragments := facts.count(name, "waiting"):
        notes.append(f"{_number(fragments, 'fragment')} of unfinished messages are held")
    if held:
        notes.append(f"{_number(held, 'held message')} stay in the store, and cannot be released while it is gone")
    return notes


def _number(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"
