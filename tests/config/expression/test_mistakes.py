"""What an analyst is told who mistypes: the column, a sentence, and what to write instead."""

import pytest

from engine.config.expression import ExpressionError, compile_condition, compile_value
from engine.config.table import Table

TABLES = {"tables/wards.csv": Table.load("from,to\nA,1\n", "tables/wards.csv")[0]}

CONDITIONS = [
    # text, column, a piece of the message or hint
    ("", 0, "no expression"),
    ("   ", 0, "no expression"),
    ('PID-8 = "F"', 6, "did you mean ==?"),
    ('PID-8 === "F"', 6, "did you mean ==?"),
    ('PID-8 equals "F"', 6, "did you mean ==?"),
    ('PID-8 eq "F"', 6, "did you mean ==?"),
    ('PID-8 <> "F"', 6, "did you mean !=?"),
    ('PID-8 == "F" && PV1-2 == "I"', 13, "did you mean and?"),
    ('PID-8 == "F" || PV1-2 == "I"', 13, "did you mean or?"),
    ("!PID-8 exists", 0, "did you mean not?"),
    ('PID-8 == "F" AND PV1-2 == "I"', 13, "small letters: and"),
    ('NOT PID-8 == "F"', 0, "small letters: not"),
    ('PID-8 IN ["F"]', 6, "small letters: in"),
    ("PID-8 Is empty", 6, "small letters: is"),
    ("PID-8 is Empty", 9, "small letters: empty"),
    ('ANY OBX-8 == "H"', 0, "small letters: any"),
    ('PID-8 =~ "F"', 6, "did you mean matches?"),
    ('PID-8 like "F"', 6, "did you mean matches?"),
    ('PID-8 startswith "F"', 6, "did you mean starts with?"),
    ('PID-8 starts "F"', 13, "did you mean starts with?"),
    ('PID-8 contain "F"', 6, "did you mean contains?"),
    ("PID-8 is in ['F']", 9, "did you mean in?"),
    ('PID-8 is "F"', 9, "did you mean ==?"),
    ('PID-8 is not "F"', 13, "did you mean !=?"),
    ("PID-8 == null", 9, "did you mean is null?"),
    ("PID-8 != null", 9, "did you mean is not null?"),
    ("PID-8 == None", 9, "did you mean is null?"),
    ("PID-8 == F", 9, 'quotes: "F"'),
    ("PID-8 == true", 9, "there is no true"),
    ("upcase(PID-8) == 'F'", 0, "did you mean upper?"),
    ("UPPER(PID-8) == 'F'", 0, "did you mean upper?"),
    ("substr(PID-8, 1) == 'F'", 0, "did you mean substring?"),
    ("uper(PID-8) == 'F'", 0, "did you mean upper?"),
    ("frobnicate(PID-8) == 'F'", 0, "there are back"),
    # paths
    ('PID.3 == "1"', 0, "did you mean PID-3?"),
    ('PID.3.1 == "1"', 0, "did you mean PID-3.1?"),
    ('pid-3 == "1"', 0, "did you mean PID-3?"),
    ('Pid-3.1 == "1"', 0, "did you mean PID-3.1?"),
    ('PID_3_1 == "1"', 0, "did you mean PID-3.1?"),
    ('PID-3-1 == "1"', 5, "PID-3.1"),
    ('PID-0 == "1"', 4, "between 1 and"),
    ('PID-3.0 == "1"', 6, "between 1 and"),
    ('PID-3.1.0 == "1"', 8, "between 1 and"),
    ('PID-3[0].1 == "1"', 6, "between 1 and"),
    ('"x" == PID-3.1.1.1', 16, "end of the path"),
    ('PID-A == "1"', 4, "expected"),
    ('PID- == "1"', 3, "expected"),
    ('PID-3[5 = "MR"].1 == "1"', 8, "did you mean ==?"),
    ('PID-3[1.1 == "1"', 5, "not closed"),
    ('PID == "1"', 0, "PID-1"),
    ("PID", 0, "PID exists"),
    ('PID-3 [1] == "1"', 6, "no space inside a path"),
    ('PID-3[*].5 == "MR"', 0, "any PID-3[*].5"),
    ("OBX[*]-5 exists", 0, "any OBX[*]-5"),
    # brackets, quotes, ends
    ('PID-8 == "F', 9, "no closing quote"),
    ("PID-8 == 'F", 9, "no closing quote"),
    ("PID-8 == “F”", 9, "straight quotes"),
    ('(PID-8 == "F"', 0, "add )"),
    ('PID-8 == "F")', 12, "no open ("),
    ('PID-8 in ["F"', 9, "add ]"),
    ('PID-8 in "F"', 9, "[ ]"),
    ('PID-8 in ("F", "M")', 9, "[ ]"),
    ("PID-8 in []", 10, "empty"),
    ('PID-8 in ["F",]', 14, "texts and numbers"),
    ("PID-8 in [PID-7]", 10, "texts and numbers"),
    ('PID-8 == ["F", "M"]', 9, "did you mean in"),
    ('PID-8 != ["F", "M"]', 9, "not in"),
    ("PID-8 ==", 8, "ends too early"),
    ('PID-8 == "F" and', 16, "ends too early"),
    ("PID-8 is", 8, "ends too early"),
    ("not", 3, "ends too early"),
    ("any", 3, "ends too early"),
    ("upper(PID-8 == 'F'", 6, "takes values"),
    ("upper(PID-8", 5, "add )"),
    (r'PID-8 == "\d"', 10, r"\\"),
    ('PID-8 "F"', 6, "operator is missing"),
    ('PID-8 PID-7 == "F"', 6, "operator is missing"),
    # types
    ("PID-8", 0, "PID-8 is not empty"),
    ("upper(PID-8)", 0, "is not empty"),
    ('PID-8 and PV1-2 == "I"', 0, "'and' joins conditions"),
    ('PV1-2 == "I" or PID-8', 16, "'or' joins conditions"),
    ("not PID-8", 4, "needs a condition"),
    ('(PID-8 == "F") == "x"', 1, "is a condition"),
    ('PID-8 == (PID-7 == "x")', 10, "is a condition"),
    ('1 < PID-8 < "3"', 10, "join two comparisons"),
    ('number(PID-8) == "5"', 17, "without quotes"),
    ('number(PID-8) == "x"', 17, "text with text"),
    ('number(PID-8) in ["5"]', 18, "without quotes"),
    ('5 == "x"', 5, "text with text"),
    ("PID-8 contains 5", 15, 'did you mean "5"?'),
    ("PID-8 matches PID-7", 14, "a pattern in quotes"),
    ("upper(PID-8) exists", 0, "is not empty"),
    ("1 is empty", 0, 'did you mean "1"?'),
    ('number("x") == 1', 7, "no number"),
    ('upper() == "x"', 6, "needs 1"),
    ('upper(PID-8, "x") == "x"', 13, "takes 1"),
    ('substring(PID-5, "a") == "x"', 17, "whole number"),
    ('substring(PID-5, 0) == "x"', 17, "counted from 1"),
    ('substring(PID-5, 1.5) == "x"', 17, "whole number"),
    ('substring(PID-5) == "x"', 15, "needs 2"),
    ('substring(PID-5, 1, -1) == "x"', 20, "whole number"),
    ('replace(PID-5, "", "x") == "x"', 15, "empty text"),
    ('pad(PID-5, 2000, "0") == "x"', 11, "1000"),
    ('pad(PID-5, 5, "00") == "x"', 14, "one character"),
    ('pad(PID-5, 5, "0", "middle") == "x"', 19, '"left"'),
    ('pad(PID-5, 5, PID-8) == "x"', 14, "in quotes"),
    ('date(PID-7, "%Y-%b") == "x"', 16, "%b"),
    ('date(PID-7, "%") == "x"', 13, "knows no %"),
    ('table("tables/ward.csv", PID-8) == "x"', 6, "did you mean tables/wards.csv?"),
    ('table(PID-8, PID-8) == "x"', 6, "in quotes"),
    ('concat() == "x"', 7, "needs 1"),
    ('upper(PID-8 == "F") == "x"', 6, "is a condition"),
    # no arithmetic
    ("PID-8 + 1 == 2", 6, "no arithmetic"),
    ("OBX-5 * 2 == 2", 6, "no arithmetic"),
    ("OBX-5 / 2 == 2", 6, "no arithmetic"),
    ("1.2.3 == 2", 0, "no number"),
    ("- 1 == 2", 0, "no number"),
    ("PID-8 == 0x10", 9, "no number"),
    ("PID-8 == {1}", 9, "[ ]"),
    # quantifiers
    ("any OBX", 7, "in brackets"),
    ("any OBX exists", 8, "in brackets"),
    ("any OBX-8", 9, "operator follows"),
    ('any upper(OBX-8) == "H"', 4, "a path follows"),
    ('any OBX-8 (OBX-2 == "NM")', 10, "any OBX (...)"),
    ('any OBX where OBX-2 == "NM"', 8, "round brackets"),
    ("any OBX (OBX-8)", 9, "OBX-8 is not empty"),
    ('any OBX (any NTE (NTE-3 == "x"))', 9, "only a field of OBX"),
    ('any OBX (any NTE-3 == "x")', 9, "only a field of OBX"),
    ('any OBX (any OBX (OBX-3 == "x"))', 9, "only a field of OBX"),
    ('none OBX-8 == "H"', 0, "is empty"),
]

