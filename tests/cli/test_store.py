"""`segmill store`: a key is made, a store encrypted, its key changed; every command works with it, none without."""

import json
import re
import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.cli.store import DECRYPT, ENCRYPT, KEY, ROTATE, STATUS
from engine.model.store_key import StoreKey
from engine.testing import messages
from tests.cli.conftest import Segmill

NAME = "Hornblower"


@pytest.fixture
def key(segmill: Segmill, tmp_path: Path) -> Path:
    file = tmp_path / "keys" / "store.key"
    file.parent.mkdir(exist_ok=True)
    assert segmill("store", "key", file).code == 0
    return file


def name_key(site: Path, key: Path, previous: Path | None = None) -> None:
    """Name a key, or another, in the site's file."""
    settings = site / "segmill.yaml"
    kept = [line for line in settings.read_text().splitlines() if not line.startswith(("encryption:", "  "))]
    kept += ["encryption:", f"  key: ${{file:{key}}}"]
    kept += [f"  previous: ${{file:{previous}}}"] if previous is not None else []
    settings.write_text("\n".join(kept) + "\n")


def hits(folder: Path) -> list[str]:
    wanted = NAME.encode()
    return [path.name for path in folder.rglob("*") if path.is_file() and wanted in path.read_bytes()]


@pytest.fixture
def stopped(running) -> Path:
    """A site whose plain store holds messages, and whose engine has stopped."""
    running.send("adt", *(messages.adt(control_id=f"A{n}", mrn=str(n), family=NAME) for n in range(4)))
    running.stop()
    assert "segmill.db" in hits(running.folder / "data")
    return running.folder


def test_a_key_is_made_for_its_owner_only_and_never_overwritten(segmill, tmp_path) -> None:
    file = tmp_path / "store.key"
    said = segmill("store", "key", file, "--json")
    key = StoreKey.parse(file.read_text())
    assert (said.code, said.json) == (0, {"schema": 1, "id": key.id, "file": str(file)})
    assert file.stat().st_mode & 0o777 == 0o600
    assert key.line() not in said.out + said.err
    again = segmill("store", "key", file)
    assert again.code == 73 and StoreKey.parse(file.read_text()) == key
    printed = segmill("store", "key", "-")
    assert StoreKey.parse(printed.out).id in printed.err


def test_what_is_to_be_written_of_a_key_is_as_the_sites_file_means_it(segmill, tmp_path, stopped, monkeypatch) -> None:
    """A path there is from the site's folder; one from another folder would lead nowhere."""
    monkeypatch.chdir(tmp_path)
    said = segmill("store", "key", "elsewhere.key")
    assert f"'${{file:{tmp_path / 'elsewhere.key'}}}'" in said.err
    monkeypatch.chdir(stopped)
    assert "'${file:../from-here.key}'" in segmill("store", "key", "../from-here.key").err


def test_long_conversions_show_how_far_they_are(segmill, stopped, key, terminal, monkeypatch) -> None:
    from engine.cli import progress

    name_key(stopped, key)
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    terminal()
    for words in (["encrypt"], ["rotate", "--data-key"], ["decrypt", "--yes"]):
        said = segmill("store", *words, "--site", stopped)
        assert said.code == 0, said.err
        assert re.search(r"\r[0-9,]+ of [0-9,]+ rows", said.err), said.err


def test_the_examples_of_its_help_work_as_typed_one_after_the_other(segmill, stopped, monkeypatch) -> None:
    monkeypatch.chdir(stopped)
    for example in (*KEY[:1], "", *ENCRYPT, *STATUS, *ROTATE, *DECRYPT, *STATUS):
        if not example:
            name_key(stopped, stopped / "store.key")
            continue
        said = segmill(*shlex.split(example)[1:])
        assert said.code == 0, f"{example}: {said.err}"
        assert said.out or said.err


def test_a_plain_store_is_encrypted_once_and_then_opens_with_its_key_alone(segmill, stopped, key) -> None:
    name_key(stopped, key)
    refused = segmill("messages", "--site", stopped)
    assert refused.code == 0, "reading a plain store needs no key"
    said = segmill("store", "encrypt", "--site", stopped, "--json")
    assert (said.code, said.json["was_done"]) == (0, False)
    assert hits(stopped / "data") == []
    assert said.json["key"] == StoreKey.parse(key.read_text()).id
    shown = segmill("messages", "1", "--raw", "--site", stopped)
    assert shown.code == 0 and NAME in shown.out
    assert segmill("messages", f"text:{NAME}", "--site", stopped, "--json").code == 0
    status = segmill("store", "status", "--site", stopped, "--count", "--json")
    assert status.json["state"] == "sealed" and status.json["key"] == said.json["key"]
    assert [one["kind"] for one in status.json["keys"]] == ["tokens", "data"]
    assert status.json["keys"][1]["values"] > 10
    assert segmill("store", "encrypt", "--site", stopped, "--json").json["was_done"]
    assert key.read_text().strip() not in json.dumps(status.json)


