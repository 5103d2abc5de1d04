"""From text to any model, as authors of steps and sinks write them, and what each mistake is called."""

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from engine.config.base import ConfigModel, nearest
from engine.config.channel import FALLBACK_CHARSETS
from engine.config.entries import StepEntry
from engine.config.finding import BadValue, ConfigFinding
from engine.config.node import Piece, SourceText
from engine.config.reading import to_model
from engine.config.source import load_yaml
from engine.config.types import FunctionText, PathText, SegmentText, TablePath, ValueText
from engine.config.units import Duration, Size


def _no_zero(value: str) -> str:
    if "0" in value:
        raise ValueError("it must not have a 0 in it")
    return value


class Other(BaseModel):
    """A model of somebody who does not know ConfigModel."""

    model_config = ConfigDict(extra="forbid")
    x: int = 1


class Options(ConfigModel):
    count: int = 3
    share: float = 0.5
    flag: bool = False
    maybe: bool | None = None
    number: int | None = None
    word: Literal["one", "two"] = "one"
    text: str = Field(default="", min_length=2, max_length=5)
    texts: tuple[str, ...] = ()
    pairs: dict[str, int] = {}  # noqa: RUF012
    wait: Duration = 1.0
    size: Size = 5
    other: Other = Other()
    plain: Annotated[str, AfterValidator(_no_zero)] = ""
    either: int | list[int] = 1
    inner: "Options | None" = None
    later: ClassVar[dict[str, str]] = {"soon": "use count"}

    @field_validator("plain")
    @classmethod
    def _no_x(cls, value: str) -> str:
        if value.startswith("x"):
            raise BadValue("begins with x", "begin it otherwise", offset=0, length=1)
        return value


def read(text: str) -> tuple[Options | None, list[ConfigFinding]]:
    node, findings = load_yaml(text, "f.yaml")
    assert findings == []
    assert node is not None
    return to_model(node, Options)


def test_values_get_their_types() -> None:
    options, findings = read("count: 12\nflag: true\nmaybe: false\nnumber: -4\nshare: 0.25\nwait: 2m\nsize: 1KB\n")
    assert findings == []
    assert options is not None
    assert (options.count, options.flag, options.maybe, options.number) == (12, True, False, -4)
    assert (options.share, options.wait, options.size) == (0.25, 120, 1000)


@pytest.mark.parametrize(
    ("text", "line", "column", "code", "words"),
    [
        ("count: 1.5", 1, 8, "E106", "not a whole number"),
        ("count: ' 1'", 1, 8, "E106", "not a whole number"),
        ("count: ١", 1, 8, "E106", "not a whole number"),
        ("number: {a: b}", 1, 9, "E104", "must be a whole number, not keys with values"),
        ("share: much", 1, 8, "E104", "must be a number, not 'much'"),
        ("flag: TRUE", 1, 7, "E105", "did you mean true?"),
        ("flag: maybe", 1, 7, "E105", "write true or false"),
        ("maybe: on", 1, 8, "E105", "did you mean true?"),
        ("flag: [true]", 1, 7, "E104", "must be true or false, not a list"),
        ("word: onne", 1, 7, "E105", "did you mean 'one'?"),
        ("word: [one]", 1, 7, "E104", "one of: one, two"),
        ("text: a", 1, 7, "E106", "at least 2 characters"),
        ("text: abcdef", 1, 7, "E106", "at most 5 characters"),
        ("text: [ab]", 1, 7, "E104", "must be put in quotes to be a text"),
        ("texts: {a: b}", 1, 8, "E104", "must be a list, not keys with values"),
        ("texts:\n  - a\n  - [b]", 3, 5, "E104", "must be a text"),
        ("pairs:\n  a: 1\n  b: x", 3, 6, "E104", "'b' must be a whole number"),
        ("pairs: 1", 1, 8, "E104", "keys with values, not '1'"),
        ("wait: [1s]", 1, 7, "E104", "must be a number"),
        ("other: {y: 1}", 1, 9, "E101", "unknown key 'y'"),
        ("plain: a0", 1, 8, "E107", "must not have a 0"),
        ("plain: xx", 1, 8, "E107", "begins with x"),
        ("inner:\n  inner: {cuont: 1}", 2, 11, "E101", "did you mean 'count'?"),
        ("inner: {soon: 1}", 1, 9, "E119", "use count"),
        ("completely: 1", 1, 1, "E101", "known here: count"),
    ],
)
def test_a_mistake_has_its_place_and_words(text: str, line: int, column: int, code: str, words: str) -> None:
    options, findings = read(text + "\n")
    assert options is None
    assert [(f.line, f.column, f.code) for f in findings] == [(line, column, code)]
    assert words in findings[0].message + " " + findings[0].hint


