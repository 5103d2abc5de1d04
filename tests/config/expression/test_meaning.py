"""Compiled expressions against a slow reading of the same: hypothesis makes the expressions and the messages.

An expression is made as a tree of tuples, written out as text for the compiler, and walked here over the message's
own parts, which were never written as HL7 nor read from it. So parser, folding, code and message access are all held
to it; `explain` too, which works node by node.
"""

from fractions import Fraction

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from engine.config.expression import compile_condition, compile_value
from engine.config.expression.evaluate import Evaluator
from engine.config.table import Table
from engine.hl7 import Message

TABLE = {"M": "male", "F": "female", "1": "", '""': "deleted"}
TABLES = {
    "t.csv": Table.load('from,to\nM,male\nF,female\n1,\n"""""",deleted\n', "t.csv")[0],
}
LEAVES = [
    "",
    "",
    "M",
    "F",
    "MR",
    "PI",
    "1",
    "2",
    "01",
    "1.0",
    "-3",
    "+10",
    '""',
    "a&b",
    "A^",
    "x~y|",
    "é\\",
    "abc",
    " M",
]
leaf = st.sampled_from(LEAVES)

# -- messages: segment = (name, fields from 1), field = repetitions, repetition = components, component = leaves

component = st.lists(leaf, min_size=1, max_size=2)
repetition = st.lists(component, min_size=1, max_size=3)
field = st.lists(repetition, min_size=1, max_size=2)
fields = st.lists(field, max_size=4)
messages = st.tuples(
    st.lists(fields.map(lambda f: ("PID", f)), max_size=2),
    st.lists(st.tuples(st.sampled_from(["OBX", "OBX", "NTE"]), fields), max_size=4),
).map(lambda parts: [*parts[0], *parts[1]])

ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}


def write(segments):
    lines = ["MSH|^~\\&|||||||ADT^A01|||2.5||||||UNICODE UTF-8"]
    for name, content in segments:
        texts = [
            "~".join("^".join("&".join("".join(ESCAPES.get(c, c) for c in x) for x in c) for c in r) for r in f)
            for f in content
        ]
        lines.append("|".join([name, *texts]))
    return ("\r".join(lines) + "\r").encode()


# -- expressions

path = st.tuples(
    st.just("path"),
    st.sampled_from(["PID", "OBX", "NTE", "ZZZ"]),
    st.none(),
    st.integers(1, 4),
    st.none(),
    st.sampled_from([(), (), (1,), (2,), (3,), (1, 2), (2, 1), (2, 2)]),
)
indexed_path = st.tuples(
    st.just("path"),
    st.just("OBX"),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([(), (1,), (2,)]),
)
filtered_path = st.tuples(
    st.just("path"),
    st.sampled_from(["PID", "OBX"]),
    st.none(),
    st.integers(1, 4),
    st.tuples(st.integers(1, 2), st.sampled_from(["==", "!="]), st.sampled_from(["MR", "", "M"])),
    st.sampled_from([(), (1,), (2,), (1, 2)]),
)
text = leaf.map(lambda t: ("text", t))
number = st.sampled_from(["1", "2", "10", "-3", "1.0", "0"]).map(lambda t: ("number", t))
any_path = st.one_of(path, path, indexed_path, filtered_path)


def calls(value):
    return st.one_of(
        st.tuples(st.sampled_from(["upper", "lower", "trim", "to_number", "length"]), value),
        st.tuples(st.just("substring"), value, st.integers(1, 3), st.integers(0, 2)),
        st.tuples(st.just("replace"), value, st.sampled_from(["M", "1", "ab"]), value),
        st.tuples(
            st.just("pad"), value, st.integers(1, 5), st.sampled_from(["0", " "]), st.sampled_from(["left", "right"])
        ),
        st.tuples(st.sampled_from(["concat", "coalesce"]), st.lists(value, min_size=1, max_size=3).map(tuple)),
        st.tuples(st.just("table"), value, value),
    )


values = st.recursive(st.one_of(any_path, any_path, any_path, text), calls, max_leaves=4)
side = st.one_of(values, values, number)
items = st.lists(st.one_of(text, text, number), min_size=1, max_size=4).map(tuple)
tests = st.one_of(
    st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), side),
    st.tuples(st.sampled_from(["in", "not in"]), items),
    st.tuples(st.sampled_from(["contains", "starts with", "ends with", "not contains"]), values),
    st.tuples(st.sampled_from(["is empty", "is not empty", "is null", "is not null"])),
)
path_tests = st.one_of(tests, st.tuples(st.sampled_from(["exists", "not exists"])))
over_values = st.tuples(st.sampled_from(["any", "all"]), st.one_of(path, filtered_path), path_tests)
comparison = st.one_of(
    st.tuples(st.just("test"), values, tests),
    st.tuples(st.just("test"), any_path, st.tuples(st.sampled_from(["exists", "not exists"]))),
    st.tuples(st.just("there"), st.sampled_from(["PID", "OBX", "NTE", "ZZZ"])),
)


def joined(condition):
    return st.one_of(
        st.tuples(st.just("not"), condition),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(condition, min_size=2, max_size=4).map(tuple)),
    )


