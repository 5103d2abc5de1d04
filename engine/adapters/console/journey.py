"""A message's way on one line of time: received, decided, answered, each attempt at each delivery, and the end.

It is made of what is stored: the store has no time of its own for the decision and the answer of a message whose
channel answers once it is stored or processed, as both are in the transaction that stored it, so they have none here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.adapters.console.shown import KINDS, WORDS
from engine.ports.store import StoredAttempt, StoredDelivery, StoredMessage

Kind = Literal["received", "decided", "answered", "queued", "attempt", "done", "waits"]


@dataclass(slots=True, frozen=True)
class Event:
    """`at_us` 0: its time is not stored. `after_us`: since the message was received; None where that is not known.

    `text` is of the engine (notes and codes), never a value.
    """

    kind: Kind
    title: str
    at_us: int
    after_us: int | None
    text: str = ""
    destination: str = ""
    look: str = "quiet"


def journey(
    message: StoredMessage, deliveries: Sequence[StoredDelivery], attempts: Sequence[StoredAttempt]
) -> list[Event]:
    """The events, in order; those without a time stand where they belong."""
    start = message.received_at_us
    where = f"by channel {message.channel}" + (f", at {message.peer}" if message.peer else "")
    found = [Event("received", "Received", start, 0, where)]
    word = WORDS.get(message.state, message.state)
    if message.state == "received":
        found.append(Event("decided", "Not decided yet", 0, None, "its channel's steps have not run"))
    else:
        said = f"by version {message.version} of the channel"
        found.append(Event("decided", f"Decided: {word}", 0, None, said, look=KINDS[message.state]))
    if message.ack_code:
        look = "ok" if message.ack_code in ("AA", "CA") else "bad"
        said = "once it was durable" if look == "ok" else "the sender was told to keep it"
        found.append(Event("answered", f"Answered {message.ack_code}", 0, None, said, look=look))
    elif message.state != "received":
        found.append(
            Event("answered", "No answer is on record", 0, None, "the sender waits for none, or for a receiver's")
        )
    timed: list[Event] = []
    last: list[Event] = []
    for one in deliveries:
        for attempt in attempts:
            if attempt.delivery_id == one.id:
                timed.append(_attempt(one, attempt, start))
        (timed if one.done_at_us else last).append(_end(one, start))
    timed.sort(key=lambda event: event.at_us)
    return [*found, *timed, *last]


def _attempt(one: StoredDelivery, attempt: StoredAttempt, start: int) -> Event:
    text = " ".join(part for part in (attempt.code, attempt.note) if part)
    title = f"Attempt {attempt.number} did not end it"
    return Event("attempt", title, attempt.at_us, attempt.at_us - start, text, str(one.destination), "warn")


def _end(one: StoredDelivery, start: int) -> Event:
    text = " ".join(part for part in (one.code if one.code != one.state else "", one.note) if part)
    if one.maybe_sent:
        text = f"{text}; it may have been sent before a crash too".lstrip("; ")
    look, word = KINDS[one.state], str(one.state)
    name = str(one.destination)
    if one.state == "queued":
        if one.next_at_us:
            return Event("waits", "Waits for its next attempt", one.next_at_us, None, text, name, "warn")
        return Event("waits", "Queued", 0, None, text or "it waits for its turn", name, look)
    tries = f", attempt {one.attempts}" if one.attempts else ""
    after = one.done_at_us - start if one.done_at_us else None
    return Event("done", f"{word.capitalize()}{tries}", one.done_at_us, after, text, name, look)
