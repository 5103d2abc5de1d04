"""A site of hundreds of channels takes a second to read: a search does that once."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.adapters.stores.sqlite import SqliteStore
from engine.cli import sites
from engine.cli.messages import command
from engine.testing.sites import make_site


@pytest.mark.parametrize("words", [["text:nobody"], ["mrn=4711"], ["state:held"]])
def test_a_search_reads_the_site_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    site = make_site(tmp_path, {"lab": "listen: {mllp: {port: 0}}\nroutes: []\n"}, "admin: off\n")
    (site / "data").mkdir(exist_ok=True)
    store = SqliteStore(site / "data" / "segmill.db")
    store.open()
    store.close()
    reads: list[Path] = []
    real = sites.read_site

    def read(folder: Path) -> object:
        reads.append(folder)
        return real(folder)

    monkeypatch.setattr(sites, "read_site", read)
    monkeypatch.setattr("engine.cli.searching.read_site", read)
    done = CliRunner().invoke(command, [*words, "--site", str(site)])
    assert done.exit_code == 0, done.output
    assert len(reads) == 1