VALUES = [
    ("", 0, "no expression"),
    ('PID-8 == "F"', 0, "a value is needed"),
    ("5", 0, 'did you mean "5"?'),
    ("PID", 0, "PID-1"),
    ("concat(PID-3, 5)", 14, 'did you mean "5"?'),
    ("PID-3[*]", 0, "[1] for the first"),
    ("date()", 5, "needs 1"),
    ("now()", 0, "there are back"),
]


@pytest.mark.parametrize(("text", "column", "piece"), CONDITIONS)
def test_a_wrong_condition_is_refused_at_its_column_with_advice(text, column, piece):
    with pytest.raises(ExpressionError) as caught:
        compile_condition(text, tables=TABLES)
    assert (caught.value.column, piece) == (column, piece if piece in str(caught.value) else str(caught.value))
    assert caught.value.length >= 1


@pytest.mark.parametrize(("text", "column", "piece"), VALUES)
def test_a_wrong_value_is_refused_at_its_column_with_advice(text, column, piece):
    with pytest.raises(ExpressionError) as caught:
        compile_value(text, tables=TABLES)
    assert (caught.value.column, piece) == (column, piece if piece in str(caught.value) else str(caught.value))


PATTERNS = [
    ("(?=a)b", 0, "lookahead"),
    ("ab(?!c)", 2, "negative lookahead"),
    ("x(?<=a)b", 1, "lookbehind"),
    ("(?<!a)b", 0, "negative lookbehind"),
    (r"(a)\1", 3, "backreference"),
    (r"(?P<x>a)(?P=x)", 8, "backreference"),
    (r"a\k<x>", 1, "backreference"),
    ("(?>a+)b", 0, "atomic group"),
    ("a++b", 1, "possessive"),
    ("a*+b", 1, "possessive"),
    ("(?(1)a|b)", 0, "conditional"),
    ("(?#c)a", 0, "comment"),
    ("(?R)", 0, "recursion"),
    (r"a\Z", 1, r"\Z"),
    ("a[bc", 1, "missing ]"),
    ("(ab", 0, "missing )"),
    ("*a", 0, "repetition operator"),
    ("a{2000}", 1, "repetition size"),
    ("((((a{100}){100}){100}){100})", 0, "repetition size"),
    (r"\p{L}{1000}", 0, "memory"),
    ("x" * 1001, 0, "1000"),
]


