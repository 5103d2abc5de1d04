"""The processes that channels run in apart from the engine's: for own code always, for others where they say so."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from engine.config.base import ConfigModel
from engine.config.finding import BadValue
from engine.config.units import DURATION_PATTERN, SIZE_PATTERN, Duration, Size

StepDeadline = Annotated[Duration, Field(ge=0.05, le=600)]


class Workers(ConfigModel):
    """The processes of channels with python steps or `isolate`, one for each: what one message may take there.

    A message that takes more is tried once more, in a new process, and then held.
    """

    deadline: Duration = Field(default=2.0, ge=0.1, le=3600, description="Processor time")
    timeout: Duration = Field(default=10.0, ge=0.1, le=3600, description="Time by the clock, whatever it waits for")
    memory: Size = Field(
        default=256 * 1024**2, ge=64 * 1024**2, description="Memory, beyond what the process needs by itself"
    )
    output: Size = Field(default=64 * 1000**2, ge=1000, description="Bytes that its deliveries may have together")


_DURATION = WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN})
_SIZE = WithJsonSchema({"type": ["string", "integer"], "pattern": SIZE_PATTERN})
_OwnDuration = Annotated[Annotated[Duration, Field(ge=0.1, le=3600)] | None, _DURATION]
_OwnSize = Annotated[Annotated[Size, Field(ge=64 * 1024**2)] | None, _SIZE]


class Isolate(ConfigModel):
    """The channel's steps run in a process of their own: `process`, or bounds that are its own.

    What is not said here is as in `workers` of segmill.yaml.
    """

    deadline: _OwnDuration = Field(default=None, description="Processor time")
    timeout: _OwnDuration = Field(default=None, description="Time by the clock, whatever it waits for")
    memory: _OwnSize = Field(default=None, description="Memory, beyond what the process needs by itself")
    output: Annotated[Annotated[Size, Field(ge=1000)] | None, _SIZE] = Field(
        default=None, description="Bytes that its deliveries may have together"
    )


def _isolate(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value == "process":
        return Isolate()
    raise BadValue("must be process, or have bounds", "such as isolate: {deadline: 5s}", code="E105")


IsolateField = Annotated[
    Isolate | None,
    BeforeValidator(_isolate),
    WithJsonSchema({"anyOf": [{"const": "process"}, Isolate.model_json_schema()]}),
]
