"""Every example of the documentation is run: channels through the loader, commands as typed, links followed."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import indent

import click
import pytest
import yaml

from engine.cli.main import segmill
from engine.config.channel import ChannelFile
from engine.config.profile import ProfileFile
from engine.config.profile_load import AnyFiles, load_profile
from engine.config.schema import profile_schema
from engine.config.settings import SiteSettings
from engine.config.site import load_site
from engine.config.table import Table
from engine.docs import reference
from engine.model.store_key import StoreKey
from engine.pipeline.compile import compile_channel
from engine.pipeline.expect import EXPECT, read_expectations
from engine.pipeline.registry import load_kinds, load_steps
from engine.testing.markdown import Block, blocks, commands, prints
from tests.config.test_schema import complaints
from tests.forked import Forked
from tests.ports import free_port
from tests.terminal import Terminal

REPOSITORY = Path(__file__).parent.parent.parent
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CHANGELOG.md",
    REPOSITORY / "samples" / "README.md",
    *sorted((REPOSITORY / "engine" / "docs").rglob("*.md")),
]
BLOCKS = {page: blocks(page) for page in PAGES}
ALL_YAML = [block for found in BLOCKS.values() for block in found if block.language == "yaml"]
EXPECTED = [block for block in ALL_YAML if block.about.endswith(EXPECT)]
SHOWN = [block for block in ALL_YAML if block not in EXPECTED]
PROFILES = [block for block in SHOWN if set(yaml.safe_load(block.text)) <= set(ProfileFile.known_keys())]
YAML = [block for block in SHOWN if block not in PROFILES]
WITH_COMMANDS = [page for page, found in BLOCKS.items() if any(b.language == "console" for b in found)]

SCREEN = "screen"

HANGS_S = 120
"""What has not come by then never will."""

AGAIN = ("segmill messages", "segmill queue list", "segmill tables misses", "curl ", "ls", "cat", "find ", "sha256sum ")
"""Commands that a reader gives again when what they ask for is on its way."""

CHANNEL_KEYS = set(ChannelFile.known_keys())
MISSING = {
    "listen": "listen:\n  mllp: {port: 0}\n",
    "routes": "routes:\n  - to: out\n",
    "destinations": "destinations:\n  out:\n    file: {folder: out}\n",
}
PORTS = {
    "2575": "SEGMILL_ADT_PORT",
    "2577": "SEGMILL_RESULTS_PORT",
    "6661": "SEGMILL_RIS_PORT",
    "6662": "SEGMILL_EPR_PORT",
    "9464": "SEGMILL_ADMIN_PORT",
}
"""The ports that pages use, and what a shipped channel takes another one from."""

TAUGHT = {
    REPOSITORY / "engine" / "docs" / f"{name}.md"
    for name in (
        "tutorial",
        "new-feed",
        "z-segments",
        "pdf-results",
        "slow-receiver",
        "cases-from-real-traffic",
    )
}
"""Pages that are followed word for word: nothing in them is only shown."""

AFRESH = {REPOSITORY / "engine" / "docs" / f"{name}.md" for name in ("coming-from-mirth", "z-segments")}
"""Pages whose every command begins with an interpreter, as a reader's does; the others' are forks (`tests.forked`)."""


def name_of(thing: Block | Path) -> str:
    return thing.where if isinstance(thing, Block) else str(thing.relative_to(REPOSITORY))


# -- channels ---------------------------------------------------------------------------------------


def files_for(block: Block) -> dict[str, str]:
    """The files a channel of a page names: those the page shows, and stand-ins for tables and certificates."""
    named = dict.fromkeys(re.findall(r"tables/[\w-]+\.csv", block.text), "from,to\nA,B\n")
    named |= dict.fromkeys(re.findall(r"profile: ([\w./-]+\.yaml)", block.text), "description: any\n")
    shown_profiles = {f"../../{b.about}": b.text for b in BLOCKS[block.page] if b.about.startswith("profiles/")}
    named |= {path: text for path, text in shown_profiles.items() if path in named}
    named |= dict.fromkeys(re.findall(r"[\w./-]+\.(?:crt|key|pem)\b", block.text), "not read by a check\n")
    shown = [b for b in BLOCKS[block.page] if b.language in ("csv", "python") and b.about]
    return named | {b.about: b.text for b in shown}


def whole_channel(block: Block) -> str:
    """The block with what it leaves out: where messages come from and go to."""
    keys = set(yaml.safe_load(block.text))
    assert keys <= CHANNEL_KEYS, f"{block.where} is neither a channel nor a site"
    absent = [text for key, text in MISSING.items() if key not in keys]
    if "routes" not in keys and "destinations" in keys:
        first = next(iter(yaml.safe_load(block.text)["destinations"]))
        absent = [text.replace("to: out", f"to: {first}") for text in absent]
    return block.text + "".join(absent)


@pytest.mark.parametrize("block", EXPECTED, ids=name_of)
def test_shown_expectations_are_read_without_a_mistake(block: Block):
    assert read_expectations(block.text.encode()).wrong == []


@pytest.mark.parametrize("block", PROFILES, ids=name_of)
def test_a_shown_profile_is_read_without_a_finding(block: Block, tmp_path: Path):
    beside = [b for b in BLOCKS[block.page] if b.about.startswith("profiles/")]
    for one in (*beside, block):
        (tmp_path / Path(one.about or "this.yaml").name).write_text(one.text, encoding="utf-8")
    _, findings = load_profile(Path(block.about or "this.yaml").name, AnyFiles(tmp_path))
    assert [f"{f.line}:{f.column} {f.code} {f.message}" for f in findings] == []
    assert complaints(profile_schema(), block.text) == []


@pytest.mark.parametrize("block", YAML, ids=name_of)
def test_a_shown_file_is_read_without_a_finding(block: Block, make_site, monkeypatch):
    if set(yaml.safe_load(block.text)) <= set(SiteSettings.known_keys()):
        channel = MISSING["listen"] + MISSING["routes"] + MISSING["destinations"]
        # A site may name one of its destinations: that one is there.
        status = (yaml.safe_load(block.text).get("dicom") or {}).get("status")
        name, _, destination = status["to"].partition("/") if status else ("a", "", "out")
        site = make_site({name: re.sub(r"\bout\b", destination, channel)}, settings=block.text)
        for path in re.findall(r"(?<![\w./-])[\w.-][\w./-]*\.(?:crt|key|pem)\b", block.text):  # none outside it
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(f"{StoreKey(bytes(range(32))).line()}\n")  # nothing is read of the others
            (site / path).chmod(0o600)
    else:
        site = make_site({"a": {"channel.yaml": whole_channel(block), **files_for(block)}})
    loaded = load_site(site, load_kinds(), {})
    errors = [f"{f.line}:{f.column} {f.code} {f.message}" for f in loaded.findings if f.is_error]
    assert not errors, f"{block.where}\n" + indent("\n".join(errors), "  ")
    compile_channel(loaded.channels[0], load_steps(), runs_own_code=True)


@pytest.mark.parametrize("block", [b for found in BLOCKS.values() for b in found if b.language == "csv"], ids=name_of)
def test_a_shown_table_is_in_order(block: Block):
    table, findings = Table.load(block.text, block.about)
    assert not findings
    assert table.size


# -- commands ---------------------------------------------------------------------------------------


class Shell:
    """One reader at a terminal: a folder, an environment, and what was left running."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = env
        self.running: list[tuple[str, subprocess.Popen[bytes], Path]] = []
        self.terminal: Terminal | None = None

    def run(self, text: str) -> tuple[int, str]:
        """One command as bash runs it; a `cd` counts for those after it."""
        script = f"{text}\ncode=$?\npwd >&3\nexit $code\n"
        where = self.folder / ".pwd"
        done = subprocess.run(
            ["bash", "-c", f"exec 3>{where}\n{script}"],
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANGS_S,
        )
        return done.returncode, self.printed(done.stdout)

    @property
    def cwd(self) -> Path:
        where = self.folder / ".pwd"
        return Path(where.read_text().strip()) if where.is_file() else self.folder

    def start(self, text: str, until: str) -> None:
        """A command that goes on; returns when it has printed what the page shows of its start."""
        log = self.folder / f".terminal-{len(list(self.folder.glob('.terminal-*')))}"
        with log.open("w") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {text}"],
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.running.append((text, process, log))
        end = time.monotonic() + HANGS_S
        while not prints(until, self.printed(log.read_text())) and process.poll() is None and time.monotonic() < end:
            threading.Event().wait(0.05)
        assert prints(until, self.printed(log.read_text())), f"{text} printed\n{log.read_text()}"

    def watch(self, text: str) -> None:
        """A command on a terminal of its own; Ctrl-C for the one that was there."""
        self.end_watch()
        self.terminal = Terminal(["bash", "-c", f"exec {text}"], self.cwd, self.env)

    def end_watch(self) -> None:
        if self.terminal is not None:
            code = self.terminal.interrupt()
            self.terminal.close()
            self.terminal = None
            assert code == 0

    def shows(self, screen: str) -> None:
        """Wait until the terminal shows what the page does."""
        assert self.terminal is not None, "nothing runs on a terminal"
        self.terminal.until(lambda text: prints(screen, self.printed(text)))

    def printed(self, text: str) -> str:
        """Of a reader whose home is /home/ana."""
        return text.replace(str(self.folder), "/home/ana")

    def stop(self, named: str = "") -> None:
        """Ctrl-C for what runs, or only for what was started as `named`; it must end well."""
        if not named:
            self.end_watch()
        for text, process, log in [one for one in reversed(self.running) if named in ("", one[0])]:
            self.running = [one for one in self.running if one[1] is not process]
            process.send_signal(signal.SIGINT)
            try:
                code = process.wait(HANGS_S)
            finally:
                process.kill()
            assert code == 0, f"{text} ended with {code}\n{log.read_text()}"


