"""A message that a person edited: a new message of its own, linked to the one it was made of.

It goes through its channel as a new one does, but was not received: its sender is `(edited)`, whoever stands in its
MSH-3, so that it is never taken for a resend, nor a resend for it; nobody is sent an answer; and what its channel
rejects is not stored but said, as the person who edited it is there to correct it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.envelope import Intake
from engine.model.finding import Finding, dump_findings
from engine.model.ids import ChannelName, MessageSeq
from engine.pipeline import entry
from engine.ports.clock import Clock, from_us
from engine.ports.operations import By
from engine.ports.store import StoreQueries
from engine.runtime.channels import RunningChannel
from engine.runtime.received import control_id_of, type_of

SENDER: Final = "(edited)"
"""No sender is called so: theirs have a bar between application and facility."""


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why an edited message is not taken."""

    sentence: str


class Edited:
    """Makes the record of an edited message."""

    def __init__(self, channels: Mapping[ChannelName, RunningChannel], queries: StoreQueries, clock: Clock) -> None:
        self._channels = channels
        self._queries = queries
        self._clock = clock

    async def make(self, origin: MessageSeq, raw: bytes, by: By) -> Intake | Refusal:
        """The message as it is to be stored, with what its channel makes of it."""
        stored = self._queries.message(origin)
        if stored is None:
            return Refusal("there is no such message")
        channel = self._channels.get(stored.channel)
        if channel is None:
            return Refusal(f"its channel {stored.channel} does not run")
        compiled = channel.compiled
        if len(raw) > compiled.file.listen.max_message:
            return Refusal(f"edited, it is longer than the {compiled.file.listen.max_message} bytes the channel takes")
        try:
            message = Message.parse(raw, fallback=compiled.fallback_charset)
        except UnreadableMessage as error:
            return Refusal(f"edited, it cannot be read: {error.reason}")
        if not compiled.accepts(message):
            return Refusal(f"edited, it is not its channel's: {told(entry.unclaimed([compiled], message))}")
        if not control_id_of(message):
            return Refusal(f"edited, {entry.NO_CONTROL_ID.text}")
        findings = entry.notices(message)
        if compiled.strict_charset and (refusal := entry.undecodable(message)) is not None:
            return Refusal(f"{refusal.code} {refusal.text}")
        now_us = self._clock.now_us()
        with channel.turn() as version:
            result = await channel.process(raw, from_us(now_us))
        if result.state == "rejected":
            return Refusal(f"its channel rejects it: {reasons(result.findings)}")
        return Intake(
            self._clock.random_bytes(16),
            channel.name,
            version,
            now_us,
            SENDER,
            f"edited by {by.actor}",
            type_of(message),
            control_id_of(message),
            blake2b(raw, digest_size=16).digest(),
            raw,
            result.state,
            findings=dump_findings((*findings, *result.findings, _made_of(origin))),
            deliveries=result.deliveries,
            origin=origin,
        )


def _made_of(origin: MessageSeq) -> Finding:
    return Finding("I241", "information", f"edited from message {origin} by a person, and not received from a sender")


def reasons(findings: Sequence[Finding]) -> str:
    """What was found, in one line."""
    return "; ".join(map(told, findings)) or "no reason was given"


def told(finding: Finding) -> str:
    """Code, place and sentence of a finding."""
    place = f"{finding.location}: " if finding.location else ""
    return f"{finding.code} {place}{finding.text}"
