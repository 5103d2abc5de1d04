"""What can be said of one channel beyond its models: expressions, paths, routes, and the files it names.

It works on the texts met while the file was read, so that a mistake elsewhere does not hide what is found here.
"""

import ast
import posixpath
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence

from engine.config.actions import ActionText
from engine.config.answers import AckWhen
from engine.config.base import ConfigModel, did_you_mean, nearest
from engine.config.channel import ChannelFile
from engine.config.entries import NAME_PATTERN
from engine.config.expression import ExpressionError, compile_condition, compile_value
from engine.config.files import ChannelFiles
from engine.config.finding import ConfigFinding, Position, at
from engine.config.literals import check_literal
from engine.config.node import SourceDict, SourceText
from engine.config.standard_names import check_names, check_segment
from engine.config.table import Table
from engine.config.types import (
    ConditionText,
    DestinationText,
    ExpressionText,
    FileText,
    FunctionText,
    PathText,
    SegmentText,
    TablePath,
    ValueText,
)
from engine.hl7.errors import PathError
from engine.hl7.path import Path, compile_path

Texts = Sequence[tuple[SourceText, str | None]]


def read_tables(texts: Texts, files: ChannelFiles, shown: str) -> tuple[dict[str, Table], list[ConfigFinding]]:
    """The channel's code tables by path: each CSV file in its folder, and those that a step names elsewhere.

    `shown` is how people call the channel's folder.
    """
    tables: dict[str, Table] = {}
    findings: list[ConfigFinding] = []
    paths = [path for path in files.paths() if path.endswith(".csv")]
    named = [text for text, _ in texts if isinstance(text, TablePath)]
    unreadable: dict[str, OSError] = {}
    for path in dict.fromkeys([*map(str, named), *paths]):
        try:
            raw = files.read(path)
        except OSError as exc:
            unreadable[path] = exc
            continue
        table, found = Table.load(raw, path)
        tables[path] = table
        place = posixpath.normpath(f"{shown}/{path}")
        findings += [ConfigFinding(code, place, line, column, 1, text) for line, column, code, text in found]
    findings += [_no_file(text, unreadable[text], paths) for text in named if text in unreadable]
    for path in unreadable.keys() - set(named):
        findings.append(
            ConfigFinding("E132", f"{shown}/{path}", 0, 0, 0, f"cannot be read: {_reason(unreadable[path])}")
        )
    return tables, findings


def check_texts(texts: Texts, tables: Mapping[str, Table], files: ChannelFiles, shown: str) -> list[ConfigFinding]:
    """What is wrong with expressions, paths, and the files and functions that are named."""
    findings: list[ConfigFinding] = []
    for text, focus in texts:
        if isinstance(text, ConditionText | ExpressionText | ValueText | PathText):
            findings += _compiled(text, focus, tables)
            if isinstance(text, ValueText):
                findings += check_literal(text)
        elif isinstance(text, SegmentText):
            findings += check_segment(text)
        elif isinstance(text, FunctionText):
            findings += _function(text, files, shown)
        elif isinstance(text, FileText):
            findings += _file(text, files)
    return findings


def check_routes(data: SourceDict, texts: Texts) -> list[ConfigFinding]:
    """Routes and destinations beside each other. `data` is the whole channel file."""
    destinations = data.value("destinations")
    named = [text for text, _ in texts if isinstance(text, DestinationText)]
    taking_over = {text.destination for text, _ in texts if isinstance(text, ActionText)}
    if not isinstance(destinations, SourceDict):
        if destinations is not None or nearest("destinations", data):
            return []  # the finding is that there are none, or that the key is misspelt
        destinations = SourceDict()
    elif destinations.node.is_broken:
        return []
    misnamed = [name for name in destinations if not re.fullmatch(NAME_PATTERN, name)]
    unknown = [text for text in named if text not in destinations and not nearest(text, misnamed)]
    findings = [
        at(_place(text), "E140", f"no destination is named '{text.shown}'", did_you_mean(text, destinations))
        for text in unknown
    ]
    findings += [_no_destination(text, destinations) for text, _ in texts if _is_unknown(text, destinations)]
    meant = {nearest(text, destinations) for text in unknown}
    if data.node.is_broken or ("routes" not in data and nearest("routes", data)):
        return findings
    if not data.value("routes"):
        place = _place(data.key("routes") or SourceText("")) if "routes" in data else data.node.position
        hint = "add routes: [{to: destination}]"
        return [*findings, at(place, "W145", "no routes: no message is delivered anywhere", hint)]
    return findings + [
        at(_place(name), "W141", f"no route goes to '{name.shown}'", "add a route, or remove the destination")
        for name in destinations
        if name not in named and name not in taking_over and name not in meant and name not in misnamed
    ]


def check_options(channel: ChannelFile, places: Mapping[tuple[str | int, ...], Position]) -> list[ConfigFinding]:
    """What the models of source and sinks doubt, at the key it is about."""
    listen = channel.listen
    models: list[tuple[tuple[str | int, ...], ConfigModel]] = [(("listen", listen.source), listen.options)]
    models += [(("destinations", name, one.sink), one.options) for name, one in channel.destinations.items()]
    findings: list[ConfigFinding] = []
    for path, model in models:
        for doubt in model.doubts():
            place = places.get((*path, doubt.key)) or places.get(path) or Position(listen.file, 1, 1)
            findings.append(at(place, doubt.code, doubt.message, doubt.hint))
    return findings


def _is_unknown(text: SourceText, destinations: SourceDict) -> bool:
    return (
        isinstance(text, AckWhen | ActionText) and text.destination != "" and destinations.key(text.destination) is None
    )


