r"""The part of a Mirth channel's JavaScript that expressions and steps can say; all else raises NotExpressible.

```text
place      ( "msg" | "tmp" ) SEGMENT [ index ] FIELD [ index ] [ COMPONENT [ SUBCOMPONENT ] ]
           msg['PID']['PID.3'][1]['PID.3.4']['PID.3.4.1'] is PID-3[2].4.1
value      place | text | number | variable | value "+" value | value "||" value | value method
method     .toString() .trim() .toUpperCase() .toLowerCase() .substring(a[, b]) .substr(a[, n]) .replace(/x/g, y)
condition  value ( "==" | "!=" | "===" | "!==" ) value | value test
           | "!" condition | condition ( "&&" | "||" ) condition
test       .length > 0, .equals(x) .equalsIgnoreCase(x) .startsWith(x) .endsWith(x) .contains(x) .indexOf(x) != -1
variable   $('x') $c('x') $co('x') channelMap.get('x') connectorMap.get('x'), and those of `var`
```

What differs from JavaScript is refused and not bent: an expression reads the first occurrence where E4X joins
several, which is told in the documentation; everything else means the same here as there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from engine.config.mirth import terms as t
from engine.config.mirth.operators import (
    Measure,
    Node,
    Pattern,
    as_condition,
    as_text,
    as_value,
    compared,
    concatenated,
    method,
    ordered,
    path_of,
    writable,
)
from engine.config.mirth.terms import Condition, Names, NotExpressible, Value
from engine.config.mirth.tokens import Token, pattern_of, tokens, unquoted

_MAPS: Final = {"$c", "$co", "channelMap", "connectorMap"}
_OTHER_MAPS: Final = {
    "$g": "the global map",
    "globalMap": "the global map",
    "$gc": "the global channel map",
    "globalChannelMap": "the global channel map",
    "$s": "the source map",
    "sourceMap": "the source map",
    "$r": "the response map",
    "responseMap": "the response map",
    "$cfg": "the configuration map",
    "configurationMap": "the configuration map",
}
_WORDS: Final = {
    "for": "a loop",
    "while": "a loop",
    "do": "a loop",
    "function": "a function of its own",
    "new": "a new object",
    "try": "try and catch",
    "throw": "an exception",
    "switch": "switch",
    "XML": "XML",
    "Packages": "a Java class",
    "java": "a Java class",
    "importPackage": "a Java class",
    "router": "another channel",
    "VMRouter": "another channel",
    "DatabaseConnectionFactory": "a database",
    "FileUtil": "a file",
    "DateUtil": "the clock or a date",
    "Date": "the clock or a date",
    "destinationSet": "the destination set",
    "JSON": "JSON",
    "SMTPConnectionFactory": "mail",
    "alerts": "an alert",
    "createSegment": "createSegment",
    "createSegmentAfter": "createSegmentAfter",
    "getSegmentsAfter": "getSegmentsAfter",
    "this": "this",
}
MAX_DEPTH: Final = 60


@dataclass(slots=True, frozen=True)
class Write:
    """`msg[..] = value`, where `condition` is true."""

    path: str
    value: Value
    condition: Condition


@dataclass(slots=True, frozen=True)
class Delete:
    """`delete msg[..]`."""

    path: str
    condition: Condition


Action = Write | Delete


@dataclass(slots=True, frozen=True)
class Script:
    """What a transformer's script does to the message; `skipped`: statements that do nothing to it, as logging."""

    actions: tuple[Action, ...]
    skipped: int