@pytest.mark.parametrize(("pattern", "offset", "piece"), PATTERNS)
def test_a_pattern_that_cannot_be_is_refused_by_name_and_column(pattern, offset, piece):
    with pytest.raises(ExpressionError) as caught:
        compile_condition(f'PID-3 matches "{pattern}"')
    assert piece in str(caught.value)
    if piece not in ("missing )", "memory", "repetition size"):
        assert caught.value.column == len('PID-3 matches "') + offset


@pytest.mark.parametrize(
    "pattern", [r"[(?=]", r"\(\?=a", r"[]*+]", r"\Q(?=\E", r"[^]\\]+", r"\x{00E9}", "(?i)abc", r"\p{Lu}"]
)
def test_what_only_looks_like_a_forbidden_construct_passes(pattern):
    compile_condition(f'PID-3 matches "{pattern}"')


def test_the_error_shows_sentence_and_hint():
    with pytest.raises(ExpressionError) as caught:
        compile_condition('PID-8 = "F"')
    assert str(caught.value) == "'=' means nothing here (did you mean ==?)"
    assert (caught.value.message, caught.value.hint) == ("'=' means nothing here", "did you mean ==?")


def test_limits_are_told():
    for text, piece in [
        ("(" * 40 + "PID-8 exists" + ")" * 40, "32 deep"),
        ("not " * 40 + "PID-8 exists", "32 deep"),
        ("upper(" * 40 + "PID-8" + ")" * 40 + " exists", "calls"),
        ("PID-8 in [" + ", ".join(["1"] * 1001) + "]", "1000 items"),
        ('PID-8 == "' + "x" * 20_000 + '"', "characters"),
        ("concat(" + ", ".join(["PID-8"] * 17) + ') == "x"', "takes 16"),
        ("PID-8 == " + "1" * 101, "too long"),
    ]:
        with pytest.raises(ExpressionError, match=piece):
            compile_condition(text)
