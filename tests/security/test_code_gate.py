"""No line of the engine runs text as code, and XML is read in two places (reliability.md SEC3, SEC4)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ENGINE = REPOSITORY / "engine"
MODULES = sorted(path for path in ENGINE.rglob("*.py"))

NAMES = {"eval", "exec", "execfile", "compile", "__import__"}
"""Called by their bare name, or as an attribute of builtins."""
MODULES_BANNED = {"pickle", "cPickle", "dill", "marshal", "shelve", "jsonpickle", "commands", "popen2", "telnetlib"}
XML = {"xml", "lxml", "defusedxml", "xmltodict"}
ATTRIBUTES = {
    ("os", "system"),
    ("os", "popen"),
    ("tempfile", "mktemp"),
    ("yaml", "load"),
    ("yaml", "load_all"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
}
METHODS = {"from_string", "render_template_string"}
"""Of a template engine: text that becomes a template could be somebody's message."""

MAY = {
    ("engine/config/expression/generate.py", "compile"): "the language's own syntax tree, never text",
    ("engine/pipeline/own_code.py", "compile"): "steps.py of the site, in its worker",
    ("engine/pipeline/own_code.py", "exec"): "the same",
    ("engine/pipeline/own_code.py", "__import__"): "what steps.py imports",
    ("engine/config/xml_tree.py", "xml"): "profiles and exports: one parser, no DOCTYPE",
    ("engine/hl7/convert/xml_form.py", "xml"): "messages as XML: one parser, no DOCTYPE; and the quoting of attributes",
    ("engine/cli/validation_junit.py", "xml"): "writes only: quoting",
    ("engine/adapters/dicom_audit.py", "xml"): "writes only: audit messages",
}


def offences(tree: ast.AST) -> Iterator[str]:
    """The words of what is banned, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from _module(node.module or "")
            for alias in node.names:
                if ((node.module or "").split(".")[0], alias.name) in ATTRIBUTES:
                    yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Name) and node.id in NAMES:
            yield node.id
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if (owner, node.attr) in ATTRIBUTES:
                yield f"{owner}.{node.attr}"
            elif (owner == "builtins" and node.attr in NAMES) or node.attr in METHODS:
                yield node.attr
        elif isinstance(node, ast.keyword) and node.arg == "shell":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                yield "shell"
        elif isinstance(node, ast.Call) and _is_sql_put_together(node):
            yield "SQL put together"


def _module(name: str) -> Iterator[str]:
    first = name.split(".")[0]
    if first in MODULES_BANNED:
        yield first
    if first in XML:
        yield "xml"


def _is_sql_put_together(call: ast.Call) -> bool:
    if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("execute", "executemany", "executescript")):
        return False
    if not call.args:
        return False
    first = call.args[0]
    if isinstance(first, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in first.values)
    if isinstance(first, ast.BinOp) and isinstance(first.op, ast.Mod | ast.Add):
        return True
    return isinstance(first, ast.Call) and isinstance(first.func, ast.Attribute) and first.func.attr == "format"


PRAGMAS = {"engine/adapters/stores/"}
"""PRAGMA takes no parameters; what stands in those is looked at in tests/adapters/stores/test_statements.py."""


def test_no_module_runs_text_and_xml_is_read_only_where_it_may() -> None:
    assert len(MODULES) > 300
    wrong = {}
    for path in MODULES:
        where = str(path.relative_to(REPOSITORY))
        found = set(offences(ast.parse(path.read_text(encoding="utf-8"))))
        if any(where.startswith(folder) for folder in PRAGMAS):
            found.discard("SQL put together")
        if found - {word for (module, word) in MAY if module == where}:
            wrong[where] = found
    assert not wrong


def test_each_exception_is_still_one() -> None:
    for where, word in MAY:
        assert word in set(offences(ast.parse((REPOSITORY / where).read_text(encoding="utf-8")))), (where, word)


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "exec(text)",
        "f = eval",
        "import builtins; builtins.exec(text)",
        "__import__(name)",
        "compile(text, 'x', 'exec')",
        "import pickle",
        "from pickle import loads",
        "import marshal",
        "import yaml; yaml.load(text)",
        "from yaml import unsafe_load",
        "import os; os.system(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=is_shell)",
        "environment.from_string(text)",
        "import xml.etree.ElementTree",
        "from xml.dom import minidom",
        "from lxml import etree",
        "cursor.execute(f'SELECT {name}')",
        "cursor.execute('SELECT %s' % name)",
        "cursor.execute('SELECT ' + name)",
        "cursor.execute('SELECT {}'.format(name))",
    ],
)
def test_the_gate_finds(code: str) -> None:
    assert list(offences(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["re.compile(text)", "cursor.execute('SELECT 1')", "subprocess.run(text, shell=False)", "self.evaluate(x)"]
)
def test_the_gate_lets_through(code: str) -> None:
    assert not list(offences(ast.parse(code)))


def test_templates_escape_and_say_nothing_of_their_own_to_be_safe() -> None:
    """Jinja2: whoever makes an environment escapes, and no template but one that draws switches that off."""
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "Environment" in text else ():
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Environment":
                escape = next((k.value for k in node.keywords if k.arg == "autoescape"), None)
                assert escape is not None, f"{path}: an environment that does not escape"
                assert not (isinstance(escape, ast.Constant) and escape.value is not True), path
    for template in ENGINE.rglob("*.html"):
        text = template.read_text(encoding="utf-8")
        assert "autoescape false" not in text and "|safe" not in text.replace(" ", ""), template
