import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.site import SUBSTITUTED_FILE, LoadedSite, load_version
from engine.config.value_file import MAX_FILE_CHARACTERS, NotAFile, read_value

Load = Callable[..., LoadedSite]

CHANNEL = """\
listen:
  mllp: {port: 2576}
from: MSH-3 == "${HIS}"
routes:
  - to: ris
destinations:
  ris:
    mllp:
      host: ${RIS_HOST:-ris.local}
      port: ${RIS_PORT}
"""


def test_references_are_replaced_before_values_are_checked(load: Load) -> None:
    site = load(CHANNEL, env={"HIS": "LAB", "RIS_PORT": "6661"})
    assert site.findings == []
    (channel,) = site.channels
    assert str(channel.file.condition) == 'MSH-3 == "LAB"'
    options = channel.file.destinations["ris"].options
    assert (options.host, options.port) == ("ris.local", 6661)


def test_each_replacement_says_where_it_came_from(load: Load) -> None:
    site = load(CHANNEL, env={"HIS": "LAB", "RIS_PORT": "6661"})
    assert [(o.position.line, o.reference, o.source, o.value) for o in site.origins] == [
        (3, "${HIS}", "environment variable HIS", "LAB"),
        (9, "${RIS_HOST:-ris.local}", "the default of RIS_HOST", "ris.local"),
        (10, "${RIS_PORT}", "environment variable RIS_PORT", "6661"),
    ]


def test_a_variable_that_is_not_set_has_its_place_and_no_second_finding(load: Load) -> None:
    findings = load(CHANNEL, env={"RIS_PROT": "1"}).findings
    assert [(f.line, f.column, f.length, f.code) for f in findings] == [(3, 17, 6, "E120"), (10, 13, 11, "E120")]
    assert "did you mean RIS_PROT?" in findings[1].hint


def test_an_empty_variable_takes_the_default_as_in_a_shell(load: Load) -> None:
    site = load(CHANNEL, env={"HIS": "LAB", "RIS_PORT": "6661", "RIS_HOST": ""})
    assert site.channels[0].file.destinations["ris"].options.host == "ris.local"


def test_a_mistake_in_what_was_put_in_is_marked_at_the_reference(load: Load) -> None:
    (finding,) = load(CHANNEL, env={"HIS": 'A" = "x', "RIS_PORT": "1"}).findings
    assert (finding.line, finding.column, finding.code) == (3, 17, "E130")
    (finding,) = load(CHANNEL, env={"HIS": "A", "RIS_PORT": "x"}).findings
    assert (finding.line, finding.column, finding.code) == (10, 13, "E106")


def test_a_file_is_read_relative_to_the_site_without_its_last_line_end(load: Load) -> None:
    text = CHANNEL.replace("${HIS}", "${file:channels/orders/name.txt}")
    site = load(text, files={"name.txt": "LAB\n"}, env={"RIS_PORT": "1"})
    assert str(site.channels[0].file.condition) == 'MSH-3 == "LAB"'


def test_a_file_that_cannot_be_read_is_a_finding(load: Load) -> None:
    text = CHANNEL.replace("${HIS}", "${file:none.txt}")
    (finding,) = load(text, env={"RIS_PORT": "1"}).findings
    assert (finding.line, finding.code) == (3, "E121")


@pytest.mark.parametrize(("content", "words"), [(b"\xff", "not UTF-8"), (b"x" * 70_000, "too large")])
def test_a_file_that_cannot_be_a_value_is_a_finding(load: Load, content: bytes, words: str) -> None:
    text = CHANNEL.replace("${HIS}", "${file:channels/orders/x.txt}")
    (finding,) = load(text, files={"x.txt": content}, env={"RIS_PORT": "1"}).findings
    assert (finding.line, finding.code) == (3, "E121")
    assert words in finding.message


def others(folder: Path) -> dict[str, tuple[Path, str]]:
    """What is no regular file, and what it is said to be."""
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(folder / "pipe")
    return {
        "a pipe that nobody writes to": (folder / "pipe", "a pipe"),
        "a link to one": (folder / "link", "a pipe"),
        "a device without an end": (Path("/dev/zero"), "a device"),
        "a folder": (folder, "a folder"),
    }