bound_path = path.map(lambda p: ("path", "OBX", *p[2:]))
inside = st.recursive(
    st.one_of(
        comparison,
        st.tuples(st.just("test"), bound_path, tests),
        st.tuples(st.sampled_from(["any", "all"]), bound_path, path_tests),
    ),
    joined,
    max_leaves=4,
)
over_segments = st.tuples(st.sampled_from(["any of", "all of"]), inside)
conditions = st.recursive(st.one_of(comparison, comparison, over_values, over_segments), joined, max_leaves=5)

# -- writing expressions


def quoted(content):
    return '"' + content.replace("\\", "\\\\").replace('"', '\\"') + '"'


def path_text(p):
    _, segment, nth, number_, selector, parts = p
    chosen = f"[{nth}]" if nth else ""
    within = "" if selector is None else f"[{selector}]"
    if isinstance(selector, tuple):
        within = f"[{selector[0]} {selector[1]} {quoted(selector[2])}]"
    return f"{segment}{chosen}-{number_}{within}" + "".join(f".{part}" for part in parts)


def show(node):
    match node:
        case ("text", content):
            return quoted(content)
        case ("number", content):
            return content
        case ("path", *_):
            return path_text(node)
        case ("to_number", value):
            return f"number({show(value)})"
        case (("upper" | "lower" | "trim" | "length") as name, value):
            return f"{name}({show(value)})"
        case ("substring", value, start, length):
            return f"substring({show(value)}, {start}, {length})"
        case ("replace", value, old, new):
            return f"replace({show(value)}, {quoted(old)}, {show(new)})"
        case ("pad", value, width, fill, where):
            return f"pad({show(value)}, {width}, {quoted(fill)}, {quoted(where)})"
        case (("concat" | "coalesce") as name, parts):
            return f"{name}({', '.join(map(show, parts))})"
        case ("table", key, default):
            return f'table("t.csv", {show(key)}, {show(default)})'
        case ("test", left, test):
            return f"{show(left)} {show_test(test)}"
        case ("there", segment):
            return f"{segment} exists"
        case ("not", inner):
            return f"not ({show(inner)})"
        case (("and" | "or") as word, parts):
            return f" {word} ".join(f"({show(part)})" for part in parts)
        case (("any" | "all") as word, over, test):
            return f"{word} {path_text(over)} {show_test(test)}"
        case (("any of" | "all of") as word, inner):
            return f"{word[:3]} OBX ({show(inner)})"
    raise AssertionError(node)


def show_test(test):
    match test:
        case (("in" | "not in") as op, several):
            return f"{op} [{', '.join(map(show, several))}]"
        case (op,):
            return op
        case (op, right):
            return f"{op} {show(right)}"
    raise AssertionError(test)


# -- meaning


def as_number(content):
    digits = content[1:] if content[:1] in ("+", "-") else content
    whole, _, decimals = digits.partition(".")
    if not (whole + decimals) or set(whole + decimals) - set("0123456789"):
        return None
    return Fraction(content)


def number_as_text(content):
    """Without plus sign and leading zeros, decimals kept."""
    if as_number(content) is None:
        return ""
    whole, _, decimals = content.lstrip("+-").partition(".")
    shown = (whole.lstrip("0") or "0") + ("." + decimals if decimals else "")
    return "-" + shown if content.startswith("-") and as_number(content) else shown


def part(rep, parts):
    component_, leaf_ = (*parts, 1, 1)[:2] if parts else (1, 1)
    if len(parts) == 1:
        leaf_ = 1
    if component_ > len(rep) or leaf_ > len(rep[component_ - 1]):
        return ""
    return rep[component_ - 1][leaf_ - 1]


