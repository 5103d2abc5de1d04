"""What is said of a message before any step sees it: the same words in intake, in `try` and in the cases."""

from collections.abc import Sequence
from typing import Final

from engine.hl7.ack import condition_notices
from engine.hl7.batch import Batch
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.pipeline.compile import CompiledChannel

NO_CONTROL_ID: Final = Finding("E231", "error", "MSH-10 (message control id) is empty", "MSH-10", "101")
"""Without it nobody can tell which message an answer is for (hl7.md item 32)."""

LINK: Final = Finding("W239", "information", "a message of the sequence number protocol alone; nothing to process")
"""MSH-13 is 0 or -1: the sender asks where its link stands, or starts it anew (hl7.md item 64)."""


NOT_NOW: Final = Finding("E237", "error", "the message cannot be stored now; send it again later", hl7_code="207")
PAUSED: Final = Finding("E249", "error", "this channel takes no messages now; send it again later", hl7_code="207")
"""A person has paused its intake."""

IDS_START_AGAIN: Final = Finding(
    "W232",
    "warning",
    "this sender uses its control ids again with other content, as after a restart of its counter; what follows within "
    "the hour is processed and counted, and not marked one by one",
    "MSH-10",
)


def oversize(size_bytes: int, limit_bytes: int) -> Finding:
    """Of a block that is longer than its port takes (hl7.md item 8)."""
    text = f"the message has {size_bytes} bytes and this port takes at most {limit_bytes}"
    return Finding("E230", "error", text, hl7_code="207")


def unreadable(error: UnreadableMessage) -> Finding:
    """Of bytes in which no message was found."""
    return Finding("E233", "error", error.reason, hl7_code=error.hl7_code)


def miscounted(batch: Batch) -> dict[int, tuple[Finding, ...]]:
    """Of each message of a batch or file whose BTS-1 or FTS-1 is not true, by its number (hl7.md item 67)."""
    noted: dict[int, tuple[Finding, ...]] = {}
    for wrong, members in batch.miscounts():
        finding = Finding("W340", "warning", wrong.text, wrong.place)
        for number in members:
            noted[number] = (*noted.get(number, ()), finding)
    return noted


def refused_for_count(noted: Sequence[Finding]) -> list[Finding]:
    """The same, on a port that refuses such batches."""
    return [Finding("E264", "error", finding.text, finding.location, "207") for finding in noted]


def unclaimed(channels: Sequence[CompiledChannel], message: Message) -> Finding:
    """Of a message that none of a port's channels takes: by its sender, its event or its type."""
    if any(channel.accepts_event(message) for channel in channels):
        return Finding("E236", "error", "no channel of this port takes messages of this sender", "MSH-3", "207")
    if any(channel.accepts_type(message) for channel in channels):
        return Finding("E235", "error", "no channel of this port takes this trigger event", "MSH-9.2", "201")
    return Finding("E234", "error", "no channel of this port takes this message type", "MSH-9.1", "200")


def notices(message: Message) -> tuple[Finding, ...]:
    """What was odd about a message as it came, and was let pass: character set, line ends, MSH-2; () nearly always."""
    odd = message.warnings
    if not _asks_as_the_table_says(message):
        odd += condition_notices(message)
    return tuple(Finding(n.code, "warning", n.text, n.location, n.hl7_code) for n in odd) if odd else ()


def _asks_as_the_table_says(message: Message) -> bool:
    """Whether MSH-15 and MSH-16 are absent or of table 0155: nearly always, and every message is asked."""
    fields = message.fields(0)
    count = len(fields)
    return count < 16 or (fields[15] in _CONDITIONS and (count < 17 or fields[16] in _CONDITIONS))


_CONDITIONS: Final = frozenset({"", "AL", "NE", "ER", "SU"})


def undecodable(message: Message) -> Finding | None:
    """Of a message that is not as MSH-18 says, for a strict channel; None where there is no doubt (hl7.md item 60).

    UTF-8, and Windows characters in 8859/1, are certain enough without being declared: those are read, with a warning.
    """
    for notice in message.warnings:
        if notice.location == "MSH-18" and notice.hl7_code:
            return Finding("E272", "error", f"refused: {notice.text}", notice.location, notice.hl7_code)
    return None


def id_used_again(seq: int | None = None) -> Finding:
    """Of a message whose control id its sender used before with other content; `seq` is the earlier message's."""
    which = f" (message {seq})" if seq is not None else ""
    text = f"MSH-10 was used before by this sender with other content{which}; processed"
    return Finding("E232", "warning", text, "MSH-10")
