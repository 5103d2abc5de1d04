"""How long what was received is kept: for the site, and for one channel in its place."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from engine.config.base import ConfigModel
from engine.config.finding import BadValue
from engine.config.units import Duration, Size, parse_duration

LEAST_S = 3600.0


def _age(value: Any) -> Any:
    if value == "keep":
        return None
    return parse_duration(value) if isinstance(value, str) else value


Age = Annotated[
    Annotated[Duration, Field(ge=LEAST_S)] | None,
    BeforeValidator(_age),
    WithJsonSchema({"type": "string", "description": "An age with its unit, such as 30d, or keep"}),
]
"""Seconds, or None for ever."""


class Retention(ConfigModel):
    """Bytes go before what is known about them; what waits, or is held for a person, never goes by its age."""

    bodies: Age = Field(
        default=None, description="How long the bytes of messages, of what was sent and of receivers' answers are kept"
    )
    messages: Age = Field(
        default=None, description="How long it is known that a message came, and what became of it; then all of it goes"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "Retention":
        if self.messages is not None and self.bodies is not None and self.bodies > self.messages:
            raise BadValue(
                "keeps bytes longer than the messages they belong to", "make messages at least as long", code="E107"
            )
        return self


class WorklistRetention(ConfigModel):
    """How long scheduled steps stay on the worklists, with their histories."""

    ended: Age = Field(
        default=None, description="Steps that were completed, discontinued or cancelled: since their last change"
    )
    open: Age = Field(
        default=None, description="Steps that nobody ended: since their start; where no scanner says what it did"
    )


class SiteRetention(Retention):
    """For all channels that say nothing themselves."""

    size: Size = Field(
        default=0,
        ge=0,
        description="When the store holds more, the oldest finished messages lose their bytes; 0: no such bound",
    )
    worklist: WorklistRetention = Field(default_factory=WorklistRetention, description="Steps on the worklists")
