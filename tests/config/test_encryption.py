"""The key of the store, as segmill.yaml names it: what is refused, and that nothing of it is shown (ADR 54)."""

import os
from pathlib import Path

import pytest

from engine.config.changes import needs_restart
from engine.config.encryption import EncryptionOptions, files_with_keys, store_keys
from engine.config.settings import SiteSettings
from engine.model.store_key import NO_KEYS, StoreKey

from .conftest import Load

KEY = StoreKey(bytes(range(32)))
OLD = StoreKey(bytes(range(1, 33)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "store.key"
    path.write_text(KEY.line() + "\n")
    path.chmod(0o600)
    return path


def codes(load: Load, channel: str, settings: str, **more: object) -> list[str]:
    found = load(channel, settings=settings, **more).findings
    assert KEY.line() not in repr(found) and OLD.line() not in repr(found)
    return [finding.code for finding in found]


def test_a_key_comes_from_a_file_or_the_environment(load: Load, channel: str, file: Path) -> None:
    settings = f"encryption:\n  key: ${{file:{file}}}\n  previous: ${{OLD_KEY}}\n"
    site = load(channel, settings=settings, env={"OLD_KEY": OLD.line()})
    assert site.findings == [] and site.site is not None
    keys = store_keys(site.site.encryption)
    assert keys.current == KEY and keys.previous == OLD
    assert KEY.line() not in repr(site) + repr(site.site) + str(site.site)
    assert store_keys(None) == NO_KEYS


def test_both_may_stand_in_one_line(load: Load, channel: str, file: Path) -> None:
    settings = f"encryption: {{key: '${{file:{file}}}', previous: '${{OLD_KEY}}'}}\n"
    assert codes(load, channel, settings, env={"OLD_KEY": OLD.line()}) == []


@pytest.mark.parametrize(("text", "code"), [("", "E102"), ("\n", "E102"), ("c2hvcnQ=\n", "E580"), ("no key\n", "E580")])
def test_what_is_no_key_is_refused(load: Load, channel: str, file: Path, text: str, code: str) -> None:
    file.write_text(text)
    found = codes(load, channel, f"encryption:\n  key: ${{file:{file}}}\n")
    assert len(found) == 1 and found[0].startswith("E")
    if code == "E580":
        assert found == [code]


def test_a_file_that_is_gone_is_said(load: Load, channel: str, file: Path) -> None:
    file.unlink()
    (finding,) = load(channel, settings=f"encryption:\n  key: ${{file:{file}}}\n").findings
    assert (finding.code, finding.file, finding.line) == ("E585", "segmill.yaml", 2)
    assert str(file) in finding.message and "No such file" in finding.message
    for advice in ("cannot be read without this very key", "apart from the backups", "segmill explain E585"):
        assert advice in finding.hint


def test_so_is_that_of_the_key_before_and_no_other_file(load: Load, channel: str, file: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    settings = f"encryption: {{key: '${{file:{file}}}', previous: '${{file:{gone}}}'}}\n"
    settings += f"console: {{port: 8080, host: '${{file:{gone}}}'}}\n"
    found = {finding.code: finding for finding in load(channel, settings=settings).findings}
    assert set(found) >= {"E585", "E121"}
    assert found["E585"].message.startswith("encryption.previous:") and found["E585"].line == 1
    assert found["E121"].line == 2


@pytest.mark.skipif(os.name != "posix", reason="there are no such pipes elsewhere")
def test_a_key_from_a_pipe_is_said_to_be_none(load: Load, channel: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (finding,) = load(channel, settings=f"encryption:\n  key: ${{file:{tmp_path}/pipe}}\n").findings
    assert finding.code == "E585" and "is a pipe" in finding.message


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o660])
def test_a_file_that_others_can_read_is_refused(load: Load, channel: str, file: Path, mode: int) -> None:
    file.chmod(mode)
    settings = f"encryption:\n  key: ${{file:{file}}}\n"
    assert codes(load, channel, settings) == ["E582"]
    (finding,) = load(channel, settings=settings).findings
    assert (finding.file, finding.line) == ("segmill.yaml", 2) and f"{mode:04o}" in finding.message
    file.chmod(0o400)
    assert codes(load, channel, settings) == []


def test_a_key_in_the_file_itself_is_refused(load: Load, channel: str) -> None:
    assert codes(load, channel, f"encryption:\n  key: {KEY.line()}\n") == ["E581"]


def test_a_key_within_the_site_is_doubted_and_left_out_of_backups(load: Load, channel: str, tmp_path: Path) -> None:
    load(channel)
    key = tmp_path / "site" / "store.key"
    key.write_text(KEY.line() + "\n")
    key.chmod(0o600)
    site = load(channel, settings="encryption:\n  key: ${file:store.key}\n")
    assert [finding.code for finding in site.findings] == ["W580"]
    assert site.site is not None and site.site.encryption is not None
    assert files_with_keys(site.site.encryption, site.origins, tmp_path / "site") == [key]


def test_a_store_in_memory_is_not_encrypted(load: Load, channel: str, file: Path) -> None:
    assert codes(load, channel, f"store: 'memory:'\nencryption:\n  key: ${{file:{file}}}\n") == ["W581"]


def test_without_the_package_it_is_said(load: Load, channel: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.config.encryption.find_spec", lambda name: None)
    assert codes(load, channel, f"encryption:\n  key: ${{file:{file}}}\n") == ["E583"]


def test_another_key_needs_a_restart_and_is_not_shown() -> None:
    old = SiteSettings(encryption=EncryptionOptions(key=OLD.line()))
    new = SiteSettings(encryption=EncryptionOptions(key=KEY.line(), previous=OLD.line()))
    for before, after in ((old, new), (new, old), (SiteSettings(), new), (new, SiteSettings())):
        told = needs_restart(before, after)
        assert told and all(text.startswith("encryption") for text in told)
        assert OLD.line() not in repr(told) and KEY.line() not in repr(told)


def test_nothing_of_a_key_is_in_the_options_text() -> None:
    options = EncryptionOptions(key=KEY.line(), previous=OLD.line())
    assert KEY.line() not in f"{options!r} {options}" and OLD.line() not in f"{options!r} {options}"
