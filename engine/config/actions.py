"""What a destination does when a delivery does not arrive: `on_refused` and its kin, as words or by code.

An action is one of `hold`, `skip`, `stop`, `retry` and `redirect(other)`; a `retry(3)` or `retry(2h)` has a limit of
its own, and `retry(3) then skip` says what follows it. Where the receiver gave a code, each may have its own:

    on_refused: {"204, 205": skip, AE: retry(3), otherwise: hold}

An ERR code goes before an MSA-1 code, and that before `otherwise`, in whatever order they are written.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from engine.config.base import Reading, did_you_mean, nearest
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.node import SourceDict, SourceText, position_of
from engine.config.types import MarkedText
from engine.config.units import parse_duration

WORDS: Final = ("hold", "retry", "skip", "stop", "redirect(x)")
OTHERWISE: Final = "otherwise"
ACK_CODES: Final = ("AE", "AR", "CE", "CR")
CONTENT_CODES: Final = frozenset({"100", "101", "102", "103", "104", "198", "200", "201", "202", "203", "204", "205"})
"""ERR codes that speak of the content, also in an AR or CE: a retry comes to the same end (reliability.md S4)."""

ERR_CODES: Final = CONTENT_CODES | {"199", "206", "207"}
"""Of table 0357, in any version, but for 0: that the message was accepted."""

MOST_ATTEMPTS: Final = 10**9
_END: Final = r"(hold|skip|stop|redirect\(\s*([^()\s]+)\s*\))"
_ACTION: Final = re.compile(rf"(?:retry(?:\(\s*([^()]*?)\s*\))?(?:\s+then\s+{_END})?|{_END})")
_JSON: Final = (
    r"^(hold|skip|stop|retry|redirect\([^()\s]+\)"
    r"|retry\([^()]+\)( then (hold|skip|stop|redirect\([^()\s]+\)))?)$"
)


class ActionText(MarkedText):
    """One action as it stands in the file."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": _JSON,
        "description": "`hold`, `skip`, `stop`, `retry`, `retry(3)`, `retry(2h) then skip`, `redirect(x)`",
        "x-suggest": "action",
    }

    def check(self) -> None:
        """Of the grammar, and a limit that can be reached."""
        found = _ACTION.fullmatch(self)
        if found is None:
            raise BadValue(f"'{self.shown}' is no action", self._hint(), code="E105")
        limit, then = found[1], found[2]
        if limit is not None:
            self._check_limit(limit, found.start(1))
        elif then is not None:
            raise BadValue(
                "has nothing that 'then' can follow", f"give the retry a limit: retry(3) then {then}", code="E105"
            )

    def _hint(self) -> str:
        if re.match(r"redirect\b", self):
            return "name the destination: redirect(other)"
        if found := re.match(r"(?:to|forward|send)\b[\s(:]*([a-z0-9-]+)\)?$", self):
            return f"did you mean redirect({found[1]})?"
        if re.match(r"retry\b.*\bthen\b", self):
            return "after then stands hold, skip, stop or redirect(x)"
        close = nearest(self.partition("(")[0].strip(), ("hold", "retry", "skip", "stop", "redirect"))
        return (f"did you mean '{close}'? " if close else "") + f"allowed: {', '.join(WORDS)}"

    def _check_limit(self, limit: str, offset: int) -> None:
        if limit.isascii() and limit.isdigit():
            if 0 < int(limit) < MOST_ATTEMPTS:
                return
        elif limit[:1].isdigit():
            try:
                if parse_duration(limit) > 0:
                    return
            except BadValue as bad:
                raise BadValue(bad.message, bad.hint, code=bad.code, offset=offset, length=len(limit)) from None
        raise BadValue(
            f"'{limit}' is not a limit",
            "write a number of attempts, or a time such as 2h",
            code="E106",
            offset=offset,
            length=len(limit) or 1,
        )

    @property
    def kind(self) -> str:
        """`hold`, `skip`, `stop`, `retry` or `redirect`."""
        return re.split(r"[(\s]", self, maxsplit=1)[0]

    @property
    def then(self) -> str:
        """What follows the limit of a retry: `hold` where nothing is said."""
        found = _ACTION.fullmatch(self)
        return found[2].partition("(")[0] if found is not None and found[2] else "hold"

    @property
    def limit_attempts(self) -> int | None:
        """How many attempts at most; None where no number is given."""
        limit = self._limit
        return int(limit) if limit.isdigit() else None

    @property
    def limit_s(self) -> float | None:
        """Seconds since the first attempt; None where no time is given."""
        limit = self._limit
        return parse_duration(limit) if limit and not limit.isdigit() else None

    @property
    def _limit(self) -> str:
        found = _ACTION.fullmatch(self)
        return (found[1] or "") if found is not None else ""

    @property
    def destination(self) -> str:
        """Where it sends messages to in the end; '' for nowhere."""
        found = _ACTION.fullmatch(self)
        return (found[3] or found[5] or "") if found is not None else ""

    @property
    def destination_column(self) -> int:
        """Where in the text the destination's name begins."""
        found = _ACTION.fullmatch(self)
        if found is None:
            return 0
        return max(0, found.start(3), found.start(5))


