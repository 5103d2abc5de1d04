"""Who else gets a worklist: the settings, and what is wrong between them."""

from pathlib import Path

import pytest

from engine.config.changes import compare, other_hand_offs, read_state
from engine.config.finding import ConfigFinding
from engine.config.hand_offs import is_folder_title
from engine.config.site import LoadedSite, load_site
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site

ORDERS = """\
listen: {mllp: {port: 2575}}
accept: ['ORM^O01']
routes: [{to: modalities}]
destinations: {modalities: {worklist: {station: [{when: {Modality: CT}, ae: [CT1]}]}}}
"""
ARCHIVE = "https://arc.local/dcm4chee-arc/aets/WORKLIST/rs"


def loaded(folder: Path, *hand_offs: str) -> LoadedSite:
    lines = ["hand_offs:", *(f"  {one}" for one in hand_offs)]
    return load_site(make_site(folder / "site", {"orders": ORDERS}, "\n".join(lines) + "\n"), load_kinds(), {})


def found(folder: Path, *hand_offs: str) -> list[ConfigFinding]:
    return [one for one in loaded(folder, *hand_offs).findings if one.file == "segmill.yaml"]


def test_all_three_may_stand_beside_each_other(tmp_path: Path) -> None:
    site = loaded(
        tmp_path,
        "wlm: {folder: {path: worklist, titles: [SEGMILL, 'CT 1'], by_station: true}}",
        "orthanc: {orthanc: {url: 'http://127.0.0.1:8042/', missing: write}}",
        f"archive: {{dcm4chee: {{url: '{ARCHIVE}', oauth: {{url: 'https://id/token', client: c, secret: s}}}}}}",
    )
    assert [one for one in site.findings if one.file == "segmill.yaml"] == []
    assert site.site is not None
    hand_offs = site.site.hand_offs
    assert {name: one.kind for name, one in hand_offs.items()} == {
        "wlm": "folder",
        "orthanc": "orthanc",
        "archive": "dcm4chee",
    }
    assert hand_offs["orthanc"].orthanc is not None
    assert hand_offs["orthanc"].orthanc.url == "http://127.0.0.1:8042", "a path is put behind it"
    assert hand_offs["archive"].rest is not None and hand_offs["archive"].rest.server == ("arc.local", 443)


