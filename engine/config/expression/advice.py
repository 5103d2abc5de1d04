"""Did you mean: what people write who come from other languages, and what this one says instead."""

from collections.abc import Iterable
from difflib import get_close_matches

KEYWORDS = frozenset(
    {"and", "or", "not", "in", "matches", "contains", "starts", "ends", "with", "is", "empty", "null"}
    | {"exists", "any", "all"}
)

# Longest first, as they are tried in this order.
SYMBOLS = (
    ("===", "did you mean ==?"),
    ("!==", "did you mean !=?"),
    ("&&", "did you mean and?"),
    ("||", "did you mean or?"),
    ("<>", "did you mean !=?"),
    ("=~", "did you mean matches?"),
    ("!~", "did you mean not ... matches?"),
    ("~=", "did you mean matches?"),
    ("=>", "did you mean >=?"),
    ("=<", "did you mean <=?"),
    ("=", "did you mean ==?"),
    ("!", "did you mean not?"),
    ("&", "did you mean and?"),
    ("|", "did you mean or?"),
    ("~", "did you mean matches?"),
    ("+", "there is no arithmetic; texts are joined by concat(a, b)"),
    ("*", "there is no arithmetic; every repetition is PID-3[*]"),
    ("/", "there is no arithmetic"),
    ("%", "there is no arithmetic"),
    ("{", "a list stands in [ ]"),
    ("}", "a list stands in [ ]"),
    ("“", 'use straight quotes: "'),
    ("”", 'use straight quotes: "'),
    ("„", 'use straight quotes: "'),
    ("‘", "use straight quotes: '"),
    ("’", "use straight quotes: '"),
    ("`", "use straight quotes: '"),
    (".", "a path is written PID-3.1"),
    (";", "one expression, no statements"),
    ("#", "no comments inside an expression"),
)

_OPERATORS = {
    "equals": "==",
    "equal": "==",
    "eq": "==",
    "is_equal": "==",
    "ne": "!=",
    "neq": "!=",
    "lt": "<",
    "le": "<=",
    "lte": "<=",
    "gt": ">",
    "ge": ">=",
    "gte": ">=",
    "like": "matches",
    "match": "matches",
    "regex": "matches",
    "regexp": "matches",
    "rlike": "matches",
    "has": "contains",
    "include": "contains",
    "includes": "contains",
    "contain": "contains",
    "startswith": "starts with",
    "starts_with": "starts with",
    "begins": "starts with",
    "endswith": "ends with",
    "ends_with": "ends with",
    "exist": "exists",
    "present": "exists",
    "isempty": "is empty",
    "is_empty": "is empty",
    "blank": "is empty",
    "isnull": "is null",
    "is_null": "is null",
    "none": 'is empty, or "" for the empty text',
    "nil": 'is empty, or "" for the empty text',
    "true": "a condition as it stands; there is no true",
    "false": "not (...); there is no false",
    "some": "any",
    "every": "all",
    "each": "all",
    "forall": "all",
    "where": 'round brackets, as in any OBX (OBX-2 == "NM" and OBX-8 == "HH")',
    "between": ">= and <=",
}

_FUNCTIONS = {
    "upcase": "upper",
    "uppercase": "upper",
    "toupper": "upper",
    "touppercase": "upper",
    "ucase": "upper",
    "downcase": "lower",
    "lowercase": "lower",
    "tolower": "lower",
    "tolowercase": "lower",
    "lcase": "lower",
    "strip": "trim",
    "ltrim": "trim",
    "rtrim": "trim",
    "substr": "substring",
    "mid": "substring",
    "left": "substring",
    "right": "substring",
    "slice": "substring",
    "len": "length",
    "size": "length",
    "strlen": "length",
    "count": "length",
    "join": "concat",
    "concatenate": "concat",
    "append": "concat",
    "ifnull": "coalesce",
    "ifempty": "coalesce",
    "nvl": "coalesce",
    "default": "coalesce",
    "lookup": "table",
    "map": "table",
    "lpad": "pad",
    "rpad": "pad",
    "zfill": "pad",
    "padleft": "pad",
    "padright": "pad",
    "substitute": "replace",
    "gsub": "replace",
    "int": "number",
    "float": "number",
    "decimal": "number",
    "num": "number",
    "strftime": "date",
    "formatdate": "date",
    "dateformat": "date",
    "datetime": "date",
    "todate": "date",
}


def nearest(word: str, known: Iterable[str]) -> str:
    """'did you mean x?' for the known word most like `word`, or ''."""
    found = get_close_matches(word.lower(), sorted(known), 1, 0.7)
    return f"did you mean {found[0]}?" if found else ""


def for_function(name: str, known: Iterable[str]) -> str:
    """What to write instead of the unknown function `name`."""
    known = sorted(known)
    plain = name.lower().replace("_", "")
    if name.lower() in known:
        return f"did you mean {name.lower()}?"
    if plain in _FUNCTIONS:
        return f"did you mean {_FUNCTIONS[plain]}?"
    if plain in _OPERATORS:
        return f"did you mean {_OPERATORS[plain]}?"
    return nearest(name, known) or f"there are {', '.join(known)}"


def for_word(word: str, functions: Iterable[str]) -> str:
    """What to write instead of the unknown `word`, or ''."""
    lower = word.lower()
    if lower in KEYWORDS:
        return f"keywords are in small letters: {lower}"
    if lower in _OPERATORS:
        return f"did you mean {_OPERATORS[lower]}?"
    if lower in functions or lower.replace("_", "") in _FUNCTIONS:
        name = lower if lower in functions else _FUNCTIONS[lower.replace("_", "")]
        return f"did you mean {name}(...)?"
    if len(word) > 3 and word[3] == "_" and word[4:].replace("_", "").isdigit():
        return f"did you mean {word[:3].upper()}-{word[4:].replace('_', '.')}?"
    return nearest(word, KEYWORDS)