@pytest.fixture
def ports() -> dict[str, str]:
    """The pages' usual ports, and free ones in their place."""
    return {usual: str(free_port()) for usual in PORTS}


@pytest.fixture
def shell(tmp_path: Path, ports: dict[str, str], forked: Forked, request: pytest.FixtureRequest):
    bin_folder = tmp_path / ".bin"
    bin_folder.mkdir()
    command = bin_folder / "segmill"
    afresh = request.node.callspec.params["page"] in AFRESH
    start = shlex.join([*([sys.executable] if afresh else forked.python), "-m", "engine"])
    command.write_text(f'#!/bin/sh\nexec {start} "$@"\n')
    command.chmod(0o755)
    env = {
        **os.environ,
        **{variable: ports[usual] for usual, variable in PORTS.items()},
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "LC_ALL": "C.UTF-8",
    }
    made = Shell(tmp_path, env)
    yield made
    if made.terminal is not None:
        made.terminal.close()
    for _, process, _ in made.running:
        process.kill()
        process.wait()


def with_ports(text: str, ports: dict[str, str]) -> str:
    return re.sub(r"\b(" + "|".join(ports) + r")\b", lambda found: ports[found[1]], text)


@pytest.mark.timeout(900)  # the tutorial starts sixty processes, one after the other
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_a_page_works_as_typed(page: Path, shell: Shell, ports: dict[str, str]):
    shutil.copytree(REPOSITORY / "samples", shell.folder / "samples")
    for block in BLOCKS[page]:
        if block.language == "console":
            run_block(block, shell, ports)
        elif block.about == SCREEN:
            shell.shows(with_ports(block.text, ports))
        elif is_file(block):
            write_file(shell.cwd / block.about, with_ports(block.text, ports))
    shell.stop()