@pytest.mark.skipif(os.name != "posix", reason="files are of these kinds on POSIX")
@pytest.mark.parametrize(
    "kind", ["a pipe that nobody writes to", "a link to one", "a device without an end", "a folder"]
)
def test_what_is_no_regular_file_is_not_read(load: Load, tmp_path: Path, kind: str) -> None:
    """Each but the folder would be read for ever; the tests' time-out would end that."""
    path, words = others(tmp_path)[kind]
    text = CHANNEL.replace("${HIS}", f"${{file:{path}}}")
    (finding,) = load(text, env={"RIS_PORT": "1"}).findings
    assert (finding.line, finding.code) == (3, "E121")
    assert f"is {words}, which is not read" in finding.message and "regular file" in finding.hint


@pytest.mark.skipif(os.name != "posix", reason="files are of these kinds on POSIX")
def test_a_file_that_becomes_a_pipe_when_it_was_looked_at_is_not_waited_for(tmp_path: Path, monkeypatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    seen = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: seen)
    with pytest.raises(NotAFile, match="a pipe"):
        read_value(tmp_path / "pipe")


def test_no_more_of_a_file_is_read_than_a_value_may_have(load: Load, tmp_path: Path) -> None:
    """A terabyte without blocks: to read it all would take memory and time without end."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    text = CHANNEL.replace("${HIS}", f"${{file:{tmp_path}/huge}}")
    (finding,) = load(text, env={"RIS_PORT": "1"}).findings
    assert finding.code == "E121" and "too large" in finding.message


def test_a_value_may_be_64_k_characters_of_four_bytes(tmp_path: Path) -> None:
    (tmp_path / "wide").write_text("\U0001f600" * MAX_FILE_CHARACTERS, encoding="utf-8")
    assert len(read_value(tmp_path / "wide")) == MAX_FILE_CHARACTERS


@pytest.mark.parametrize("reference", ["${1X}", "${}", "${A B}", "${open"])
def test_what_is_no_reference_is_said_to_be_none(load: Load, reference: str) -> None:
    (finding,) = load(CHANNEL.replace('"${HIS}"', f'"{reference}"'), env={"RIS_PORT": "1"}).findings
    assert (finding.line, finding.column, finding.code) == (3, 17, "E122")


def test_two_dollars_write_one(load: Load) -> None:
    site = load(CHANNEL.replace("${HIS}", "$${HIS}"), env={"RIS_PORT": "1"})
    assert str(site.channels[0].file.condition) == 'MSH-3 == "${HIS}"'


SECRET = "hunter2-" * 3


@pytest.mark.parametrize(
    ("reference", "files"),
    [("${RIS_PASSWORD}", {}), ("${API_KEY}", {}), ("${file:channels/orders/secret.txt}", {"secret.txt": SECRET})],
)
def test_a_secret_is_never_shown_wherever_it_is_wrong(load: Load, reference: str, files: dict[str, str]) -> None:
    text = CHANNEL.replace("${RIS_PORT}", reference).replace('MSH-3 == "${HIS}"', reference)
    text += f"    on_refused: {reference}\nack:\n  when: {reference}\nduplicates:\n  window: {reference}\n"
    site = load(text, files=files, env={"RIS_PASSWORD": SECRET, "API_KEY": SECRET})
    assert len(site.findings) == 5
    shown = repr(site.findings) + repr(site.origins)
    assert "hunter2" not in shown


def test_a_secret_is_not_in_the_version_and_yet_makes_another(load: Load) -> None:
    text = CHANNEL.replace("${HIS}", "${HIS_SECRET}")
    one, two = (load(text, env={"HIS_SECRET": s, "RIS_PORT": "1"}).channels[0] for s in ("hunter2", "hunter3"))
    assert b"hunter" not in b"".join(one.files.values())
    assert one.files[SUBSTITUTED_FILE] != two.files[SUBSTITUTED_FILE]
    assert "hunter" not in repr(one)


def test_a_recorded_version_is_the_channel_as_it_was(load: Load, kinds: object) -> None:
    loaded = load(CHANNEL, env={"HIS": "LAB", "RIS_PORT": "6661"}).channels[0]
    again, findings = load_version("orders", loaded.files, kinds)
    assert findings == []
    assert again is not None
    assert again.file == loaded.file
    assert again.files == loaded.files


def test_a_worker_gets_the_secrets_that_a_recorded_version_lacks(load: Load, kinds: object) -> None:
    text = CHANNEL.replace("${HIS}", "${HIS_SECRET}")
    loaded = load(text, env={"HIS_SECRET": "hunter2", "RIS_PORT": "1"}).channels[0]
    again, _ = load_version("orders", loaded.files, kinds, loaded.substituted)
    assert again is not None
    assert again.file == loaded.file
    assert again.files == loaded.files
