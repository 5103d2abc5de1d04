"""What the site's ordering system is told of worklist steps: messages of the engine's own, for an ordinary destination.

A message is stored in the transaction of the move that it tells of, with its delivery; from then on it is a delivery
like any other. It goes to the destination that the site names, past the channel's steps and routes, written in the
destination's character set and form, and with its key (dicom.md section 1.9).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from hashlib import blake2b
from typing import Final

from engine.config.hours import zone
from engine.config.status_back import StatusOptions
from engine.hl7.message import Message
from engine.model.envelope import DraftDelivery, Intake
from engine.model.finding import Finding, dump_findings
from engine.model.ids import ChannelName, DestinationName, VersionId
from engine.model.states import MessageState
from engine.ports.clock import Clock, from_us
from engine.ports.worklist import Moved
from engine.runtime.channels import RunningChannel
from engine.runtime.received import type_of
from engine.runtime.tasks import describe
from engine.worklist.status import ORDER_STATUS, Header, status_message

log = logging.getLogger("segmill.dicom")

SENDER: Final = "(worklist)"
"""No sender is called so: theirs have a bar between application and facility."""

TOLD: Final = Finding("I448", "information", "made of a worklist step that was moved, and not received from a sender")
NOWHERE: Final = Finding("E448", "error", "the destination that dicom.status names does not run")

Lane = tuple[ChannelName, DestinationName]


class StatusNews:
    """Makes the messages (ports.worklist.Teller), and wakes the lanes that they are in."""

    def __init__(
        self,
        channels: Mapping[ChannelName, RunningChannel],
        clock: Clock,
        time_zone: str | None = None,
        count: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        """`count`: told of each message that it is `queued`, `held` or, where none could be made, `failed`."""
        self._count = count
        self._channels = channels
        self._clock = clock
        self._options: StatusOptions | None = None
        self._worklist = ""
        self.time_zone = time_zone
        """The site's, in which times are told; None for UTC."""

    def follow(self, worklist: str, options: StatusOptions | None) -> None:
        """Tell of this worklist from now on, as the options say; None: of none."""
        self._worklist = worklist
        self._options = options

    def __call__(self, moved: Moved) -> Intake | None:
        """As Teller. Runs in the thread that writes, and reads nothing but what never changes."""
        options = self._options
        if options is None or moved.worklist != self._worklist:
            return None
        if ORDER_STATUS.get(moved.item.status) not in options.tell:
            return None
        try:
            return self._intake(moved, options)
        except Exception as error:  # noqa: BLE001 - what the scanner did is kept, whatever we can say of it
            log.error("%s cannot be told of a step that moved: %s", options.to, describe(error))
            self._count("failed")
            return None

    def _intake(self, moved: Moved, options: StatusOptions) -> Intake | None:
        name, destination = ChannelName(options.to.channel), DestinationName(options.to.destination)
        channel = self._channels.get(name)
        fallback = channel.compiled.fallback_charset if channel is not None else "cp1252"
        at = from_us(moved.at_us)
        header = Header(f"SC{self._clock.random_bytes(9).hex().upper()}", at.astimezone(self._zone), fallback)
        raw = status_message(moved.item, moved.order, header, options.wanted)
        if raw is None:
            return None
        message = Message.parse(raw)
        state: MessageState = "held"
        deliveries: Sequence[DraftDelivery] = ()
        findings: tuple[Finding, ...] = (TOLD, NOWHERE)
        if channel is not None and destination in channel.lanes:
            result = channel.compiled.direct(message, destination, at)
            state = "processed" if result.state == "processed" else "held"
            deliveries, findings = result.deliveries, (TOLD, *result.findings)
        self._count("held" if state == "held" else "queued")
        if state == "held":
            log.error("%s is not told of a step that moved: the message is held", options.to)
        return Intake(
            self._clock.random_bytes(16),
            name,
            channel.version if channel is not None else VersionId(0),
            moved.at_us,
            SENDER,
            f"worklist {moved.worklist}",
            type_of(message),
            header.control_id,
            blake2b(raw, digest_size=16).digest(),
            raw,
            state,
            findings=dump_findings(findings),
            deliveries=deliveries,
        )

    @property
    def _zone(self) -> tzinfo:
        return zone(self.time_zone) if self.time_zone is not None else UTC

    def stored(self, grown: Sequence[Lane]) -> None:
        """Lanes hear of what was stored for them; on the loop, before anything else is committed."""
        for name, destination in grown:
            channel = self._channels.get(name)
            lane = channel.lane(destination) if channel is not None else None
            if lane is not None:
                lane.reread(go_on=False)
