"""Which files belong to a channel: all of its folder but cases, and what tools put beside them."""

from pathlib import Path

from engine.config.files import FolderFiles, ReadFiles


def folder(site: Path, *names: str) -> FolderFiles:
    place = site / "channels" / "adt"
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("")
    return FolderFiles(site, place)


def test_files_are_named_from_the_channels_folder_in_order(tmp_path: Path) -> None:
    files = folder(tmp_path, "steps.py", "channel.yaml", "tables/b.csv", "tables/more/a.csv", "a/cases/c.csv")
    assert files.paths() == ["a/cases/c.csv", "channel.yaml", "steps.py", "tables/b.csv", "tables/more/a.csv"]


def test_cases_and_what_is_hidden_or_compiled_do_not_belong_to_it(tmp_path: Path) -> None:
    files = folder(tmp_path, "cases/1.hl7", "cases/x/2.csv", ".hidden", ".git/config", "a/.b/c", "__pycache__/s.pyc")
    assert files.paths() == []
    assert folder(tmp_path / "other", "cases").paths() == []


def test_a_link_to_a_file_belongs_to_it_and_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    files = folder(tmp_path, "tables/a.csv")
    (files.folder / "b.csv").symlink_to(files.folder / "tables" / "a.csv")
    (files.folder / "again").symlink_to(files.folder / "tables", target_is_directory=True)
    (files.folder / "broken.csv").symlink_to(files.folder / "nothing")
    assert files.paths() == ["b.csv", "tables/a.csv"]


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert FolderFiles(tmp_path, tmp_path / "channels" / "adt").paths() == []


def test_what_is_there_is_looked_for_once(tmp_path: Path) -> None:
    files = ReadFiles(folder(tmp_path, "channel.yaml"))
    assert files.paths() == ["channel.yaml"]
    (tmp_path / "channels" / "adt" / "late.csv").write_text("")
    assert files.paths() == ["channel.yaml"]
