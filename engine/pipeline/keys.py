"""The key and the urgency of each delivery, for destinations that keep order within a key (`order_by`, `priority`).

Both are read off the message as it is routed, in the pipeline, so that a run over the same bytes gives the same; the
store keeps them with the delivery, and nobody reads the message for them again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

from engine.config.expression import Condition, Value, ValueTooLong
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.envelope import DraftDelivery
from engine.model.ids import DestinationName
from engine.pipeline.outputs import CannotRewrite
from engine.pipeline.run import Result, failed

MOST_KEY_CHARS = 200
KEPT_KEY_CHARS = 160


class Keying(NamedTuple):
    """What a destination says: the key's expression, and the condition that makes a message urgent."""

    key: Value
    urgent: Condition | None


Keyings = Mapping[DestinationName, Keying]
"""Of the destinations that have a key; the others keep one order over all."""


def with_keys(message: Message, result: Result, keyings: Keyings) -> Result:
    """The same deliveries with their keys; held with all of them where one cannot be worked out."""
    made: list[DraftDelivery] = []
    for draft in result.deliveries:
        keying = keyings.get(draft.destination)
        if keying is None:
            made.append(draft)
            continue
        try:
            key = key_of(keying.key(message))
            urgent = keying.urgent is not None and keying.urgent(message)
        except ValueTooLong as error:
            stop = failed(f"order of {draft.destination}", error)
            return Result(stop.kind, [], (*result.findings, *stop.findings))
        made.append(replace(draft, key=key, urgent=urgent))
    return replace(result, deliveries=made)


def key_again(body: bytes, fallback: str, before: DestinationName, keying: Keying) -> tuple[str, bool]:
    """Key and urgency of what takes over from a delivery to `before`, read off its bytes. Raises CannotRewrite."""
    try:
        message = Message.parse(body, fallback=fallback)
        return key_of(keying.key(message)), keying.urgent is not None and keying.urgent(message)
    except UnreadableMessage:
        raise CannotRewrite(f"what {before} was to get is no HL7, so no key can be read off it") from None
    except ValueTooLong:
        raise CannotRewrite("its key is too long") from None


def key_of(value: str) -> str:
    """The key that a value is stored as: the value, but what no store can hold is escaped, and a long one is cut.

    Of a value longer than MOST_KEY_CHARS the beginning and a digest of the whole are kept, so that two that differ
    anywhere are still two.
    """
    text = value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
    if len(text) <= MOST_KEY_CHARS:
        return text
    return f"{text[:KEPT_KEY_CHARS]}#{blake2b(text.encode(), digest_size=16).hexdigest()}"


def keyings_of(said: Sequence[tuple[str, Value | None, Condition | None]]) -> Keyings:
    """By destination, of those that have a key."""
    return {DestinationName(name): Keying(key, urgent) for name, key, urgent in said if key is not None}