class Reader:
    """Reads one text. `focus`: index variables of iterators around it, with the segment each goes over."""

    def __init__(self, source: str, names: Names, focus: Mapping[str, str] | None = None) -> None:
        self._tokens = tokens(source)
        self._at = 0
        self._depth = 0
        self._names = names
        self._focus = dict(focus or {})

    # -- entry

    def value(self) -> Value:
        """The text as a value. Raises NotExpressible."""
        found = as_value(self._or())
        self._end()
        return found

    def condition(self) -> Condition:
        """The text as a condition. Raises NotExpressible."""
        found = as_condition(self._or())
        self._end()
        return found

    def target(self) -> str:
        """The text as a place that is written to. Raises NotExpressible."""
        found = self._place()
        self._end()
        return writable(found)

    def loop(self) -> str:
        """The text as what an iterator goes over: the name of a segment. Raises NotExpressible."""
        found = self._place()
        self._end()
        if not re.fullmatch(r"[A-Z][A-Z0-9]{2}", found):
            raise NotExpressible("an iterator over something else than the segments of a name")
        return found

    def filter_script(self) -> Condition:
        """A filter's script: what it returns. Raises NotExpressible."""
        found = self._returned()
        self._end()
        return found

    def script(self) -> Script:
        """A transformer's script. Raises NotExpressible where one statement of it cannot be said."""
        actions: list[Action] = []
        skipped = 0
        while self._peek.kind != "end":
            skipped += self._statement(actions, t.ALWAYS)
        return Script(tuple(actions), skipped)

    def _end(self) -> None:
        while self._is(";"):
            self._next()
        if self._peek.kind != "end":
            self._refuse()

    # -- statements

    def _statement(self, actions: list[Action], when: Condition) -> int:
        """One statement; returns how many do nothing to the message."""
        self._enter()
        skipped = self._one_statement(actions, when)
        self._depth -= 1
        return skipped

    def _one_statement(self, actions: list[Action], when: Condition) -> int:
        if self._is(";"):
            self._next()
            return 0
        if self._is("{"):
            return self._block(actions, when)
        if self._is("if"):
            return self._if(actions, when)
        if self._is("delete"):
            self._next()
            path = self._place()
            actions.append(Delete(path, when))
            self._names.written.append(t.field_of(path))
            self._semicolon()
            return 0
        if self._is("var", "let", "const"):
            self._declaration(when)
            return 0
        if self._is("logger"):
            self._logging()
            return 1
        if self._peek.text in _MAPS and self._peek.kind == "word":
            self._put(when)
            return 0
        if self._is("return") and when.constant is True:
            self._next()
            self._semicolon()
            if self._peek.kind != "end":
                self._refuse()
            return 0
        self._assignment(actions, when)
        return 0

    def _block(self, actions: list[Action], when: Condition) -> int:
        self._expect("{")
        skipped = 0
        while not self._is("}"):
            skipped += self._statement(actions, when)
        self._next()
        return skipped

    def _if(self, actions: list[Action], when: Condition) -> int:
        self._next()
        self._expect("(")
        condition = as_condition(self._or())
        self._expect(")")
        began, count = len(self._names.written), len(actions)
        skipped = self._statement(actions, t.joined("and", (when, condition)))
        if self._is("else"):
            self._next()
            skipped += self._statement(actions, t.joined("and", (when, t.negated(condition))))
        # Each action becomes a step that asks for itself; what the first one changes must not turn the answer.
        last = len(self._names.written) - (1 if len(actions) > count else 0)
        if changed := t.overlap(condition.reads, self._names.written[began:last]):
            raise NotExpressible(f"an if that changes {changed}, which it asks for, before it is done")
        return skipped

    def _declaration(self, when: Condition) -> None:
        self._next()
        while True:
            name = self._next()
            if name.kind != "word":
                self._refuse(name)
            self._expect("=")
            self._keep(f"var {name.text}", as_value(self._or()), when)
            if not self._is(","):
                break
            self._next()
        self._semicolon()

    def _put(self, when: Condition) -> None:
        which = self._next().text
        if which.endswith("Map"):
            self._expect(".")
            self._expect("put")
        self._expect("(")
        name = self._literal()
        self._expect(",")
        value = as_value(self._or())
        self._expect(")")
        self._semicolon()
        self._keep(name, value, when)

    def _keep(self, name: str, value: Value, when: Condition) -> None:
        if when.constant is not True:
            raise NotExpressible(f"the variable {t.shown(name.removeprefix('var '))} that is put only if")
        self._names.put(name, value)

    def _logging(self) -> None:
        self._next()
        self._expect(".")
        self._next()
        self._expect("(")
        depth = 1
        while depth:
            token = self._next()
            if token.kind == "end":
                self._refuse(token)
            depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "symbol" else 0
        self._semicolon()

    def _assignment(self, actions: list[Action], when: Condition) -> None:
        if self._peek.text in _OTHER_MAPS and self._peek.kind == "word":
            raise NotExpressible(_OTHER_MAPS[self._peek.text])
        if self._peek.kind == "word" and self._peek.text not in ("msg", "tmp"):
            name = self._next()
            if f"var {name.text}" in self._names.known and self._is("="):
                self._next()
                self._keep(f"var {name.text}", as_value(self._or()), when)
                self._semicolon()
                return
            self._refuse(name)
        path = writable(self._place())
        self._expect("=")
        value = as_value(self._or())
        actions.append(Write(path, value, when))
        self._names.written.append(t.field_of(path))
        self._semicolon()

    def _semicolon(self) -> None:
        """A statement's end; JavaScript lets it be left out before a brace and a new statement."""
        if self._is(";"):
            self._next()

    def _returned(self) -> Condition:
        """What a list of statements returns. Each `if` of it goes one deeper."""
        self._enter()
        found = self._returned_here()
        self._depth -= 1
        return found

    def _returned_here(self) -> Condition:
        while self._is(";"):
            self._next()
        if self._is("var", "let", "const"):
            self._declaration(t.ALWAYS)
            return self._returned()
        if self._is("logger"):
            self._logging()
            return self._returned()
        if self._is("if"):
            self._next()
            self._expect("(")
            condition = as_condition(self._or())
            self._expect(")")
            then = self._branch()
            if self._is("else"):
                self._next()
                otherwise = self._branch()
                self._end_of_block()
            else:
                otherwise = self._returned()
            return _chosen(condition, then, otherwise)
        if self._is("return"):
            self._next()
            found = as_condition(self._or())
            self._semicolon()
            return found
        raise self._refused()

    def _branch(self) -> Condition:
        if not self._is("{"):
            return self._returned()
        self._next()
        found = self._returned()
        while self._is(";"):
            self._next()
        self._expect("}")
        return found

    def _end_of_block(self) -> None:
        """Behind an if and else that both return nothing is reached."""
        while self._is(";"):
            self._next()
        if not (self._peek.kind == "end" or self._is("}")):
            self._refuse()

    # -- expressions

    def _or(self) -> Node:
        self._enter()
        found = self._and()
        while self._is("||"):
            self._next()
            other = self._and()
            if isinstance(found, Value) and isinstance(other, Value):
                if found.is_xml or found.is_number:
                    raise NotExpressible("a value with || behind it that is no text: write .toString()")
                found = t.call("coalesce", found, other)
            else:
                found = t.joined("or", (as_condition(found), as_condition(other)))
        self._depth -= 1
        if self._is("?"):
            raise NotExpressible("a choice with ? and :")
        return found

    def _and(self) -> Node:
        found = self._equality()
        while self._is("&&"):
            self._next()
            found = t.joined("and", (as_condition(found), as_condition(self._equality())))
        return found

    def _equality(self) -> Node:
        found = self._relation()
        while self._is("==", "===", "!=", "!=="):
            token = self._next()
            found = compared(found, self._relation(), is_equal=token.text[0] == "=")
        return found

    def _relation(self) -> Node:
        found = self._sum()
        while self._is("<", "<=", ">", ">="):
            token = self._next()
            found = ordered(found, self._sum(), token.text)
        return found

    def _sum(self) -> Node:
        found = self._unary()
        while self._is("+"):
            self._next()
            found = concatenated(as_value(found), as_value(self._unary()))
        if self._is("-", "*", "/", "%", "+=", "-=", "++", "--"):
            raise NotExpressible("arithmetic")
        return found

    def _unary(self) -> Node:
        if self._is("!"):
            self._next()
            self._enter()
            found = t.negated(as_condition(self._unary()))
            self._depth -= 1
            return found
        if self._is("-"):
            self._next()
            token = self._next()
            if token.kind != "number":
                raise NotExpressible("arithmetic")
            return t.number(f"-{token.text}")
        return self._with_methods(self._primary())

    def _primary(self) -> Node:
        token = self._peek
        if token.kind == "text":
            self._next()
            return t.literal(unquoted(token.text))
        if token.kind == "number":
            self._next()
            return t.number(token.text)
        if self._is("("):
            self._next()
            found = self._or()
            self._expect(")")
            return found
        if token.kind != "word":
            self._refuse()
        if token.text in ("msg", "tmp"):
            path = self._place()
            return t.place(path, is_xml=True)
        if token.text in ("true", "false"):
            self._next()
            return t.ALWAYS if token.text == "true" else t.NEVER
        if token.text == "String":
            self._next()
            self._expect("(")
            found = as_value(self._or())
            self._expect(")")
            return as_text(found)
        return self._variable()

    def _variable(self) -> Value:
        token = self._next()
        if token.text in _OTHER_MAPS:
            raise NotExpressible(_OTHER_MAPS[token.text])
        if token.text in _MAPS or token.text == "$":
            if token.text.endswith("Map"):
                self._expect(".")
                self._expect("get")
            self._expect("(")
            name = self._literal()
            self._expect(")")
            return self._names.get(name)
        if f"var {token.text}" in self._names.known:
            return self._names.get(f"var {token.text}")
        raise self._refused(token)

    def _with_methods(self, found: Node) -> Node:
        while self._is("."):
            if not isinstance(found, Value):
                self._refuse()
            self._next()
            name = self._next()
            if name.kind != "word":
                self._refuse(name)
            if name.text == "length":
                if self._is("("):
                    self._next()
                    self._expect(")")
                return Measure(found)
            self._expect("(")
            arguments = self._arguments()
            self._expect(")")
            found = method(found, name.text, arguments)
        return found

    def _arguments(self) -> list[Value | Pattern]:
        found: list[Value | Pattern] = []
        while not self._is(")"):
            if found:
                self._expect(",")
            if self._peek.kind == "pattern":
                found.append(pattern_of(self._next().text))
            else:
                found.append(as_value(self._or()))
        return found

    # -- places

    def _place(self) -> str:
        token = self._next()
        if token.text not in ("msg", "tmp"):
            self._refuse(token)
        steps: list[tuple[str, str]] = []
        while self._is("[") or self._is_segment_behind_a_dot():
            if self._next().text == ".":
                steps.append(("name", self._next().text))
                continue
            inner = self._next()
            if inner.kind == "text":
                steps.append(("name", unquoted(inner.text)))
            elif inner.kind == "number" and inner.text.isdigit():
                steps.append(("index", inner.text))
            elif inner.kind == "word" and inner.text in self._focus:
                steps.append(("focus", self._focus[inner.text]))
            else:
                raise NotExpressible("a place of the message that is worked out by a variable")
            self._expect("]")
        return path_of(steps)

    def _is_segment_behind_a_dot(self) -> bool:
        behind = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        return self._is(".") and re.fullmatch(r"[A-Z][A-Z0-9]{2}", behind.text) is not None

    # -- tokens

    def _enter(self) -> None:
        """One level deeper: what is too deep for people is too deep for us."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotExpressible("something that is nested too deep")

    @property
    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _is(self, *texts: str) -> bool:
        return self._peek.kind in ("symbol", "word") and self._peek.text in texts

    def _expect(self, text: str) -> None:
        if not self._is(text):
            self._refuse()
        self._next()

    def _literal(self) -> str:
        token = self._next()
        if token.kind != "text":
            raise NotExpressible("a variable whose name is worked out")
        return unquoted(token.text)

    def _refuse(self, token: Token | None = None) -> NoReturn:
        raise self._refused(token)

    def _refused(self, token: Token | None = None) -> NotExpressible:
        """Of a token that cannot stand where it does: told by its kind, and by name where it has one."""
        token = token or self._peek
        if token.kind == "end":
            return NotExpressible("an expression that ends too early")
        if token.kind == "word":
            return NotExpressible(_OTHER_MAPS.get(token.text) or _WORDS.get(token.text) or f"'{t.shown(token.text)}'")
        return NotExpressible(f"'{t.shown(token.text)}'" if token.kind == "symbol" else "a text or a number there")


def _chosen(condition: Condition, then: Condition, otherwise: Condition) -> Condition:
    """`condition ? then : otherwise`."""
    yes = t.joined("and", (condition, then))
    if then.constant is True:
        return t.joined("or", (condition, otherwise))
    no = t.joined("and", (t.negated(condition), otherwise))
    return no if then.constant is False else t.joined("or", (yes, no))
