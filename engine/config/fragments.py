"""What a channel does with segments and messages that come in parts, and a port with batches."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from engine.config.base import ConfigModel
from engine.config.finding import BadValue
from engine.config.units import Duration, Size


class Batches(ConfigModel):
    """How blocks that hold several messages are taken and answered. Each message is stored and answered for itself."""

    answer: Literal["all", "errors", "report"] = Field(
        default="all",
        description="A batch with FHS or BHS gets a batch of all answers, of those that refuse, or counts only",
    )
    without_header: Literal["each", "one"] = Field(
        default="each",
        description="Several messages without FHS and BHS get an answer each, or one: the first no, else the first yes",
    )
    count: Literal["warn", "reject"] = Field(
        default="warn", description="What a BTS-1 or FTS-1 that is not true does to the messages it counts"
    )


class Continuation(ConfigModel):
    """Messages in fragments (DSC, MSH-14) are joined. What is unfinished is kept on disk, within these bounds."""

    timeout: Duration = Field(
        default=600.0, ge=1, le=7 * 86400, description="How long the next fragment may take; then what came is held"
    )
    max_message: Size = Field(
        default=64 * 1024**2, ge=1024, le=1024**3, description="All fragments of one message together"
    )
    most_fragments: int = Field(default=1000, ge=2, le=100_000, description="Fragments of one message")
    unfinished: int = Field(default=16, ge=1, le=10_000, description="Unfinished messages of one sender at a time")
    unknown: Literal["reject", "hold"] = Field(
        default="reject",
        description="A fragment that goes on with no unfinished message: its sender keeps it, or we do",
    )
    answers: Literal["first", "last"] = Field(
        default="first", description="Whose MSH-10 the answer to the whole message has: the first fragment's, as in HL7"
    )


def _continuation(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value == "keep":
        return None
    if value == "join":
        return Continuation()
    raise BadValue("must be keep, join, or have bounds", "such as dsc: join or dsc: {timeout: 10m}", code="E105")


ContinuationField = Annotated[
    Continuation | None,
    BeforeValidator(_continuation),
    WithJsonSchema(
        {
            "description": "`keep`, `join`, or bounds",
            "anyOf": [{"type": "string", "enum": ["keep", "join"]}, Continuation.model_json_schema()],
        }
    ),
]


class Fragments(ConfigModel):
    """Segments continued with ADD and messages continued with DSC: joined before the steps, or kept as they come."""

    add: Literal["keep", "join"] = Field(default="keep", description="Segments that go on in ADD segments")
    dsc: ContinuationField = Field(
        default=None, description="Messages that go on in later messages: keep, join, or bounds"
    )
