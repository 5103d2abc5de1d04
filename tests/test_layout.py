"""One obvious place for everything, and nothing that a site without our network could not build."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
MODULES = sorted((REPOSITORY / "engine").rglob("*.py"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())

LONGEST = 600
"""Lines. Past 500 somebody should ask; a grammar or a state machine may say why not to split it."""

TOP_LEVEL = {"engine", "channels", "tests", "deploy", "samples"}
TOP_FILES = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile", ".gitignore", ".gitattributes"}


def tracked() -> list[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip("not a git clone, so nothing says which files belong")
    return listing.stdout.splitlines()


def test_the_top_level_holds_what_readers_expect_and_no_more():
    names = {path.split("/", 1)[0] for path in tracked()}
    assert names <= TOP_LEVEL | TOP_FILES | {".ci", ".github"}
    assert names >= {"pyproject.toml", "README.md", "LICENSE", "Makefile", "engine", "channels", "tests", "samples"}


def test_nothing_pins_a_build_to_one_network():
    forbidden = re.compile(r"pypi\.org|index-url|files\.pythonhosted|artifactory|nexus", re.I)
    for path in tracked():
        name = Path(path).name
        assert not name.endswith((".lock", "requirements.txt")), f"{path}: versions are bounded in pyproject.toml"
        if name in {"Makefile", "run", "pyproject.toml", "Dockerfile"}:
            found = forbidden.search((REPOSITORY / path).read_text())
            assert not found, f"{path} names a registry: {found and found.group()}"


def test_the_licence_is_the_whole_apache_text():
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_a_module_says_what_it_is_for_and_holds_one_idea(module: Path):
    source = module.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), "a module opens with what it promises"
    if not module.stem.endswith("_contract"):  # a suite of tests, one behaviour after the other
        assert source.count("\n") <= LONGEST, "what second idea has moved in?"


@pytest.mark.parametrize("folder", sorted({m.parent for m in MODULES}), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_every_folder_of_modules_is_a_package(folder: Path):
    assert (folder / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("group", "name", "target"),
    [(g, n, t) for g, entries in PROJECT["project"]["entry-points"].items() for n, t in entries.items()],
)
def test_every_step_sink_and_store_of_the_project_file_is_there(group: str, name: str, target: str):
    module, _, attribute = target.partition(":")
    kind = getattr(import_module(module), attribute)
    if group != "engine.stores":
        assert kind.name == name
        assert kind.model.model_config.get("extra") == "forbid", "an unknown key in a channel file is an error"


def test_the_command_answers_help_without_loading_the_engine():
    """`--help` at 3 a.m. is no place to wait: nothing heavy is imported for it."""
    code = "import sys, engine.cli.main; print(' '.join(sorted(m for m in sys.modules if '.' not in m)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "starlette", "uvicorn", "prometheus_client", "hl7apy"} & set(loaded)