COMMANDS = (
    ("messages",),
    ("replay", "1", "--plan"),
    ("audit",),
    ("users", "list"),
    ("store", "rotate"),
    ("store", "decrypt", "--yes"),
    ("store", "encrypt"),
)


@pytest.mark.parametrize("wrong", ["none", "another", "gone", "empty", "short", "readable"])
def test_without_the_right_key_every_command_refuses_with_a_sentence(segmill, stopped, key, tmp_path, wrong) -> None:
    name_key(stopped, key)
    assert segmill("store", "encrypt", "--site", stopped).code == 0
    right = StoreKey.parse(key.read_text())
    store = stopped / "data" / "segmill.db"
    before = store.read_bytes()
    match wrong:
        case "none":
            (stopped / "segmill.yaml").write_text("environment: test\nadmin: off\n")
        case "another":
            segmill("store", "key", tmp_path / "other.key")
            name_key(stopped, tmp_path / "other.key")
        case "gone":
            key.unlink()
        case "empty":
            key.write_text("")
        case "short":
            key.write_text("c2hvcnQ=\n")
        case "readable":
            key.chmod(0o644)
    for words in COMMANDS:
        said = segmill(*words, "--site", stopped)
        assert said.code == 78, (words, said.err)
        assert right.line() not in said.err and "Traceback" not in said.err
        assert store.read_bytes() == before
        if wrong in ("none", "another"):
            assert right.id in said.err
    assert segmill("run", stopped).code == 78
    assert store.read_bytes() == before


def test_a_key_with_a_mark_at_its_head_or_other_line_ends_is_the_key(segmill, stopped, key) -> None:
    name_key(stopped, key)
    assert segmill("store", "encrypt", "--site", stopped).code == 0
    line = key.read_text().strip()
    for text in (f"\ufeff{line}\r\n", line, f"{line}\n\n"):
        key.write_text(text, encoding="utf-8")
        assert segmill("messages", "1", "--site", stopped).code == 0


def test_the_key_is_changed_and_the_old_one_opens_nothing(segmill, stopped, key, tmp_path) -> None:
    name_key(stopped, key)
    assert segmill("store", "encrypt", "--site", stopped).code == 0
    new = tmp_path / "new.key"
    segmill("store", "key", new)
    name_key(stopped, new, key)
    said = segmill("store", "rotate", "--site", stopped, "--json")
    assert said.json == {
        "schema": 1,
        "store": str(stopped / "data" / "segmill.db"),
        "key": StoreKey.parse(new.read_text()).id,
        "wrapped": 2,
        "resealed": 0,
    }
    name_key(stopped, key)
    assert segmill("messages", "--site", stopped).code == 78
    name_key(stopped, new)
    assert segmill("store", "rotate", "--data-key", "--site", stopped, "--json").json["resealed"] > 10
    assert NAME in segmill("messages", "1", "--raw", "--site", stopped).out
    told = segmill("audit", "--site", stopped, "--json")
    assert [row["action"] for row in told.lines] == ["encrypt", "rotate key", "rotate data key"]
    assert segmill("audit", "--verify", "--site", stopped).code == 0


def test_the_status_says_for_how_long_keys_are_in_use_and_marks_what_is_older_than_a_year(
    segmill, stopped, key, monkeypatch
) -> None:
    assert "not encrypted" in segmill("store", "status", "--site", stopped).out
    name_key(stopped, key)
    assert segmill("store", "encrypt", "--site", stopped).code == 0
    told = segmill("store", "status", "--site", stopped, "--json").json
    assert told["key_since_us"] == told["data_key_since_us"] == told["keys"][1]["created_us"]
    assert told["data_key"] == 1
    said = segmill("store", "status", "--site", stopped)
    assert "the site's key closes it for 0 days\ndata key 1 is in use for 0 days\n" in said.out
    monkeypatch.setattr("engine.cli.store_status.now_us", lambda: told["key_since_us"] + 366 * 86_400_000_000)
    said = segmill("store", "status", "--site", stopped)
    assert said.code == 0 and said.out.count("for 366 days, more than a year: segmill docs encryption\n") == 2


def test_it_goes_back_to_a_plain_store(segmill, stopped, key) -> None:
    name_key(stopped, key)
    assert segmill("store", "encrypt", "--site", stopped).code == 0
    assert segmill("store", "decrypt", "--site", stopped).code == 2
    assert segmill("store", "decrypt", "--yes", "--site", stopped).code == 0
    (stopped / "segmill.yaml").write_text("environment: test\nadmin: off\n")
    assert NAME in segmill("messages", "1", "--raw", "--site", stopped).out
    assert segmill("store", "status", "--site", stopped, "--json").json["state"] == "plain"


