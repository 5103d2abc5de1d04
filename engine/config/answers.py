"""What a channel's `ack` says of answers that do not simply follow the commit: after a delivery, or elsewhere."""

import re
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from engine.config.base import ConfigModel, Reading, did_you_mean
from engine.config.entries import DeliveryPolicy, part
from engine.config.finding import BadValue, at
from engine.config.node import SourceDict
from engine.config.reading import validate
from engine.config.types import MarkedText
from engine.model.ids import DestinationName

_DELIVERED = re.compile(r"delivered\(\s*([^()\s]+)\s*\)")


class AckWhen(MarkedText):
    """`processed`, `stored`, or `delivered(x)` with a destination of the same channel."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": r"^(processed|stored|delivered\([^()\s]+\))$",
        "description": "processed, stored, or delivered(x) with a destination below",
        "x-suggest": "answer",
    }

    def check(self) -> None:
        """One of the words, or a destination in parentheses."""
        if self in ("processed", "stored") or _DELIVERED.fullmatch(self):
            return
        hint = did_you_mean(self, ("processed", "stored")) if self else ""
        if self.startswith("delivered"):
            hint = "name the destination: delivered(ris)"
        elif not hint.startswith("did you"):
            hint = "allowed: processed, stored, delivered(x)"
        raise BadValue(f"'when' cannot be '{self.shown}'", hint, code="E105")

    @property
    def destination(self) -> DestinationName:
        """Whose answer is waited for; '' where none is."""
        found = _DELIVERED.fullmatch(self)
        return DestinationName(found[1] if found else "")

    @property
    def destination_column(self) -> int:
        """Where in the text the destination's name begins."""
        found = _DELIVERED.fullmatch(self)
        return found.start(1) if found else 0


class ConnectBackCommon(ConfigModel):
    """What stands under `connect_back` beside the keys of an mllp destination and those of every destination."""

    accept_ack: Literal["AL", "NE"] = Field(
        default="AL", description="MSH-15 of what is sent: AL waits for CA and tries again without it, NE does not"
    )


@dataclass(slots=True, frozen=True)
class ConnectBack:
    """Where application acknowledgements go: a destination of its own, as its sink and lane want it."""

    options: ConfigModel
    policy: DeliveryPolicy
    accept_ack: Literal["AL", "NE"]

    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> "Self | None":
        if isinstance(value, cls):
            return value
        reading = info.context
        if not isinstance(reading, Reading) or not isinstance(value, SourceDict):
            raise BadValue("must say where to connect", "such as {host: his.local, port: 2580}", code="E104")
        if "mllp" not in reading.kinds.sinks:
            raise BadValue("needs the mllp destination, which is not installed", code="E103")
        own, around = part(value, {*DeliveryPolicy.known_keys(), "accept_ack"})
        policy_part, common_part = part(around, {"accept_ack"})
        policy = validate(policy_part, DeliveryPolicy, reading)
        common = validate(common_part, ConnectBackCommon, reading)
        for name in ("order_by", "lanes", "priority"):
            if (key := around.key(name)) is not None:
                place = key.position() or value.node.position
                reading.findings.append(at(place, "E101", f"unknown key '{name}'", "answers go in one order"))
                return None
        if "answer" in own:
            key = own.key("answer")
            place = (key.position() if key is not None else None) or value.node.position
            reading.findings.append(
                at(place, "E101", "unknown key 'answer'", "accept_ack says whether CA is waited for")
            )
            return None
        options = validate(own, reading.kinds.sinks["mllp"].model, reading)
        if options is None or policy is None or common is None:
            return None
        return cls(options, policy, common.accept_ack)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._read)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"x-definition": "ConnectBack"}
