"""What is told of a search of the fuzzer that ends well, finds something, breaks off or hangs; with a fuzzer played."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from tests.fuzz import fuzz

WELL = "stat::number_of_executed_units: 7000\nstat::average_exec_per_sec: 1400\nstat::peak_rss_mb: 98\n"


def played(name: str, arguments: Sequence[str]) -> NoReturn:
    """In a fork, in place of the fuzzer: as the name says."""
    os.write(1, f"this is {name}\n".encode())
    match name:
        case "well":
            os.write(2, WELL.encode())
            os._exit(0)
        case "found":
            Path(arguments[0], "crash-1").write_bytes(b"MSH|")
            os.write(1, b"=== Uncaught Python exception: ===\nValueError: of a parser\n" + WELL.encode())
            os._exit(77)
        case "silent":
            os._exit(0)
        case "broken":
            raise RuntimeError("no such target")
        case "hanging":
            signal.pause()
    raise AssertionError(name)


def search(folder: Path, name: str, most_s: float = 600) -> fuzz.Search:
    crashes = folder / name
    crashes.mkdir()
    return fuzz.Search(name, [str(crashes)], folder / f"{name}.log", crashes, frozenset(), most_s)


@pytest.fixture(autouse=True)
def fuzzer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "fuzz", played)


def test_all_is_well_where_each_did_what_it_should(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz.run_forked([search(tmp_path, "well")], 2)
    assert capfd.readouterr().out.split() == ["well", "7,000", "inputs,", "1400/s,", "98", "MB,", "clean"]
    assert (tmp_path / "well.log").read_text() == f"this is well\n{WELL}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("found", ["exit code 77", "ValueError: of a parser", "crash-1 (4 bytes):", "b'MSH|'", "--one found"]),
        ("silent", ["exit code 0", "this is silent"]),
        ("broken", ["exit code 70", "RuntimeError: no such target"]),
        ("hanging", [f"exit code {-signal.SIGKILL}", "it did not end in time"]),
    ],
)
@pytest.mark.parametrize("at_once", [1, 2])
def test_it_is_not_where_one_did_not_and_the_others_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, told: list[str], at_once: int
) -> None:
    most_s = 0.5 if name == "hanging" else 600
    assert not fuzz.run_forked([search(tmp_path, name, most_s), search(tmp_path, "well")], at_once)
    said = capfd.readouterr().out
    assert f"{name:<12} BROKE" in said
    assert "well " in said and ", clean" in said
    for text in told:
        assert text in said