def _no_destination(text: SourceText, destinations: SourceDict) -> ConfigFinding:
    """Of delivered(x) or redirect(x), where there is no x."""
    assert isinstance(text, AckWhen | ActionText)
    place = _place(text, text.destination_column, len(text.destination))
    hint = did_you_mean(text.destination, destinations)
    return at(place, "E140", f"no destination is named '{text.destination}'", hint)


def _place(text: SourceText, offset: int = 0, length: int = 0) -> Position:
    return text.position(offset, length) or Position("", 0, 0)


def _compiled(text: SourceText, focus: str | None, tables: Mapping[str, Table]) -> list[ConfigFinding]:
    """What is wrong with a condition, a value's expression or a path, at its own column."""
    paths: Sequence[Path] = ()
    try:
        if isinstance(text, ConditionText):
            condition = compile_condition(str(text), focus=focus, tables=tables)
            if condition.constant is not None:
                return [_constant(text, condition.constant)]
            paths = condition.paths
        elif isinstance(text, ValueText):
            if text.is_expression:
                paths = compile_value(text.expression, focus=focus, tables=tables).paths
        elif isinstance(text, ExpressionText):
            value = compile_value(str(text), focus=focus, tables=tables)
            if value.constant is not None:
                hint = "name a place, such as PID-3.1; without it every message keeps its place"
                return [at(_place(text), "E149", f"'{text.shown}' is the same for every message", hint)]
            paths = value.paths
        else:
            paths = [compile_path(str(text), focus=focus)]
    except ExpressionError as exc:
        shift = 1 if isinstance(text, ValueText) else 0
        if text.is_secret:
            return [_secret(text, "E130")]
        place = _place(text, exc.column + shift, exc.length)
        return [at(place, "E130", exc.message, exc.hint)]
    except PathError as exc:
        if text.is_secret:
            return [_secret(text, "E131")]
        return [at(_place(text, exc.column, 1), "E131", exc.message, _path_hint(str(text), focus, exc.column))]
    return [] if text.is_secret else list(check_names(text, paths))


def _constant(text: ConditionText, outcome: bool) -> ConfigFinding:
    word = "true" if outcome else "false"
    hint = "name a place, such as PV1-2; or leave it out, if it is meant for all of them"
    return at(_place(text), "W130", f"the condition is {word} of every message", hint)


def _path_hint(text: str, focus: str | None, column: int) -> str:
    """What was probably meant: capital letters, a field after a hyphen as other tools do not write it, or `==`."""
    tried = [text.upper(), re.sub(r"^([A-Za-z]\w\w(?:\[[^\]]*\])?)[._ ]?(?=\d)", r"\1-", text).upper()]
    if text[column : column + 1] == "=":
        tried = [f"{text[:column]}={text[column:]}"]
    for meant in tried:
        try:
            compile_path(meant, focus=focus)
        except PathError:
            continue
        return f"did you mean {meant}?"
    return ""


def _secret(text: SourceText, code: str) -> ConfigFinding:
    return at(_place(text), code, "with the secret in it, this cannot be understood; the secret is not shown")


def _reason(error: OSError) -> str:
    return "there is no such file" if isinstance(error, FileNotFoundError) else (error.strerror or "it cannot be read")


def _no_file(text: SourceText, error: OSError, paths: Iterable[str], length: int = 0) -> ConfigFinding:
    """`length`: of the part of the text that is the path; 0 is all of it."""
    path = text[:length] if length else text
    close = nearest(path, paths)
    shown = "the file" if text.is_secret else path
    hint = f"did you mean {close}?" if close else ""
    return at(_place(text, 0, length), "E132", f"cannot read {shown}: {_reason(error)}", hint)


def _file(text: FileText, files: ChannelFiles) -> list[ConfigFinding]:
    try:
        files.check(str(text))
    except OSError as exc:
        return [_no_file(text, exc, files.paths())]
    return []


def _function(text: FunctionText, files: ChannelFiles, shown: str) -> list[ConfigFinding]:
    """The file is there, is Python, and defines the function. Nothing of it is run."""
    paths = [path for path in files.paths() if path.endswith(".py")]
    try:
        source = files.read(text.file)
    except OSError as exc:
        return [_no_file(text, exc, paths, len(text.file))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as exc:
        place = Position(f"{shown}/{text.file}", exc.lineno or 1, max(1, exc.offset or 1))
        return [at(place, "E135", f"this is not Python: {exc.msg}")]
    except (ValueError, RecursionError, MemoryError):
        return [at(_place(text), "E135", f"{text.file} is not Python")]
    names = _functions(tree)
    place = _place(text, len(text.file) + 1, len(text.function))
    if text.function in names:
        return _call_of(text, tree, place)
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name == text.function:
            return [at(place, "E134", f"{text.function} is async", "a step's function is called and returns: def")]
    hint = did_you_mean(text.function, names)
    return [at(place, "E134", f"{text.file} has no function {text.function}", hint)]


def _call_of(text: FunctionText, tree: ast.Module, place: Position) -> list[ConfigFinding]:
    """Whether the function can be called with a message and a context; nothing is said of what is not defined here."""
    defined = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == text.function]
    if not defined:
        return []
    takes = defined[-1].args
    most = len(takes.posonlyargs) + len(takes.args)
    least = most - len(takes.defaults)
    needs_more = any(default is None for default in takes.kw_defaults)
    if (least <= 2 and (most >= 2 or takes.vararg) and not needs_more) or defined[-1].decorator_list:
        return []
    message = f"{text.function} cannot be called with a message and a context"
    return [at(place, "E134", message, f"write def {text.function}(message, context):")]


def _functions(tree: ast.Module) -> list[str]:
    """Names at the top of a module that can be functions: defined, imported or assigned."""
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names