class Reference:
    def __init__(self, segments, focus=None, bound=None):
        self.segments, self.focus, self.bound = segments, focus, bound

    def found(self, segment, nth):
        if nth is None and segment == "OBX" and self.bound is not None:
            return [self.bound]
        if nth is None and segment == "OBX" and self.focus is not None:
            return [self.focus]
        found = [content for name, content in self.segments if name == segment]
        return found if nth is None else found[nth - 1 : nth]

    def occurrences(self, p):
        _, segment, nth, number_, selector, parts = p
        out = []
        for content in self.found(segment, nth):
            reps = content[number_ - 1] if number_ <= len(content) else [[[""]]]
            if isinstance(selector, int):
                reps = reps[selector - 1 : selector]
            elif selector is not None:
                where, op, wanted = selector
                reps = [rep for rep in reps if (part(rep, (where,)) == wanted) == (op == "==")]
            out += [part(rep, parts) for rep in reps]
        return out

    def first(self, p):
        segment, nth, selector = p[1], p[2], p[4]
        first_only = Reference(self.segments, self.focus, self.bound)
        if nth is None and self.found(segment, None):
            kept = self.found(segment, None)[0]
            first_only = Reference([(segment, kept)])
        found = first_only.occurrences((*p[:4], 1 if selector is None else selector, p[5]))
        return found[0] if found else ""

    def value(self, node):
        match node:
            case ("text", content):
                return content
            case ("path", *_):
                return self.first(node)
            case ("to_number", value):
                return number_as_text(self.value(value))
            case ("length", value):
                return str(len(self.value(value)))
            case ("upper", value):
                return self.value(value).upper()
            case ("lower", value):
                return self.value(value).lower()
            case ("trim", value):
                return self.value(value).strip()
            case ("substring", value, start, length):
                return "".join(c for i, c in enumerate(self.value(value), 1) if start <= i < start + length)
            case ("replace", value, old, new):
                return self.value(new).join(self.value(value).split(old))
            case ("pad", value, width, fill, where):
                content = self.value(value)
                more = fill * (width - len(content))
                return more + content if where == "left" else content + more
            case ("concat", parts):
                return "".join(self.value(p) for p in parts)
            case ("coalesce", parts):
                return next((v for v in (self.value(p) for p in parts) if v), "")
            case ("table", key, default):
                return TABLE.get(self.value(key), self.value(default))
        raise AssertionError(node)

    def condition(self, node):
        match node:
            case ("test", left, test):
                return self.test(left[0] in ("to_number", "length"), self.value(left), test)
            case ("there", segment):
                return any(name == segment for name, _ in self.segments)
            case ("not", inner):
                return not self.condition(inner)
            case ("and", parts):
                return all(self.condition(p) for p in parts)
            case ("or", parts):
                return any(self.condition(p) for p in parts)
            case (("any" | "all") as word, over, test):
                outcomes = [self.test(False, value, test) for value in self.occurrences(over)]
                return any(outcomes) if word == "any" else all(outcomes)
            case (("any of" | "all of") as word, inner):
                obx = [content for name, content in self.segments if name == "OBX"]
                outcomes = [Reference(self.segments, self.focus, content).condition(inner) for content in obx]
                return any(outcomes) if word == "any of" else all(outcomes)
        raise AssertionError(node)

    def test(self, is_number, left, test):
        match test:
            case ("not in", several):
                return not self.test(is_number, left, ("in", several))
            case ("in", several):
                return any(
                    as_number(left) == as_number(content) if kind == "number" else left == content
                    for kind, content in several
                )
            case ("exists",) | ("is not empty",):
                return left != ""
            case ("not exists",) | ("is empty",):
                return left == ""
            case ("is null",):
                return left == '""'
            case ("is not null",):
                return left != '""'
            case ("contains", right):
                return self.value(right) in left
            case ("not contains", right):
                return self.value(right) not in left
            case ("starts with", right):
                return left[: len(self.value(right))] == self.value(right)
            case ("ends with", right):
                return left[::-1].startswith(self.value(right)[::-1])
            case (op, right):
                second = right[1] if right[0] == "number" else self.value(right)
                if is_number or right[0] in ("number", "to_number", "length"):
                    left, second = as_number(left), as_number(second)
                    if left is None or second is None:
                        return op == "!="
                signs = {"==": [0], "!=": [-1, 1], "<": [-1], "<=": [-1, 0], ">": [1], ">=": [0, 1]}
                return (left > second) - (left < second) in signs[op]
        raise AssertionError(test)


def mixes_text_and_numbers(node):
    """Whether the compiler refuses it, rightly: a number compared with a text in quotes, or number("x")."""
    if not isinstance(node, tuple):
        return False
    if node[:1] == ("to_number",) and node[1][0] == "text" and as_number(node[1][1]) is None:
        return True
    if node[:1] == ("test",) and len(node) == 3:
        left, test = node[1], node[2]
        numeric = ("number", "to_number", "length")
        if test[0] in ("in", "not in") and left[0] in numeric and any(kind == "text" for kind, _ in test[1]):
            return True
        if test[0] in ("==", "!=", "<", "<=", ">", ">="):
            kinds = (left[0], test[1][0])
            if "text" in kinds and any(kind in numeric for kind in kinds):
                return True
    return any(mixes_text_and_numbers(child) for child in node)


SETTINGS = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SETTINGS
@given(conditions.filter(lambda c: not mixes_text_and_numbers(c)), messages, st.booleans())
def test_a_condition_means_what_its_parts_mean(tree, segments, focused):
    message = Message.parse(write(segments))
    condition = compile_condition(show(tree), tables=TABLES, focus="OBX" if focused else None)
    focuses = [None, *[i for i, (name, _) in enumerate(segments) if name == "OBX"]] if focused else [None]
    for focus in focuses:
        message.focus = None if focus is None else focus + 1
        expected = Reference(segments, None if focus is None else segments[focus][1]).condition(tree)
        assert condition(message) is expected
        assert Evaluator(message, TABLES).condition(condition._node) is expected
    event(f"{tree[0]}: {expected}")


@SETTINGS
@given(values.filter(lambda v: not mixes_text_and_numbers(v)), messages)
def test_a_value_is_what_its_parts_make(tree, segments):
    message = Message.parse(write(segments))
    value = compile_value(show(tree), tables=TABLES)
    expected = Reference(segments).value(tree)
    assert value(message) == expected
    assert Evaluator(message, TABLES).text(value._node) == expected
