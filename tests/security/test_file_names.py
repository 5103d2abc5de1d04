"""A hundred thousand values of messages as file names: none leads out of its folder, no two become one (SEC5)."""

import random
import re
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath

import pytest

from engine.adapters.sinks.names import MAX_NAME, compile_name, safe_value
from engine.hl7.message import Message
from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq

PIECES = (
    *("..", ".", "/", "\\", "~", "-", " ", "\0", "\n", "\t", "%2e%2e%2f", "..%c0%af", "${HOME}", "$(id)", "`id`", "*"),
    *("CON", "NUL", "aux", "COM1", "LPT9", "etc", "passwd", "C:", "\u2024", "\u2025", "\uff0e", "\uff0f", "\u202e"),
    *(
        "A",
        "b",
        "9",
        "_",
        "x" * 80,
        "é",
        "ß",
        "日本",
        "\U0001f600",
        "\u0301",
        "\x7f",
        "\x1b[2J",
        ":",
        "|",
        "<",
        ">",
        '"',
    ),
)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
RAW = b"MSH|^~\\&|A|B|C|D|20260102||ADT^A01|1|P|2.5.1\rPID|1||%s\r"


def values(seed: int) -> Iterator[str]:
    made = random.Random(seed)
    while True:
        yield "".join(made.choice(PIECES) for _ in range(made.randrange(8)))


def look_at(count: int, seed: int) -> int:
    """How many different values were looked at."""
    owners: dict[str, str] = {}
    for value, _ in zip(values(seed), range(count), strict=False):
        name = safe_value(value)
        assert NAME.fullmatch(name) and len(name) <= 64, repr(value)
        assert PurePosixPath(name).parts == (name,) and PureWindowsPath(name).parts == (name,), repr(value)
        assert owners.setdefault(name.lower(), value) == value or _differ_in_case_alone(owners[name.lower()], value)
    return len(set(owners.values()))


def _differ_in_case_alone(one: str, other: str) -> bool:
    """On a folder that does not tell cases apart they are one name; the sink never writes over what is there."""
    return one.lower() == other.lower()


def test_a_hundred_thousand_values_stay_in_their_folder_and_apart() -> None:
    assert look_at(100_000, seed=5) > 60_000


@pytest.mark.soak
def test_two_million_values_stay_in_their_folder_and_apart() -> None:
    assert look_at(2_000_000, seed=6) > 1_000_000


def test_what_messages_say_adds_no_folder_to_a_template() -> None:
    template = compile_name('{date(MSH-7, "%Y/%m")}/{PID-3.1}_{PID-3.2}/{MSH-10}.hl7')
    for value, _ in zip(values(7), range(3_000), strict=False):
        field = value.encode("utf-8").replace(b"\r", b"").replace(b"|", b"") or b"X"
        raw = RAW % (field + b"^" + field)
        given = Delivery(DeliveryId(1), MessageSeq(1), ChannelName("a"), DestinationName("b"), raw, 0)
        parts = template.name(Message.parse(raw), given)
        assert len(parts) == 4, repr(value)
        assert all(NAME.fullmatch(part) and len(part) <= MAX_NAME for part in parts), parts