class NoRetryText(ActionText):
    """An action where a retry would come to the same end."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": r"^(hold|skip|stop|redirect\([^()\s]+\))$",
        "description": "`hold`, `skip`, `stop`, `redirect(x)`",
    }

    def check(self) -> None:
        """Not a retry."""
        super().check()
        if self.kind == "retry":
            raise BadValue("cannot be retry: the message cannot go this way", "take hold, skip or redirect(x)")


@dataclass(slots=True, frozen=True)
class Rules:
    """Actions by the receiver's code. `otherwise` None: as where nothing is said."""

    by_code: Mapping[str, ActionText] = field(default_factory=dict)
    otherwise: ActionText | None = None

    @property
    def actions(self) -> tuple[ActionText, ...]:
        """All of them, each once for every code."""
        return (*self.by_code.values(), *((self.otherwise,) if self.otherwise is not None else ()))

    def __str__(self) -> str:
        if not self.by_code:
            return str(self.otherwise or "")
        return ", ".join([f"{code}: {action}" for code, action in self.by_code.items()])


JSON_SCHEMA: Final[dict[str, Any]] = {
    "description": "an action, or actions by code: `{204: skip, AE: retry(3), otherwise: hold}`",
    "anyOf": [
        {"type": "string", "pattern": _JSON, "x-suggest": "action"},
        {"type": "object", "additionalProperties": {"type": "string", "pattern": _JSON, "x-suggest": "action"}},
    ],
}


@dataclass(slots=True, frozen=True)
class _ByCode:
    """Reads Rules. `known`: MSA-1 codes that come here. `elsewhere`: of a code that never does, the key it goes by."""

    known: tuple[str, ...]
    elsewhere: Mapping[str, str]
    json_schema = JSON_SCHEMA

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.json_schema)

    def _read(self, value: object, info: ValidationInfo) -> Rules:
        if isinstance(value, Rules):
            return value
        if isinstance(value, str):
            return Rules(otherwise=ActionText._read(value, info))
        reading = info.context
        if not isinstance(value, SourceDict) or not isinstance(reading, Reading):
            raise BadValue("must be an action, or actions by code", "such as {204: skip, otherwise: hold}", code="E104")
        if not value:
            raise BadValue("is empty", "such as {204: skip, otherwise: hold}", code="E106")
        by_code: dict[str, ActionText] = {}
        otherwise: ActionText | None = None
        for key, text in value.items():
            action = self._action(key, text, info, reading)
            if key == OTHERWISE:
                otherwise = action
                continue
            for code, place in self._codes(key, reading):
                if code in by_code:
                    reading.findings.append(at(place, "E109", f"'{code}' has an action already", "leave one of them"))
                elif action is not None:
                    by_code[code] = action
        return Rules(by_code, otherwise)

    def _action(self, key: SourceText, text: object, info: ValidationInfo, reading: Reading) -> ActionText | None:
        place = position_of(text) or _place(key, reading)
        try:
            return ActionText._read(text, info)
        except BadValue as bad:
            if isinstance(text, SourceText):
                place = text.position(bad.offset, bad.length) or place
            subject = f"'{key.shown}' " if bad.message.startswith(("has ", "must ", "is ", "cannot ")) else ""
            reading.findings.append(at(place, bad.code, subject + bad.message, bad.hint))
            return None

    def _codes(self, key: SourceText, reading: Reading) -> Iterator[tuple[str, Position]]:
        """The codes of one key, with their places; what is none is a finding."""
        for found in re.finditer(r"[^,]+", key):
            code = found[0].strip()
            offset = found.start() + len(found[0]) - len(found[0].lstrip())
            place = key.position(offset, len(code)) or _place(key, reading)
            finding = self._wrong(code, place) or _unknown(code, place)
            if finding is not None:
                reading.findings.append(finding)
            if finding is None or not finding.is_error:
                yield code.removeprefix("ERR ").strip(), place

    def _wrong(self, code: str, place: Position) -> ConfigFinding | None:
        if code in ("AA", "CA"):
            return at(place, "E105", f"'{code}' says that the message arrived", "it needs no action")
        if code in self.elsewhere:
            return at(place, "E105", f"{code} does not come here", f"write it under {self.elsewhere[code]}")
        if code in self.known or re.fullmatch(r"ERR \S{1,20}|[0-9]{3}", code):
            return None
        if code.upper() in (*self.known, *self.elsewhere):
            return at(place, "E105", f"'{code}' is no code", f"did you mean {code.upper()}?")
        close = did_you_mean(code, (*self.known, OTHERWISE))
        hint = (
            close
            if close.startswith("did")
            else "write AE, 204, 'ERR X' for a code of the receiver's own, or otherwise"
        )
        return at(place, "E105", f"'{code}' is no code", hint)


def _unknown(code: str, place: Position) -> ConfigFinding | None:
    """Of a number that is in no table, and is not said to be the receiver's own."""
    if not code.isdigit() or code in ERR_CODES:
        return None
    close = nearest(code, ERR_CODES)
    hint = (f"did you mean {close}? " if close else "") + f"'ERR {code}' is a code of the receiver's own"
    return at(place, "W105", f"{code} is no code of table 0357", hint)


def _place(key: SourceText, reading: Reading) -> Position:
    return key.position() or Position(reading.file, 1, 1)


REJECTED_ELSEWHERE: Final = {
    "AE": "on_refused",
    "CR": "on_refused",
    **dict.fromkeys(sorted(CONTENT_CODES), "on_refused"),
}

RefusedRules = Annotated[Rules, _ByCode(ACK_CODES, {})]
"""Of AE and CR, and of AR and CE whose ERR speaks of the content."""

RejectedRules = Annotated[Rules, _ByCode(("AR", "CE"), REJECTED_ELSEWHERE)]
"""Of the other AR and CE."""


def one(text: str) -> Rules:
    """The same action for every code."""
    return Rules(otherwise=ActionText(text))
