"""Texts with a meaning, for the fields of any step's or sink's model.

Each is a string that remembers its place in the file. Wherever they stand in a model, `engine.config.checks`
checks them: it compiles what can be compiled and looks for the files that are named.
"""

import re
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from engine.config.base import Reading
from engine.config.finding import BadValue
from engine.config.node import SourceText


class MarkedText(SourceText):
    """The base of the meanings below. `check` raises BadValue for a text that can never have this meaning."""

    __slots__ = ()
    json_schema: ClassVar[dict[str, Any]] = {"type": "string"}

    def check(self) -> None:
        """What can be said of the text alone."""
        if not self.strip():
            raise BadValue("is empty", code="E107")

    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, SourceText):
            made = cls(value, value.scalar, value.pieces, is_secret=value.is_secret, is_broken=value.is_broken)
        elif isinstance(value, str):
            made = cls(value)
        else:
            raise BadValue("must be a text", code="E104")
        if not made.is_broken:
            made.check()
            if isinstance(info.context, Reading):
                info.context.texts.append((made, info.context.focus))
        return made

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._read)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(cls.json_schema)


class ConditionText(MarkedText):
    """An expression that is true or false: `PV1-2 in ["I", "O"]`."""

    __slots__ = ()
    json_schema = {"type": "string", "description": 'A condition, such as PV1-2 in ["I", "O"]'}  # noqa: RUF012


class ExpressionText(MarkedText):
    """An expression that gives a text: `PID-3.1`, `upper(PV1-3.1)`. No `=` before it, as it can be nothing else."""

    __slots__ = ()
    json_schema = {"type": "string", "description": "An expression, such as PID-3.1"}  # noqa: RUF012


class ValueText(MarkedText):
    """Text as it stands, or an expression after `=`."""

    __slots__ = ()
    json_schema = {"type": "string", "description": "Text as it stands, or an expression after ="}  # noqa: RUF012

    def check(self) -> None:
        """Anything is a text, also nothing; a lone `=` is not an expression."""
        if self.is_expression and not self.expression.strip():
            raise BadValue("has nothing after =", 'to write an equals sign: ="="', code="E130")

    @property
    def is_expression(self) -> bool:
        return self.startswith("=")

    @property
    def expression(self) -> str:
        """The text after `=`; its characters stand one further in the file."""
        return self[1:]


class PathText(MarkedText):
    """An HL7 path as the standard writes it: `PID-3[2].1`, `OBX[3.1 == "718-7"]-5`, `NTE`."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "description": "An HL7 path, such as PID-3.1 or NTE",
        "x-suggest": "path",
    }


class SegmentText(MarkedText):
    """The name of a segment. A step whose own argument it is puts that segment in focus for what stands below."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": "^[A-Z][A-Z0-9]{2}$",
        "description": "A segment: OBX",
        "x-suggest": "segment",
    }

    def check(self) -> None:
        """Three characters, as the standard has it."""
        if not re.fullmatch(r"[A-Z][A-Z0-9]{2}", self):
            hint = f"did you mean {self.upper()}?" if re.fullmatch(r"[A-Za-z][A-Za-z0-9]{2}", self) else ""
            raise BadValue(f"'{self.shown}' is not the name of a segment", hint or "such as OBX or ZDS", code="E131")


class TablePath(MarkedText):
    """A code table: a CSV file, relative to the channel's folder. It is part of the channel's version."""

    __slots__ = ()
    json_schema = {"type": "string", "pattern": r"\.csv$", "description": "A CSV file in this folder"}  # noqa: RUF012

    def check(self) -> None:
        """A relative path to a .csv file."""
        if not self.endswith(".csv"):
            hint = "name a file such as tables/wards.csv; a list of values stands in brackets: [A, B]"
            raise BadValue(f"'{self.shown}' is not a .csv file", hint, code="E132")


class ProfileText(MarkedText):
    """A profile's YAML file, relative to the channel's folder and part of its version; or the word standard."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": r"^(standard|.+\.ya?ml)$",
        "description": "The YAML file of a profile, or standard",
    }

    def check(self) -> None:
        """`standard`, or a YAML file."""
        if not (self.is_standard or self.endswith((".yaml", ".yml"))):
            hint = "such as profiles/orders.yaml, or standard"
            raise BadValue(f"'{self.shown}' is not a profile", hint, code="E132")

    @property
    def is_standard(self) -> bool:
        """Whether the standard alone is meant."""
        return self == "standard"


class FunctionText(MarkedText):
    """A function of a Python file in the channel's folder: `steps.py:split`. It is part of the channel's version."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": r"^[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*$",
        "description": "A function of a Python file in this folder, such as steps.py:split",
    }

    def check(self) -> None:
        """`file.py:function`."""
        if not re.fullmatch(r"[^:]+\.py:[A-Za-z_]\w*", self):
            raise BadValue(f"'{self.shown}' does not name a function", "write file.py:function", code="E134")

    @property
    def file(self) -> str:
        return self.rpartition(":")[0]

    @property
    def function(self) -> str:
        return self.rpartition(":")[2]


class FileText(MarkedText):
    """A file that must be there, relative to the channel's folder: a certificate, a key. Never part of a version."""

    __slots__ = ()
    json_schema = {"type": "string", "description": "A file, relative to this folder"}  # noqa: RUF012


class FolderText(MarkedText):
    """A folder, relative to the site's folder. The engine makes it where it can."""

    __slots__ = ()
    json_schema = {"type": "string", "description": "A folder, relative to the site"}  # noqa: RUF012


class DestinationText(MarkedText):
    """The name of a destination of the same channel."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "description": "The name of a destination below",
        "x-suggest": "destination",
    }