def is_file(block: Block) -> bool:
    return bool(block.about) and block.language in ("yaml", "csv", "hl7", "python", "bash")


@pytest.mark.parametrize("page", sorted(TAUGHT), ids=name_of)
def test_nothing_on_a_page_that_teaches_is_only_shown(page: Path):
    """Every block is a file to write, a command to give or what a screen shows, and no output is all dots."""
    for block in BLOCKS[page]:
        assert block.language == "console" or is_file(block) or block.about == SCREEN, block.where
        for command in commands(block) if block.language == "console" else ():
            assert not re.fullmatch(r"[.\s]+", command.output), f"{block.where} $ {command.text}"


def write_file(path: Path, text: str) -> None:
    """A file that the page tells the reader to make or to change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run_block(block: Block, shell: Shell, ports: dict[str, str]) -> None:
    for command in commands(block):
        typed, shown = with_ports(command.text, ports), with_ports(command.output, ports)
        if block.about == "terminal":
            shell.watch(typed)
            shell.shows(shown)
            continue
        if block.about == "background":
            shell.stop(typed)  # the page says so where it starts a thing again
            shell.start(typed, shown)
            continue
        # What a lane delivers comes a moment after the ACK: a reader would look again, so this does.
        until = time.monotonic() + (HANGS_S if typed.startswith(AGAIN) else 0)
        while True:
            code, printed = shell.run(typed)
            if (code == command.exit_code and prints(shown, printed)) or time.monotonic() > until:
                break
            threading.Event().wait(0.1)
        assert prints(shown, printed), f"{block.where} $ {typed}\nshown:\n{shown}\nprinted:\n{printed}"
        assert code == command.exit_code, f"{block.where} $ {typed}\nended with {code}\n{printed}"


# -- the rest ---------------------------------------------------------------------------------------


def test_the_reference_is_what_the_code_says():
    assert reference.PAGE.read_text(encoding="utf-8") == reference.render(), "run: make reference"


def anchors(page: Path) -> set[str]:
    """Of every heading, as git hosts make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{name_of(page)}: no heading for #{anchor}"


def test_the_index_leads_to_every_page():
    index = REPOSITORY / "engine" / "docs" / "README.md"
    linked = set(re.findall(r"\]\(([\w-]+\.md)(?:#[\w-]+)?\)", index.read_text(encoding="utf-8")))
    assert {page.name for page in index.parent.glob("*.md")} - {index.name} == linked


def mentioned(page: Path) -> list[str]:
    """Command lines in running text and in blocks that are only shown."""
    inline = re.findall(r"`((?:sudo [^`]*?/)?segmill [^`]+)`", page.read_text(encoding="utf-8"))
    shown = [b.text for b in BLOCKS[page] if b.language in ("", "text", "bash")]
    lines = [line for text in shown for line in text.splitlines() if re.search(r"(^|/| )segmill \w", line)]
    return [part for line in inline + lines for part in re.findall(r"segmill ([a-z]+(?: .*)?)$", line)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_mentioned_is_there_with_its_options(page: Path):
    context = click.Context(segmill)
    known = {name: segmill.get_command(context, name) for name in segmill.list_commands(context)}
    for line in mentioned(page):
        name, *words = line.split()
        assert name in known, f"{name_of(page)}: segmill {line}"
        command = known[name]
        if isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command = command.get_command(context, words[0])
            assert command is not None, f"{name_of(page)}: segmill {line}"
        options = {o for parameter in command.params for o in parameter.opts} | {"--help", "--debug"}
        unknown = {word for word in words if word.startswith("--")} - options
        assert not unknown, f"{name_of(page)}: segmill {line}"
