"""What can be said of one channel beyond its models: expressions, paths, routes, and the files it names."""

import ast
import warnings
from collections.abc import Mapping

from engine.config.base import did_you_mean, nearest
from engine.config.channel import ChannelFile
from engine.config.expression import ExpressionError, compile_condition, compile_value
from engine.config.files import ChannelFiles
from engine.config.finding import ConfigFinding, Position, at
from engine.config.table import Table
from engine.config.types import (
    ConditionText,
    DestinationText,
    FileText,
    FunctionText,
    MarkedText,
    PathText,
    TablePath,
    ValueText,
)
from engine.config.walk import marked_texts
from engine.hl7.errors import PathError
from engine.hl7.path import compile_path


def read_tables(model: ChannelFile, files: ChannelFiles, shown: str) -> tuple[dict[str, Table], list[ConfigFinding]]:
    """The channel's code tables by path: each CSV file in its folder, and those that a step names elsewhere.

    `shown` is how people call the channel's folder.
    """
    tables: dict[str, Table] = {}
    findings: list[ConfigFinding] = []
    paths = [path for path in files.paths() if path.endswith(".csv")]
    named = {str(text): text for text, _ in marked_texts(model) if isinstance(text, TablePath)}
    for path in dict.fromkeys([*named, *paths]):
        try:
            raw = files.read(path)
        except OSError as exc:
            findings.append(_no_file(named.get(path), exc, paths, f"{shown}/{path}"))
            continue
        table, found = Table.load(raw, path)
        tables[path] = table
        findings += [
            ConfigFinding(code, f"{shown}/{path}", line, column, 1, text) for line, column, code, text in found
        ]
    return tables, findings


def check_channel(
    model: ChannelFile, tables: Mapping[str, Table], files: ChannelFiles, shown: str
) -> list[ConfigFinding]:
    """Findings of all marked texts and of the routes."""
    findings: list[ConfigFinding] = []
    for text, focus in marked_texts(model):
        if text.is_broken:
            continue
        if isinstance(text, ConditionText | ValueText | PathText):
            findings += _compiled(text, focus, tables)
        elif isinstance(text, FunctionText):
            findings += _function(text, files, shown)
        elif isinstance(text, FileText):
            findings += _file(text, files)
        elif isinstance(text, DestinationText) and text not in model.destinations:
            hint = did_you_mean(text, model.destinations)
            findings.append(at(_place(text), "E140", f"no destination is named '{text.shown}'", hint))
    return findings + _routes(model, shown)


def _place(text: MarkedText, offset: int = 0, length: int = 0) -> Position:
    return text.position(offset, length) or Position("", 0, 0)


def _compiled(text: MarkedText, focus: str | None, tables: Mapping[str, Table]) -> list[ConfigFinding]:
    """What is wrong with a condition, a value's expression or a path, at its own column."""
    try:
        if isinstance(text, ConditionText):
            compile_condition(str(text), focus=focus, tables=tables)
        elif isinstance(text, ValueText):
            if text.is_expression:
                compile_value(text.expression, focus=focus, tables=tables)
        else:
            compile_path(str(text), focus=focus)
    except ExpressionError as exc:
        shift = 1 if isinstance(text, ValueText) else 0
        if text.is_secret:
            return [_secret(text, "E130")]
        place = _place(text, exc.column + shift, exc.length)
        return [at(place, "E130", exc.message, exc.hint)]
    except PathError as exc:
        if text.is_secret:
            return [_secret(text, "E131")]
        return [at(_place(text, exc.column, 1), "E131", exc.message)]
    return []


def _secret(text: MarkedText, code: str) -> ConfigFinding:
    return at(_place(text), code, "with the secret in it, this cannot be understood; the secret is not shown")


def _no_file(text: MarkedText | None, error: OSError, paths: list[str], shown: str) -> ConfigFinding:
    reason = (
        "there is no such file" if isinstance(error, FileNotFoundError) else (error.strerror or "it cannot be read")
    )
    if text is None:
        return ConfigFinding("E132", shown, 0, 0, 0, f"cannot be read: {reason}")
    close = nearest(text, paths)
    return at(_place(text), "E132", f"cannot read {text.shown}: {reason}", f"did you mean {close}?" if close else "")


def _file(text: FileText, files: ChannelFiles) -> list[ConfigFinding]:
    try:
        files.check(str(text))
    except OSError as exc:
        return [_no_file(text, exc, files.paths(), "")]
    return []


def _function(text: FunctionText, files: ChannelFiles, shown: str) -> list[ConfigFinding]:
    """The file is there, is Python, and defines the function. Nothing of it is run."""
    paths = [path for path in files.paths() if path.endswith(".py")]
    try:
        source = files.read(text.file)
    except OSError as exc:
        return [_no_file(text, exc, paths, "")]
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
    if text.function in names:
        return []
    place = _place(text, len(text.file) + 1, len(text.function))
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name == text.function:
            return [at(place, "E134", f"{text.function} is async", "a step's function is called and returns: def")]
    hint = did_you_mean(text.function, names)
    return [at(place, "E134", f"{text.file} has no function {text.function}", hint)]


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


def _routes(model: ChannelFile, shown: str) -> list[ConfigFinding]:
    if not model.routes:
        message = "no routes: no message is delivered anywhere"
        return [ConfigFinding("W145", f"{shown}/channel.yaml", 0, 0, 0, message, "add routes: [{to: destination}]")]
    taken = {str(route.to) for route in model.routes}
    return [
        at(
            Position(destination.file, destination.line, destination.column, len(name)),
            "W141",
            f"no route goes to '{name}'",
            "add a route, or remove the destination",
        )
        for name, destination in model.destinations.items()
        if name not in taken
    ]