@pytest.mark.parametrize(
    ("hand_off", "code", "words"),
    [
        ("a: {}", "E451", "goes nowhere"),
        ("a: {worklist: main}", "E451", "goes nowhere"),
        ("a: {folder: {path: x}, orthanc: {url: 'http://127.0.0.1:1'}}", "E451", "folder and orthanc"),
        ("a: {folder: {}}", "E103", "path"),
        ("a: {folder: {path: x, titles: ['CT.1']}}", "E452", "'CT.1' cannot be a folder"),
        ("a: {folder: {path: x, titles: ['../x']}}", "E452", "cannot be a folder"),
        ("a: {folder: {path: x, charset: latin1}}", "E105", "no character set"),
        ("A_b: {folder: {path: x}}", "", ""),
        ("a: {orthanc: {url: 'orthanc:8042'}}", "", "not the URL"),
        ("a: {orthanc: {url: 'http://u:p@127.0.0.1'}}", "", "must not hold a password"),
        ("a: {orthanc: {url: 'http://127.0.0.1/?x=1'}}", "", "must not have a query"),
        ("a: {orthanc: {url: 'http://127.0.0.1', user: u}}", "E103", "not both"),
        ("a: {orthanc: {url: 'http://127.0.0.1', tls: {}}}", "E107", "not https"),
        ("a: {orthanc: {url: 'https://x', tls: {ca: gone.pem}}}", "E132", "gone.pem"),
        ("a: {dcm4chee: {url: 'https://arc.local/rs'}}", "", "/aets/TITLE/rs"),
        (
            f"a: {{dcm4chee: {{url: '{ARCHIVE}', user: u, password: p,"
            " oauth: {url: 'https://id/t', client: c, secret: s}}}",
            "E103",
            "a user and oauth",
        ),
        ("a: {worklist: mian, folder: {path: x}}", "W440", "no channel feeds a worklist named 'mian'"),
        ("a: {orthanc: {url: 'http://orthanc.local:8042'}}", "W165", "plain text to orthanc.local"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(tmp_path: Path, hand_off: str, code: str, words: str) -> None:
    (finding,) = found(tmp_path, hand_off)
    assert finding.code == code if code else finding.is_error
    assert words in finding.message and finding.line == 2, finding


def test_a_kind_that_there_is_not_is_told(tmp_path: Path) -> None:
    (first,) = found(tmp_path, "a: {orthank: {url: 'http://127.0.0.1'}}")
    assert first.code == "E101" and "orthanc" in first.hint


def test_what_a_broken_channel_feeds_is_not_known(tmp_path: Path) -> None:
    site = make_site(
        tmp_path / "site",
        {"orders": ORDERS.replace("accept", "acept")},
        "hand_offs: {a: {worklist: other, folder: {path: x}}}\n",
    )
    assert "W440" not in {one.code for one in load_site(site, load_kinds(), {}).findings}


def test_a_name_that_is_nearly_right_is_offered(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, "a: {worklist: mian, folder: {path: x}}")
    assert "main" in finding.hint and finding.column == 17


@pytest.mark.parametrize("other", ["x", "./x", "x/y", "."])
def test_two_that_write_into_one_folder_are_refused(tmp_path: Path, other: str) -> None:
    (finding,) = found(tmp_path, "a: {folder: {path: x}}", f"b: {{folder: {{path: '{other}'}}}}")
    assert finding.code == "E453" and finding.line == 3 and "'a'" in finding.message


def test_folders_beside_each_other_are_not(tmp_path: Path) -> None:
    assert found(tmp_path, "a: {folder: {path: x}}", "b: {folder: {path: xy}}") == []


@pytest.mark.parametrize(
    ("title", "is_one"),
    [("CT1", True), ("CT 1", True), ("a:b-c@d_e", True), ("A" * 16, True), ("A" * 17, False), ("", False)]
    + [(title, False) for title in (".", "..", "a/b", "CT.1", " CT", "CT ", "Ä", "a\0b", "a\nb")],
)
def test_an_ae_title_is_a_folder_where_wlmscpfs_takes_it(title: str, is_one: bool) -> None:
    assert is_folder_title(title) is is_one


def test_a_change_is_told_and_taken_up_for_those_that_changed(tmp_path: Path) -> None:
    same, ca = "a: {folder: {path: x}}", "c: {orthanc: {url: 'https://x', tls: {ca: ca.pem}}}"
    for name in ("1", "2"):
        (tmp_path / name / "site").mkdir(parents=True)
        (tmp_path / name / "site" / "ca.pem").write_text(f"certificate {name}")
    before = read_state(loaded(tmp_path / "1", same, "b: {folder: {path: y}}", ca))
    after = read_state(loaded(tmp_path / "2", same, "d: {folder: {path: y}}", ca))
    assert other_hand_offs(before, after) == {"b", "c", "d"}
    change = compare(before, after)
    assert change.settings == ("hand_offs.b: removed", "hand_offs.d: added") and not change.not_live


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    told = []
    for name in ("1", "2"):
        oauth = f"oauth: {{url: 'https://id/token', client: c, secret: hunter{name}}}"
        site = loaded(
            tmp_path / name,
            f"a: {{orthanc: {{url: 'https://x', user: u{name}, password: hunter{name}}}}}",
            f"b: {{dcm4chee: {{url: '{ARCHIVE}', {oauth}}}}}",
        )
        told.append(read_state(site))
        assert "hunter" not in repr(site)
    change = compare(*told)
    assert change.settings == (
        "hand_offs.a.orthanc.user: u1 -> u2",
        "hand_offs.a.orthanc.password",
        "hand_offs.b.dcm4chee.oauth.secret",
    )


def test_another_certificate_alone_is_a_change(tmp_path: Path) -> None:
    states = []
    for name in ("1", "2"):
        (tmp_path / name / "site").mkdir(parents=True)
        (tmp_path / name / "site" / "ca.pem").write_text(f"certificate {name}")
        states.append(read_state(loaded(tmp_path / name, "c: {orthanc: {url: 'https://x', tls: {ca: ca.pem}}}")))
    assert compare(*states).settings == ("hand_offs: certificates",)


@pytest.mark.parametrize(
    ("dicom", "place"),
    [("dicom: {port: 0}", []), ("dicom: {port: 0, worklist: mian}", [("W443", 1, 28)])],
)
def test_a_worklist_that_scanners_ask_for_and_nobody_feeds_is_told(
    tmp_path: Path, dicom: str, place: list[tuple[str, int, int]]
) -> None:
    site = load_site(make_site(tmp_path / "site", {"orders": ORDERS}, f"{dicom}\n"), load_kinds(), {})
    told = [(one.code, one.line, one.column) for one in site.findings if one.file == "segmill.yaml"]
    assert told == place