def test_a_backup_stays_encrypted_and_has_no_key_in_it(segmill, stopped, tmp_path) -> None:
    key = stopped / "store.key"
    segmill("store", "key", key)
    name_key(stopped, key)
    assert segmill("store", "encrypt", "--site", stopped).code == 0
    assert segmill("backup", "--site", stopped, tmp_path / "backup").code == 0
    assert NAME.encode() not in (tmp_path / "backup" / "segmill.db").read_bytes()
    line = key.read_bytes().strip()
    assert not any(line in path.read_bytes() for path in (tmp_path / "backup").rglob("*") if path.is_file())
    store = stopped / "data" / "segmill.db"
    shutil.move(store, tmp_path / "gone.db")
    assert segmill("restore", tmp_path / "backup", stopped).code == 0
    assert hits(stopped / "data") == []
    assert NAME in segmill("messages", "1", "--raw", "--site", stopped).out


def test_an_encrypted_site_comes_back_on_a_machine_that_has_not_its_key_yet(segmill, stopped, tmp_path) -> None:
    """The files come back; the store does when the key is there, by the same command; a new key is no help."""
    keys = tmp_path / "old" / "keys"
    keys.mkdir(parents=True)
    segmill("store", "key", keys / "store.key")
    right = StoreKey.parse((keys / "store.key").read_text()).id
    name_key(stopped, Path("../keys/store.key"))
    (stopped.parent / "keys").mkdir()
    shutil.copy(keys / "store.key", stopped.parent / "keys" / "store.key")
    assert segmill("store", "encrypt", "--site", stopped).code == 0
    backed = segmill("backup", tmp_path / "backup", "--site", stopped)
    assert f"not in it: the key {right}" in backed.err
    assert segmill("backup", "--check", tmp_path / "backup", "--json").json["key"] == right

    other = tmp_path / "other" / "site"
    other.parent.mkdir()
    said = segmill("restore", tmp_path / "backup", other)
    assert said.code == 78 and other.is_dir() and not (other / "data").exists()
    assert f"the site's files are back in {other}, its store is not: {other / 'segmill.yaml'}:" in said.err
    assert "E585" in said.err and "cannot read ../keys/store.key" in said.err
    assert "the same command again" in said.err and f"the key {right}: put that one" in said.err
    assert "--data" not in said.err

    (other.parent / "keys").mkdir()
    segmill("store", "key", other.parent / "keys" / "store.key")
    said = segmill("restore", tmp_path / "backup", other)
    assert said.code == 0, said.err
    assert f"encrypted with the key {right}, which {other / 'segmill.yaml'} does not name" in said.err
    assert segmill("messages", "--site", other).code == 78

    shutil.copy(keys / "store.key", other.parent / "keys" / "store.key")
    said = segmill("messages", "--site", other)
    assert said.code == 0 and "4 messages" in said.err
    shutil.rmtree(other / "data")
    said = segmill("restore", tmp_path / "backup", other)
    assert said.code == 0 and f"The store is encrypted with the key {right}.\n" in said.err


def test_the_doctor_and_the_bundle_say_what_is_wrong_and_hold_no_key(segmill, stopped, key, tmp_path) -> None:
    name_key(stopped, key)
    assert segmill("store", "encrypt", "--site", stopped).code == 0

    def topic() -> dict:
        said = segmill("doctor", stopped, "--deep", "--json").json["topics"]
        return next(one for one in said if one["name"] == "encryption")

    assert StoreKey.parse(key.read_text()).id in topic()["well"] and not topic()["findings"]
    with closing(sqlite3.connect(stopped / "data" / "segmill.db")) as db:
        db.execute("UPDATE body SET bytes = substr(bytes, 1, 40) WHERE id = 1")
        db.commit()
    assert [one["code"] for one in topic()["findings"]] == ["W582"]
    line = key.read_text().strip()
    assert segmill("support-bundle", tmp_path / "bundle.zip", "--site", stopped).code == 0
    shutil.unpack_archive(tmp_path / "bundle.zip", tmp_path / "bundle")
    bundle = b"".join(path.read_bytes() for path in (tmp_path / "bundle").rglob("*") if path.is_file())
    assert line.encode() not in bundle and NAME.encode() not in bundle and b'"messages"' in bundle
    segmill("store", "key", tmp_path / "other.key")
    name_key(stopped, tmp_path / "other.key")
    assert [one["code"] for one in topic()["findings"]] == ["E584"]


def test_the_engine_says_which_key_is_wanted_with_its_code(segmill, stopped, key, caplog) -> None:
    name_key(stopped, key)
    assert segmill("run", stopped).code == 78
    assert "E584" in caplog.text and "segmill store encrypt" in caplog.text