def test_of_several_ways_to_read_a_value_each_failure_stands_at_the_value() -> None:
    _, findings = read("either: x\n")
    assert {(f.line, f.column, f.code) for f in findings} == {(1, 9, "E104")}


def test_several_mistakes_are_all_told() -> None:
    _, findings = read("count: x\nflag: x\ninner: {count: y, word: z}\n")
    assert [(f.line, f.column) for f in findings] == [(1, 8), (2, 7), (3, 16), (3, 25)]


def test_models_are_made_in_code_by_the_names_of_their_fields() -> None:
    class Aliased(ConfigModel):
        places: tuple[PathText, ...] = Field(alias="copy")

    assert Aliased(places=("PID-3",)).places == ("PID-3",)
    node, _ = load_yaml("places: [PID-3]\n", "f.yaml")
    assert node is not None
    _, findings = to_model(node, Aliased)
    assert [f.code for f in findings] == ["E101", "E103"]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (SegmentText, "OBX", "OBX1"),
        (TablePath, "tables/x.csv", "tables/x.xls"),
        (FunctionText, "steps.py:f", "steps.f"),
        (ValueText, "=PID-3", "= "),
        (PathText, "PID-3", "  "),
    ],
)
def test_a_text_with_a_meaning_refuses_what_can_never_have_it(kind: type[SegmentText], good: str, bad: str) -> None:
    made = kind(good)
    made.check()
    assert made.position() is None
    with pytest.raises(BadValue):
        kind(bad).check()


def test_a_function_has_a_file_and_a_name() -> None:
    text = FunctionText("lib/steps.py:split")
    assert (text.file, text.function) == ("lib/steps.py", "split")


def test_steps_belong_to_a_file() -> None:
    class Holder(ConfigModel):
        do: tuple[StepEntry, ...]

    with pytest.raises(ValueError, match="a step is read with its file"):
        Holder(do=({"filter": "PV1 exists"},))  # type: ignore[arg-type]


def test_places_behind_a_replaced_part_are_shifted_back() -> None:
    node, _ = load_yaml("a: x ${A} BAD ${B} y\n", "f.yaml")
    scalar = node.items[0][1]  # type: ignore[union-attr,index]
    text = SourceText("x long text BAD 1 y", scalar, (Piece(2, 11, 2, 6), Piece(16, 17, 11, 15)))  # type: ignore[arg-type]

    def column(part: str) -> int:
        place = text.position(text.index(part), 1)
        assert place is not None
        return place.column

    assert column("x") == 4
    assert column("long") == 6
    assert column("text") == 6
    assert column("BAD") == 11
    assert column("1") == 15
    assert column("y") == 20


@pytest.mark.parametrize(("word", "meant"), [("cp1225", "cp1252"), ("cp1250x", "cp1250"), ("utf8", "utf-8"), ("x", "")])
def test_the_word_that_was_meant_has_the_same_letters_before_it_has_others(word: str, meant: str) -> None:
    assert nearest(word, FALLBACK_CHARSETS) == meant
