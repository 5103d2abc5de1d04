"""Where a text that somebody is editing is tried on a message, away from the engine: no socket, no store, no file.

What comes back was made by another process, in which code of the site may have run: it is read strictly, and each
part of it has a bound. It holds values of messages: for the page of whom may see them, and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MOST_SAMPLE: Final = 256 * 1024
"""Bytes of a message that is tried: larger ones are for `segmill try`."""
MOST_VALUE: Final = 4_000
MOST_BODY: Final = 512 * 1024
MOST_ROWS: Final = 2_000

Short = Annotated[str, StringConstraints(max_length=MOST_VALUE + 100)]
Body = Annotated[str, StringConstraints(max_length=MOST_BODY + 100)]
Number = Annotated[int, Field(ge=0, le=1 << 31)]


class Read(BaseModel):
    """A part of what the other process says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Problem(Read):
    """What is wrong in a file, as `segmill check` says it."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Z][0-9]{3}$")]
    file: Short
    line: Number
    column: Number
    length: Number
    message: Short
    hint: Short

    @property
    def is_error(self) -> bool:
        return self.code.startswith("E")


class FindingTold(Read):
    """A finding about the message."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Z][0-9]{3}$")]
    severity: Literal["error", "warning", "information"]
    text: Short
    location: Short


class Seen(Read):
    """What a condition asked for, and what stood there."""

    text: Short
    values: list[Short] = Field(max_length=MOST_ROWS)


class Condition(Read):
    source: Short
    outcome: bool
    seen: list[Seen] = Field(max_length=MOST_ROWS)


class LookedUp(Read):
    """`row`: the line in the table's file; None for a miss."""

    path: Short
    table: Short
    key: Short
    row: Number | None


class Changed(Read):
    """One place before and after; None: not there."""

    path: Short
    before: Short | None
    after: Short | None


class StepTold(Read):
    """One step; `depth` is more than 0 inside of an `each`. `microseconds` None: nested, or skipped."""

    label: Short
    depth: Number
    outcome: Literal["done", "skipped", "filtered", "held", "rejected"]
    microseconds: float | None
    conditions: list[Condition] = Field(max_length=MOST_ROWS)
    lookups: list[LookedUp] = Field(max_length=MOST_ROWS)
    changes: list[Changed] = Field(max_length=MOST_ROWS)
    findings: list[FindingTold] = Field(max_length=MOST_ROWS)


class RouteTold(Read):
    """`taken` None: the message did not come that far."""

    to: Short
    taken: bool | None
    condition: Condition | None


class Output(Read):
    """What would go out, as text with its segments on lines of their own. `is_same`: as it came in."""

    to: list[Short] = Field(max_length=MOST_ROWS)
    text: Body
    size_bytes: Number
    is_same: bool


class Message(Read):
    """A message's way through the channel."""

    state: Literal["processed", "filtered", "waiting", "held", "rejected"]
    answer: Short
    type: Short
    control_id: Short
    codec: Short
    findings: list[FindingTold] = Field(max_length=MOST_ROWS)
    steps: list[StepTold] = Field(max_length=MOST_ROWS)
    not_reached: list[Short] = Field(max_length=MOST_ROWS)
    routes: list[RouteTold] = Field(max_length=MOST_ROWS)
    acks: list[Body] = Field(max_length=MOST_ROWS)
    app_ack: Body
    outputs: list[Output] = Field(max_length=MOST_ROWS)
    left_out: Number = 0
    """Steps, changes and lookups beyond what is shown."""


class Tried(Read):
    """What came of a text. `message` None: the text has errors, or there was no sample. `ended`: why the process was
    lost over it, or ''. `stood_in`: references whose value stays with the engine."""

    problems: list[Problem] = Field(default=[], max_length=MOST_ROWS)
    message: Message | None = None
    stood_in: list[Short] = Field(default=[], max_length=MOST_ROWS)
    ended: Short = ""


class Stepped(Read):
    """The steps of a message that was taken before, with the files of that time. `state` '': it did not come to an end,
    and `ended` or `problems` say why. `left_out` and `stood_in` are as above."""

    problems: list[Problem] = Field(default=[], max_length=MOST_ROWS)
    state: Literal["processed", "filtered", "held", "rejected", ""] = ""
    steps: list[StepTold] = Field(default=[], max_length=MOST_ROWS)
    not_reached: list[Short] = Field(default=[], max_length=MOST_ROWS)
    routes: list[RouteTold] = Field(default=[], max_length=MOST_ROWS)
    left_out: Number = 0
    stood_in: list[Short] = Field(default=[], max_length=MOST_ROWS)
    ended: Short = ""


class DifferenceTold(Read):
    """One thing that is not as the case says."""

    file: Short
    number: Number
    path: Short
    expected: Short
    actual: Short


class CaseTried(Read):
    """What came of a case. `files`: what its files would have to be; `sample`: the message that it was made of."""

    problems: list[Problem] = Field(default=[], max_length=MOST_ROWS)
    states: list[Short] = Field(default=[], max_length=MOST_ROWS)
    differences: list[DifferenceTold] = Field(default=[], max_length=MOST_ROWS)
    more: Number = 0
    files: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,120}$")], Body] = Field(
        default={}, max_length=200
    )
    ended: Short = ""

    @property
    def is_good(self) -> bool:
        return not (self.problems or self.differences or self.ended)


@dataclass(slots=True, frozen=True)
class Source:
    """A channel's files but its channel.yaml, by path in its folder, as they are on disk. `known`: what its `${...}`
    stand for, without secrets."""

    channel: str
    files: Mapping[str, bytes] = field(repr=False)
    known: Mapping[str, str] = field(repr=False)

    @property
    def has_own_code(self) -> bool:
        return any(path.endswith(".py") for path in self.files)


class BenchBusy(Exception):
    """Too many try something at this moment."""


class Bench(Protocol):
    """Tries texts. From any loop or thread; each call is bounded in time."""

    async def tried(self, source: Source, text: bytes, sample: bytes, now: datetime) -> Tried:
        """What `text` as the channel's file makes of a message. Raises BenchBusy."""
        ...

    async def stepped(self, source: Source, text: bytes, raw: bytes, received_at: datetime) -> Stepped:
        """The steps and routes of a stored message, with `source` and `text` of a recorded version. Nothing is asked
        of it that intake asks. Raises BenchBusy."""
        ...

    async def cased(self, source: Source, text: bytes, files: Mapping[str, bytes]) -> CaseTried:
        """Runs a case. Raises BenchBusy."""
        ...

    async def case_of(self, source: Source, text: bytes, sample: bytes, key: bytes) -> CaseTried:
        """The files of a new case: the message, with pseudonyms made by `key` unless that is empty, and what comes of
        it. Raises BenchBusy."""
        ...

    def warm(self, source: Source) -> None:
        """Somebody is about to try: have a process ready."""
        ...

    def close(self) -> None:
        """End all processes."""
        ...
