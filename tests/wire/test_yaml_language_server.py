"""The schemas as editors see them: completion, hover and complaints of the real yaml-language-server, from npm.

It is the server behind YAML in VS Code, Neovim, Helix, Emacs and others. What `segmill init` writes is all it is given.
"""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.cli.main import run
from tests.wire.language_server import LanguageServer

PACKAGE = "yaml-language-server@2"
HEAD = "listen:\n  mllp: {port: 2575}\n"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's program; installed only where SEGMILL_NPM=1 allows the network."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    if os.environ.get("SEGMILL_NPM") != "1":
        pytest.skip("SEGMILL_NPM=1 is not set: nothing is fetched from npm")
    folder = tmp_path_factory.mktemp("yaml-language-server")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", PACKAGE]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm could not install {PACKAGE} in time")
    if done.returncode != 0:
        pytest.skip(f"npm could not install {PACKAGE}: {done.stderr.strip()[-200:]}")
    return folder / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"


@pytest.fixture
async def editor(script: Path, tmp_path: Path) -> AsyncIterator[LanguageServer]:
    """A server on a new site, as `segmill init` makes it."""
    site = tmp_path / "site"
    assert run(["init", str(site), "--quiet"]) == 0
    server = await LanguageServer.start(script, site)
    yield server
    await server.stop()


async def test_keys_of_a_channel_are_completed_and_explained(editor: LanguageServer):
    seen = await editor.at(HEAD + "|")
    assert {"accept", "from", "validate", "ack", "steps", "routes", "destinations"} <= set(seen.offered)
    assert seen.offered["routes"] == "Where a message goes; it may take several"
    assert "When and how senders are answered" in (await editor.at(HEAD + "ac|k: {when: stored}\n")).hover


async def test_names_of_steps_are_completed_and_explained(editor: LanguageServer):
    for text in ("steps:\n  - |", "steps:\n  - each: OBX\n    do:\n      - |"):
        seen = await editor.at(HEAD + text)
        assert {"filter", "set", "copy", "delete", "map", "each", "validate", "convert", "python"} <= set(seen.offered)
    assert "messages that go on" in seen.offered["filter"]
    assert "Write places, in order" in (await editor.at(HEAD + "steps:\n  - s|et: {PID-8: F}\n")).hover
    assert "code tables" in (await editor.at(HEAD + "steps:\n  - ma|p: {PV1-3.1: tables/wards.csv}\n")).hover


PLACES_OF_PATHS = [
    "steps:\n  - set:\n      |",
    "steps:\n  - set:\n      PID-5.|: x",
    "steps:\n  - map:\n      |",
    "steps:\n  - copy:\n      |",
    "steps:\n  - copy:\n      PID-2: |",
    "steps:\n  - delete:\n      - |",
    "steps:\n  - validate:\n      required:\n        - |",
    "steps:\n  - each: OBX\n    do:\n      - delete:\n          - |",
]


async def test_hl7_paths_are_completed_and_explained(editor: LanguageServer):
    for text in PLACES_OF_PATHS:
        offered = (await editor.at(HEAD + text)).offered
        assert offered.get("PID-3") == "Patient Identifier List (CX)", text
        assert offered["PID-3.1"] == "Patient Identifier List: ID Number (ST)"
        assert {"MSH-5", "PV1-3.1", "OBR-4", "OBX-5", "ORC-2"} <= set(offered)
        assert "MSH-2" not in offered


async def test_a_path_says_what_it_is_on_hover(editor: LanguageServer):
    for step in ("set: {PI|D-8: F}", "map: {PI|D-8: tables/sex.csv}", "delete: [PI|D-8]", "copy: {PID-2: PI|D-8}"):
        assert "Administrative Sex (IS)" in (await editor.at(f"{HEAD}steps:\n  - {step}\n")).hover, step


async def test_segments_types_and_times_of_answers_are_completed(editor: LanguageServer):
    assert {"OBX", "PID", "NTE"} <= set((await editor.at(HEAD + "steps:\n  - each: |")).offered)
    assert (await editor.at(HEAD + "accept:\n  - |")).offered["ADT^A08"] == "update"
    assert {"processed", "stored"} <= set((await editor.at(HEAD + "ack:\n  when: |")).offered)


async def test_destinations_are_completed_and_explained(editor: LanguageServer):
    kinds = (await editor.at(HEAD + "destinations:\n  ris:\n    |")).offered
    assert {"mllp", "file", "http", "database", "email", "worklist", "on_refused", "retry", "order_by"} <= set(kinds)
    keys = (await editor.at(HEAD + "destinations:\n  ris:\n    mllp:\n      |")).offered
    assert keys["ack_timeout"] == "How long to wait for the answer once the message is sent"
    action = (await editor.at(HEAD + "destinations:\n  ris:\n    on_refused: h|")).offered
    assert action["skip"] == "give it up; it stays in the store"
    hover = (await editor.at(HEAD + "destinations:\n  ris:\n    on_re|fused: hold\n")).hover
    assert "What AE and CR of the receiver come to" in hover


async def test_a_route_is_offered_the_destinations_that_the_site_has(editor: LanguageServer):
    """A schema cannot look into the file itself: the names are those at the time when it was written."""
    assert set((await editor.at(HEAD + "routes:\n  - to: |")).offered) == {"archive", "ris"}
    assert "redirect(archive)" in (await editor.at(HEAD + "destinations:\n  ris:\n    on_unreachable: r|")).offered


async def test_the_names_of_destinations_are_taken_up_when_the_schema_is_written_anew(script: Path, tmp_path: Path):
    site = tmp_path / "site"
    assert run(["init", str(site), "--quiet"]) == 0
    file = site / "channels" / "adt" / "channel.yaml"
    file.write_text(file.read_text().replace("archive", "vault"))
    assert run(["schema", "--write", str(site / ".segmill"), "--quiet"]) == 0
    server = await LanguageServer.start(script, site)
    try:
        assert set((await server.at(HEAD + "routes:\n  - to: |")).offered) == {"ris", "vault"}
    finally:
        await server.stop()


async def test_the_site_file_is_completed_too(editor: LanguageServer):
    seen = await editor.at("|", "segmill.yaml")
    assert {"environment", "data", "store", "admin", "retention"} <= set(seen.offered)


async def test_what_init_writes_is_not_complained_about(editor: LanguageServer):
    for path in ("channels/adt/channel.yaml", "segmill.yaml"):
        assert await editor.complaints((editor.site / path).read_text(), path) == []


MISTAKES = [
    ("listen:\n  mllp: {prot: 2575}\n", "Property prot is not allowed"),
    (HEAD + "steps:\n  - filtr: PID exists\n", "4: Value is not accepted"),
    (HEAD + "ack: {when: procesed}\n", "3: "),
    (HEAD + "accept: [ADT_A01]\n", "3: "),
    (HEAD + "destinations:\n  ris:\n    mllp: {host: a, port: 1}\n    on_refused: wait\n", "6: "),
]


async def test_a_mistake_is_underlined(editor: LanguageServer):
    for text, complaint in MISTAKES:
        found = await editor.complaints(text)
        assert found, text
        assert any(complaint in one for one in found), found
