"""The rules of dicom.md section 2 put to wlmscpfs and Orthanc too: where they are known to be wrong, we are right.

The same items, as files. An answer that differs from the table's fails: in the versions that the table knows it is
known; in any other it may be the right one, or the known one.
"""

from pathlib import Path

import pytest

from tests.wire.worklist_peers import HAS_ORTHANC, HAS_WLMSCPFS, KNOWN, orthanc, version, wlmscpfs, write_files
from tests.wire.worklist_rules import ITEMS, RULES, Found, Rule, put

COMPARED = [rule for rule in RULES if "Status=" not in "".join(rule.keys)]
"""A folder has what is to be done; what is done is no longer in it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("worklist")
    write_files(made / "SEGMILL", [item for item in ITEMS if item.is_shown])
    return made


@pytest.fixture(scope="module")
def by_wlmscpfs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Rule, Found]:
    if not HAS_WLMSCPFS:
        pytest.skip("dcmtk's wlmscpfs is not installed")
    with wlmscpfs(folder) as port:
        return put(port, tmp_path_factory.mktemp("queries"), COMPARED)


@pytest.fixture(scope="module")
def by_orthanc(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Rule, Found]:
    if not HAS_ORTHANC:
        pytest.skip("Orthanc with its worklist plugin is not installed")
    with orthanc(tmp_path_factory.mktemp("orthanc"), folder / "SEGMILL") as port:
        return put(port, tmp_path_factory.mktemp("queries"), COMPARED)


def judge(program: str, right: Found, known: Found | None, found: Found) -> None:
    right, found = _sorted(right), _sorted(found)
    if known is None:
        assert found == right
        return
    assert _sorted(known) != right, "the table says that it is wrong"
    allowed = [_sorted(known)] if version(program) == KNOWN[program] else [_sorted(known), right]
    assert found in allowed


def _sorted(found: Found) -> Found:
    """They answer in the order of their folder."""
    return found if isinstance(found, str) else tuple(sorted(found))


@pytest.mark.parametrize("rule", COMPARED, ids=str)
def test_wlmscpfs_answers_as_the_table_says(by_wlmscpfs: dict[Rule, Found], rule: Rule) -> None:
    judge("wlmscpfs", rule.found, rule.wlmscpfs, by_wlmscpfs[rule])


@pytest.mark.parametrize("rule", COMPARED, ids=str)
def test_orthanc_answers_as_the_table_says(by_orthanc: dict[Rule, Found], rule: Rule) -> None:
    judge("orthanc", rule.found, rule.orthanc, by_orthanc[rule])
