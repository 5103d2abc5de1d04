"""Filters and transformers of a Mirth channel as conditions and steps."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.config.mirth import export as x
from engine.config.mirth import terms as t
from engine.config.mirth.export import Connector, Part, text_of
from engine.config.mirth.javascript import Action, Delete, Reader, Write
from engine.config.mirth.operators import Pattern, compared
from engine.config.mirth.report import Ledger
from engine.config.mirth.terms import Condition, Names, NotExpressible, Value
from engine.config.mirth.text import comment, flow, plain, to_do
from engine.config.xml_tree import Element

_LATER: Final = {
    "XsltStep": "an XSLT step: write it as steps, or as a function in steps.py",
    "ExternalScriptStep": "a script in a file of its own: write it as steps, or as a function in steps.py",
    "ExternalScriptRule": "a script in a file of its own: write it as a condition",
}
_PUTS: Final = re.compile(r"""(?:\$co?\(|(?:channel|connector)Map\.put\()\s*(['"])(.{1,60}?)\1\s*,""")
_PASSWORD: Final = re.compile(r"(?i)passw|secret|createDatabaseConnection")
_ITEM: Final = "  - "

Focus = dict[str, str]


@dataclass(slots=True)
class Elements:
    """Reads one channel's elements, in the order in which a message meets them.

    `lines` are those of the steps so far, below `steps:`.
    """

    ledger: Ledger
    names: Names = field(default_factory=Names)
    lines: list[str] = field(default_factory=list)
    wishes: list[t.Wish] = field(default_factory=list)
    has_steps: bool = False
    _removals: list[tuple[str, tuple[int, ...], Condition, int]] = field(default_factory=list)
    """Of destination set filters: behaviour, destinations, condition, and how much was written before."""

    # -- filters

    def condition(self, connector: Connector, where: str) -> tuple[Condition, list[str]]:
        """What a filter lets through, and comments of what of it could not be said: that lets everything through."""
        groups: list[list[Condition]] = [[]]
        comments: list[str] = []
        for number, rule in enumerate(connector.rules, 1):
            place = f"{where}/filter/rule[{number}]"
            what = _called(f"{connector.label}filter rule", rule, number)
            if not rule.is_enabled:
                self.ledger.add("differs", what, "is switched off in Mirth, so it is left out", rule.element, place)
                continue
            if rule.operator == "OR" and (groups[-1] or len(groups) > 1):
                groups.append([])
            groups[-1].append(self._rule(rule, what, place, comments, {}))
        return t.joined("or", (t.joined("and", group) for group in groups)), comments

    def _rule(self, rule: Part, what: str, place: str, comments: list[str], focus: Focus) -> Condition:
        try:
            found = self._said(rule, focus)
        except NotExpressible as reason:
            source = rule.get("script") or _as_text(rule)
            why = _why(rule, reason)
            comments += to_do(f"{what} is not carried over, so it lets everything through: {why}", 2, source)
            text = f"not carried over, so it lets everything through: {why}"
            self.ledger.add("todo", what, text, rule.element, place)
            self._look_for_passwords(what, source, rule.element, place)
            return t.ALWAYS
        text = found.text or ("always true" if found.constant else "never true")
        self.ledger.add("carried", what, f"a condition: {text}", rule.element, place)
        return found

    def _said(self, rule: Part, focus: Focus) -> Condition:
        """Raises NotExpressible."""
        if rule.kind == x.RULE:
            return self._tested(rule, focus)
        if rule.kind == x.SCRIPT_RULE:
            return Reader(rule.get("script"), self.names.copy(), focus).filter_script()
        if rule.kind == x.ITERATOR_RULE:
            return self._over(rule, focus)
        raise NotExpressible(_LATER.get(rule.kind, f"a rule of the kind {t.shown(rule.kind)}"))

    def _tested(self, rule: Part, focus: Focus) -> Condition:
        """A Rule Builder's rule, or what a destination set filter asks: a field, a test, values."""
        value = self._value(rule.get("field"), focus)
        if value.is_number or value.literal is not None:
            raise NotExpressible("a test of a fixed value")
        test = rule.get("condition") or "EXISTS"
        if test in ("EXISTS", "NOT_EXIST"):
            is_there = test == "EXISTS"
            return t.tested(value, "is not empty" if is_there else "is empty", wish="X" if is_there else "")
        values = [self._value(text, focus) for text in rule.values]
        if not values:
            raise NotExpressible("no values to compare with")
        if test in ("EQUALS", "NOT_EQUAL"):
            return _among(value, values, is_in=test == "EQUALS")
        if test in ("CONTAINS", "NOT_CONTAIN"):
            return _containing(value, values, is_in=test == "CONTAINS")
        raise NotExpressible(f"the condition {t.shown(test)}")

    def _value(self, source: str, focus: Focus) -> Value:
        return Reader(source, self.names, focus).value()

    def _over(self, rule: Part, focus: Focus) -> Condition:
        """An iterator of rules: `any OBX (...)`; of all of them where its results are intersected."""
        if focus:
            raise NotExpressible("an iterator inside another")
        properties = x.child(rule.element, "properties")
        segment = Reader(text_of(properties, "target"), self.names).loop()
        inner = {text_of(properties, "indexVariable") or "i": segment}
        groups: list[list[Condition]] = [[]]
        for one in rule.parts:
            if not one.is_enabled:
                continue
            if one.operator == "OR" and (groups[-1] or len(groups) > 1):
                groups.append([])
            groups[-1].append(self._said(one, inner))
        found = t.joined("or", (t.joined("and", group) for group in groups))
        if found.constant is not None:
            return found
        word = "all" if x.is_true(properties, "intersectIterations") else "any"
        return Condition(f"{word} {segment} ({found.text})", found.reads, wishes=found.wishes)

    # -- transformers

    def filter_step(self, connector: Connector, where: str, name: str) -> None:
        """A filter as a step `filter`."""
        found, comments = self.condition(connector, where)
        self.lines += comments
        if found.constant is True:
            return
        text = found.text if found.constant is None else "MSH-10 is empty and MSH-10 is not empty"
        self.wishes += found.wishes
        self._entry([("name", name), ("filter", plain(text))], 2)

    def steps(self, connector: Connector, where: str) -> None:
        """A transformer's steps, in order."""
        if connector.outbound_template:
            transformer = x.child(connector.element, "transformer")
            sentence = (
                f"the transformer of {t.shown(connector.name)} begins with a message of its own, the outbound "
                "template, and not with the one that came: delete what it has not, and set what it has"
            )
            self.lines += to_do(sentence, 2)
            at = f"{where}/transformer/outboundTemplate"
            self.ledger.add("todo", f"{connector.label}outbound template", sentence, transformer, at)
        for number, step in enumerate(connector.steps, 1):
            place = f"{where}/transformer/step[{number}]"
            what = _called(f"{connector.label}step", step, number)
            if not step.is_enabled:
                self.ledger.add("differs", what, "is switched off in Mirth, so it is left out", step.element, place)
                continue
            self._step(step, what, place)

    def _step(self, step: Part, what: str, place: str) -> None:
        names = self.names.copy()
        try:
            lines, text = self._written(step, names)
        except NotExpressible as reason:
            self._left(step, what, place, reason)
            return
        self.names = names
        self.lines += lines
        self.ledger.add("carried", what, text, step.element, place)

    def _left(self, step: Part, what: str, place: str, reason: NotExpressible) -> None:
        source = step.get("script") or step.get("template") or _as_text(step)
        why = _why(step, reason)
        self.lines += to_do(f"{what} is not carried over: {why}", 2, source)
        self.ledger.add("todo", what, f"not carried over: {why}", step.element, place)
        self._look_for_passwords(what, source, step.element, place)
        lost = {found[1] for found in _PUTS.findall(source)}
        for inner in (step, *step.parts):
            if inner.kind == x.MAPPER:
                lost.add(inner.get("variable"))
        for name in sorted(lost):
            self.names.lose(name, f"{what}, which is not carried over")

    def _written(self, step: Part, names: Names) -> tuple[list[str], str]:
        """The lines of a step and what is told of it. Raises NotExpressible."""
        if step.kind == x.MAPPER:
            return self._variable(step, names)
        if step.kind == x.DESTINATION_SET:
            return self._destination_set(step)
        actions, skipped = self._actions(step, names, {})
        if step.kind == x.ITERATOR:
            segment = Reader(text_of(step.element, "properties", "target"), names).loop()
            inner = self._as_steps(actions, "", 6)
            title = _title(step)
            head = f"{_ITEM}name: {flow(title)}\n    each: {segment}" if title else f"{_ITEM}each: {segment}"
            self.has_steps = True
            return [*head.split("\n"), "    do:", *inner], f"steps for each {segment}"
        if not actions:
            return [f"  # {_title(step) or 'a step'}: changes no message"], "changes no message"
        lines = self._as_steps(actions, _title(step), 2)
        self.has_steps = True
        told = "as steps"
        if step.kind == x.SCRIPT:
            told = "JavaScript as steps: read them against the script" + (", without its logging" if skipped else "")
        return lines, told

    def _actions(self, step: Part, names: Names, focus: Focus) -> tuple[list[Action], int]:
        if step.kind == x.BUILDER:
            return [self._builder(step, names, focus)], 0
        if step.kind == x.SCRIPT:
            script = Reader(step.get("script"), names, focus).script()
            return list(script.actions), script.skipped
        if step.kind == x.ITERATOR and not focus:
            properties = x.child(step.element, "properties")
            segment = Reader(text_of(properties, "target"), names).loop()
            inner = {text_of(properties, "indexVariable") or "i": segment}
            found = [action for one in step.parts if one.is_enabled for action in self._actions(one, names, inner)[0]]
            if not found:
                raise NotExpressible("no steps in it")
            return found, 0
        if step.kind == x.MAPPER:
            raise NotExpressible("a variable that holds a list")
        if step.kind == x.ITERATOR:
            raise NotExpressible("an iterator inside another")
        raise NotExpressible(_LATER.get(step.kind, f"a step of the kind {t.shown(step.kind)}"))

    def _builder(self, step: Part, names: Names, focus: Focus) -> Write:
        path = Reader(step.get("messageSegment"), names, focus).target()
        value = _finished(Reader(step.get("mapping") or "''", names, focus).value(), step, names, focus)
        names.written.append(t.field_of(path))
        return Write(path, value, t.ALWAYS)

    def _variable(self, step: Part, names: Names) -> tuple[list[str], str]:
        """A Mapper's step writes nothing to the message: what it puts is said where it is used."""
        scope = step.get("scope") or "CHANNEL"
        name = step.get("variable")
        if scope not in ("CHANNEL", "CONNECTOR"):
            raise NotExpressible(f"the {scope.lower().replace('_', ' ')} map, which outlives a message")
        value = _finished(Reader(step.get("mapping") or "''", names, {}).value(), step, names, {})
        names.put(name, value)
        return (
            list(comment(f"the variable {t.shown(name)} is {value.text}, which is written where it is used", 2)),
            f"the variable {t.shown(name)}: {value.text}, written where it is used",
        )

    def _destination_set(self, step: Part) -> tuple[list[str], str]:
        condition = self._tested(step, {})
        behavior = step.get("behavior") or "REMOVE"
        numbers = [int(one.text) for one in x.child(step.element, "metaDataIds").children if one.text.strip().isdigit()]
        if behavior not in ("REMOVE", "REMOVE_ALL_EXCEPT", "REMOVE_ALL"):
            raise NotExpressible(f"the behaviour {t.shown(behavior)}")
        self._removals.append((behavior, tuple(numbers), condition, len(self.names.written)))
        return (
            list(comment(f"{_title(step) or 'the destination set filter'}: see `when` of the routes", 2)),
            f"`when` of routes: not where {condition.text}",
        )

    def routed(self, number: int) -> tuple[Condition, str]:
        """What destination set filters leave of the way to one destination, and a field that was changed since, or ''.

        A route's `when` is asked after all steps, and the filter was among them.
        """
        conditions, changed = [], ""
        for behavior, numbers, condition, since in self._removals:
            is_meant = {"REMOVE": number in numbers, "REMOVE_ALL_EXCEPT": number not in numbers}.get(behavior, True)
            if is_meant:
                conditions.append(t.negated(condition))
                changed = changed or t.overlap(condition.reads, self.names.written[since:])
        return t.joined("and", conditions), changed

    # -- lines

    def _as_steps(self, actions: Sequence[Action], title: str, indent: int) -> list[str]:
        """Steps in order; neighbours of one kind that ask the same are one."""
        lines: list[str] = []
        for kind, when, entries in _grouped(actions):
            value = list(entries) if kind == "delete" else dict(entries.items())
            keys: list[tuple[str, object]] = []
            if title:
                keys.append(("name", title))
            if when.constant is False:
                continue
            if when.constant is None:
                keys.append(("when", plain(when.text)))
            keys.append((kind, value))
            lines += _entry(keys, indent)
        return lines

    def _entry(self, keys: Sequence[tuple[str, object]], indent: int) -> None:
        self.has_steps = True
        self.lines += _entry(keys, indent)

    def _look_for_passwords(self, what: str, source: str, element: Element, place: str) -> None:
        if _PASSWORD.search(source):
            text = "may hold a password, and stands in a comment now: look before you commit it"
            self.ledger.add("differs", what, text, element, place)


def _entry(keys: Iterable[tuple[str, object]], indent: int) -> list[str]:
    lines = []
    for number, (key, value) in enumerate(keys):
        lead = " " * indent + ("- " if number == 0 else "  ")
        line = f"{lead}{key}: {flow(value)}"  # type: ignore[arg-type]  # texts, lists and mappings of texts
        if isinstance(value, dict) and (len(line) > 100 or len(value) > 1):
            lines.append(f"{lead}{key}:")
            lines += [f"{' ' * indent}    {flow(inner)}: {flow(text)}" for inner, text in value.items()]
        else:
            lines.append(line)
    return lines


def _grouped(actions: Sequence[Action]) -> list[tuple[str, Condition, dict[str, str]]]:
    groups: list[tuple[str, Condition, dict[str, str]]] = []
    for action in actions:
        kind = _step_of(action)
        text = "" if isinstance(action, Delete) else _as_value(action)
        if groups and groups[-1][0] == kind and groups[-1][1].text == action.condition.text:
            last = groups[-1]
            # Delete removes fields before segments, whatever the order of its list.
            if action.path not in last[2] and (kind != "delete" or all("-" in one for one in last[2])):
                last[2][action.path] = text
                continue
        groups.append((kind, action.condition, {action.path: text}))
    return groups


def _step_of(action: Action) -> str:
    if isinstance(action, Delete):
        return "delete"
    value = action.value
    return "copy" if value.is_xml and value.path is not None and "-" in value.path else "set"


def _as_value(action: Write) -> str:
    value = action.value
    if value.is_xml:
        if value.path is None or "-" not in value.path:
            raise NotExpressible("a whole segment that is copied")
        return value.path
    if value.literal is None:
        return plain(f"={value.text}")
    text = value.literal
    if "\n" in text or "\r" in text:
        raise NotExpressible("a line break in a text")
    marks = "|" if "." not in action.path and "[" not in action.path else "|~^&"
    needs_quotes = text.startswith("=") or any(mark in text for mark in marks)
    return plain("=" + t.quoted(text) if needs_quotes else text)


def _finished(value: Value, step: Part, names: Names, focus: Focus) -> Value:
    """The replacements of a Mapper or Message Builder, and its default for what is empty."""
    if value.is_xml and (step.replacements or step.get("defaultValue") not in ("", "''", '""')):
        raise NotExpressible("a node of the message that is worked on: add .toString()")
    default = step.get("defaultValue")
    if default not in ("", "''", '""'):
        value = t.call("coalesce", value, Reader(default, names, focus).value())
    for pattern, new in step.replacements:
        found = re.fullmatch(r"/(.*)/([a-z]*)", pattern, re.DOTALL)
        searched = Pattern(found[1], found[2]) if found else Pattern(_unquoted(pattern), "g")
        if "g" not in searched.flags:
            raise NotExpressible("a replacement of the first only")
        put = Reader(new or "''", names, focus).value()
        if put.literal is None or "$" in put.literal:
            raise NotExpressible("a replacement by something that is worked out")
        value = t.call("replace", value, t.literal(searched.plain), t.literal(put.literal))
    return value


def _unquoted(pattern: str) -> str:
    return pattern[1:-1] if len(pattern) > 1 and pattern[0] == pattern[-1] and pattern[0] in "'\"" else pattern


def _among(value: Value, values: Sequence[Value], *, is_in: bool) -> Condition:
    if len(values) > 1 and all(one.literal is not None for one in values):
        listed = f"[{', '.join(one.text for one in values)}]"
        return t.tested(value, "in" if is_in else "not in", listed, values[0].literal if is_in else None)
    return t.joined("or" if is_in else "and", (compared(value, one, is_equal=is_in) for one in values))


def _containing(value: Value, values: Sequence[Value], *, is_in: bool) -> Condition:
    test = "contains" if is_in else "not contains"
    parts = (t.tested(value, test, one, (one.literal or None) if is_in else None) for one in values)
    return t.joined("or" if is_in else "and", parts)


def _called(kind: str, part: Part, number: int) -> str:
    name = t.shown(part.name)
    return f'{kind} {number} "{name}"' if name else f"{kind} {number}"


def _title(step: Part) -> str:
    return plain(t.shown(step.name))


def _why(part: Part, reason: NotExpressible) -> str:
    """Why a rule or a step is not carried over; of a kind that nobody knows, its reason says all."""
    if part.kind in _LATER:
        return _LATER[part.kind]
    kind = _kind(part)
    return f"{kind} with {reason}" if kind else str(reason)


def _kind(part: Part) -> str:
    return {
        x.RULE: "a rule",
        x.SCRIPT_RULE: "JavaScript",
        x.SCRIPT: "JavaScript",
        x.ITERATOR: "an iterator",
        x.ITERATOR_RULE: "an iterator",
        x.MAPPER: "a Mapper",
        x.BUILDER: "a Message Builder",
        x.DESTINATION_SET: "a destination set filter",
    }.get(part.kind, "")


def _as_text(part: Part) -> str:
    """A part that is no script, as one would say it."""
    tags = ("variable", "messageSegment", "mapping", "defaultValue", "field", "condition")
    said = [f"{tag}: {part.get(tag)}" for tag in tags if part.get(tag)]
    if part.values:
        said.append(f"values: {', '.join(part.values)}")
    said += [f"replace: {old} by {new}" for old, new in part.replacements]
    for one in part.parts:
        said += ["inside:", *(_as_text(one) or one.get("script")).splitlines()]
    target = text_of(part.element, "properties", "target")
    return "\n".join(([f"over: {target}"] if target else []) + said)
