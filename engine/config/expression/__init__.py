r"""The expression language: conditions and values over one message, for filters, `when`, `set` and names of files.

```text
condition = and-part { "or" and-part }
and-part  = not-part { "and" not-part }
not-part  = "not" not-part | over | "(" condition ")" | value test
over      = ( "any" | "all" ) PATH test                       every occurrence of the path, one by one
          | ( "any" | "all" ) SEGMENT "(" condition ")"       every such segment, one by one
test      = ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) value
          | [ "not" ] "in" "[" literal { "," literal } "]"
          | [ "not" ] "matches" STRING
          | [ "not" ] ( "contains" | "starts" "with" | "ends" "with" ) value
          | "is" [ "not" ] ( "empty" | "null" )
          | [ "not" ] "exists"
value     = STRING | NUMBER | PATH | FUNCTION "(" value { "," value } ")" | "(" value ")"
literal   = STRING | NUMBER
```

Tokens are described in `lexer`, paths in `engine.hl7.path`, functions in `functions.FUNCTIONS`. Keywords are in small
letters. No arithmetic, no names but segments and functions, no attributes, no loops but `any` and `all`, none of them
inside another: there is nothing to escape with, and nothing to hang (ux.md 1.3, reliability.md E2, SEC9).

What things mean
- A path reads its first occurrence, unescaped. Where there is none, and where it is empty, it reads '' : that a
  sender wrote `PID|1||` or `PID|1` is never told apart. NULL, the two characters `""` that ask to delete
  (HL7 v2.5.1 section 2.5.3), is a text like any other: `is null`, not `is empty`.
- `[*]` stands for several values, so it needs `any` or `all` in front.
- `exists` after a segment: the message has one. After any other path: `is not empty`, thus also true for NULL.
- `== != < <= > >=` compare text, character by character. When a side is a number literal, number(..) or
  length(..), they compare numbers: both sides are read as HL7 NM, and where one is none, `!=` is true
  and all others are false. `in` compares with each item by its own kind.
- `matches` is about the whole value: `matches "A.*"`. Its pattern is RE2 and stands in the quotes as it is,
  `"\d+"` with one backslash. `.` is any character. Parts of a value are for `contains`, `starts with`, `ends with`.
- `any PATH test`, `all PATH test`: PATH goes over all segments of its name and all repetitions, unless it selects
  (`OBX[2]-5`, `PID-3[5 == "MR"].1`). An empty or absent field of a segment is one, empty, occurrence: `all OBX-11
  == "F"` is false when an OBX has no OBX-11. Over no occurrence at all, `any` is false and `all` true.
- `any OBX (OBX-2 == "NM" and OBX-8 == "HH")`: inside the brackets `OBX-n` is of the same OBX each time.
- In `each: OBX` (`focus`), `OBX-n` is of the OBX at hand, after `any` and `all` too; `OBX[1]-n` and
  `any OBX (...)` are of the whole message.
- `and` binds tighter than `or`, `not` tighter than both: `not PID-8 == "F" and PV1 exists`.

The text is compiled through Python's own compiler, from syntax nodes that only this package makes; constant parts
are worked out beforehand. `compile_condition` and `compile_value` raise ExpressionError and nothing else.
What they return may raise ValueTooLong, and TooMuchWork of `engine.hl7.errors`, and nothing else.
"""

from engine.config.expression.compile import Condition, Value, compile_condition, compile_value
from engine.config.expression.errors import ExpressionError, ValueTooLong
from engine.config.expression.explain import Explained

__all__ = [
    "Condition",
    "Explained",
    "ExpressionError",
    "Value",
    "ValueTooLong",
    "compile_condition",
    "compile_value",
]
