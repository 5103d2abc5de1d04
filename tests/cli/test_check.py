"""`segmill check`: every mistake, with its place, for people, programs and pull requests."""

import socket
from pathlib import Path

import pytest

from engine.adapters.control_client import ControlClient
from engine.testing.sites import make_site
from tests.ports import closed_port

BROKEN = """\
description: one unknown step and one unknown destination
listen: {mllp: {port: 0}}
steps:
  - sett: {MSH-5: RIS}
routes:
  - to: nowhere
destinations:
  files:
    file: {folder: out}
"""

MLLP = """\
listen: {{mllp: {{port: {port}}}}}
routes: [{{to: ris}}]
destinations:
  ris:
    mllp: {{host: 127.0.0.1, port: {receiver}}}
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return make_site(tmp_path / "site", {"lab": BROKEN, "good": "listen: {mllp: {port: 0}}\n"})


def test_the_shipped_channels_pass(segmill, site):
    said = segmill("check", site)
    assert said.code == 0
    assert said.out == ""
    assert "4 channels can run: adt, orders, results, scanners" in said.err


def test_every_mistake_is_told_at_once_with_its_place_and_a_caret(segmill, broken):
    said = segmill("check", broken)
    assert said.code == 1
    assert "channels/lab/channel.yaml:4:5 E102" in said.out
    assert "^^^^ did you mean 'set'?" in said.out
    assert "channels/lab/channel.yaml:6:9 " in said.out
    assert "2 errors" in said.err


def test_json_is_one_object_a_finding(segmill, broken):
    for words in (["--json"], ["--format", "json"]):
        found = segmill("check", broken, *words).lines
        unknown = next(f for f in found if f["code"] == "E102")
        assert (unknown["file"], unknown["line"]) == ("channels/lab/channel.yaml", 4)
        assert unknown["severity"] == "error"
        assert all(f["schema"] == 1 for f in found)


def test_github_gets_annotations(segmill, broken):
    said = segmill("check", broken, "--format", "github")
    assert said.code == 1
    assert "\n::error file=channels/lab/channel.yaml,line=4,col=5," in "\n" + said.out


def test_the_site_is_the_folder_one_stands_in_or_below(segmill, site, monkeypatch):
    monkeypatch.chdir(site / "channels" / "adt")
    assert segmill("check").code == 0


def test_the_site_can_be_named_by_the_environment(segmill, site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert segmill("check").code == 2
    monkeypatch.setenv("SEGMILL_SITE", str(site))
    assert segmill("check").code == 0
    monkeypatch.setenv("SEGMILL_SITE", str(tmp_path / "elsewhere"))
    said = segmill("check")
    assert said.code == 2
    assert "SEGMILL_SITE" in said.err


def test_without_a_site_it_says_where_it_looked_and_how_to_start_one(segmill, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = segmill("check")
    assert said.code == 2
    assert "no site here" in said.err
    assert "segmill init" in said.err
    assert segmill("check", tmp_path / "mistyped").code == 2


def test_the_environment_is_tried_when_asked(segmill, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, closed_port() as receiver:
        channel = MLLP.format(port=taken.getsockname()[1], receiver=receiver)
        site = make_site(tmp_path / "site", {"lab": channel}, settings="admin: off\n")
        assert segmill("check", site).code == 0
        found = {f["code"]: f for f in segmill("check", site, "--env", "--json").lines}
    assert found["E160"]["line"] == 1
    assert found["W160"]["line"] == 5
    assert "refuses connections" in found["W160"]["message"]


def test_what_answers_and_what_can_be_written_is_not_complained_about(segmill, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        channel = MLLP.format(port=0, receiver=receiver.getsockname()[1])
        site = make_site(tmp_path / "site", {"lab": channel}, settings="admin: off\n")
        said = segmill("check", site, "--env")
    assert (said.code, said.out) == (0, "")


def test_a_folder_that_cannot_be_made_is_told(segmill, tmp_path):
    (tmp_path / "file").write_text("")
    channel = "listen: {mllp: {port: 0}}\nroutes: [{to: out}]\ndestinations: {out: {file: {folder: " + str(
        tmp_path / "file" / "out"
    )
    site = make_site(tmp_path / "site", {"lab": channel + "}}}\n"}, settings="admin: off\n")
    said = segmill("check", site, "--env")
    assert said.code == 1
    assert "E161" in said.out


def test_a_worklist_needs_nothing_but_its_port_for_scanners(segmill, tmp_path):
    channel = "listen: {mllp: {port: 0}}\nroutes: [{to: out}]\ndestinations: {out: {worklist: {}}}\n"
    settings = "admin: off\ndicom: {host: 127.0.0.1, port: %d}\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site = make_site(tmp_path / "site", {"orders": channel}, settings=settings % port)
        said = segmill("check", site, "--env")
    assert said.code == 1
    assert f"E160 the DICOM port 127.0.0.1:{port} cannot be listened on: address already in use" in said.out
    (site / "segmill.yaml").write_text(settings % 0)
    assert segmill("check", site, "--env").code == 0


def test_those_who_get_a_worklist_are_tried(segmill, tmp_path):
    channel = "listen: {mllp: {port: 0}}\nroutes: [{to: out}]\ndestinations: {out: {worklist: {}}}\n"
    (tmp_path / "file").write_text("")
    settings = """\
admin: off
hand_offs:
  wlm: {folder: {path: %s}}
  orthanc: {orthanc: {url: 'http://127.0.0.1:%d'}}
  archive: {dcm4chee: {url: 'https://127.0.0.1:%d/dcm4chee-arc/aets/WORKLIST/rs', tls: {ca: ca.pem}}}
"""
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        site = make_site(tmp_path / "site", {"orders": channel}, settings=settings % (tmp_path / "file" / "x", 1, port))
        (site / "ca.pem").write_text("no certificate")
        said = segmill("check", site, "--env")
        assert said.code == 1
        assert f"E161 hand-off wlm: {tmp_path / 'file' / 'x'} cannot be made" in said.out
        assert "W160 hand-off orthanc: 127.0.0.1:1 cannot be connected to" in said.out
        assert "E163 hand-off archive: " in said.out
        good = "admin: off\nhand_offs: {wlm: {folder: {path: x}}, o: {orthanc: {url: 'http://127.0.0.1:%d'}}}\n"
        (site / "segmill.yaml").write_text(good % port)
        said = segmill("check", site, "--env")
    assert (said.code, said.out) == (0, "")


def test_an_engine_that_runs_on_the_site_is_not_in_its_own_way(segmill, running):
    said = segmill("check", running.folder, "--env", "--json")
    assert "E160" not in said.out
    # The knock at its socket is dealt with once a later one is answered: a stop meanwhile would leave it unclosed.
    assert ControlClient(running.folder / "data").text("/livez")[0] == 200


def test_an_address_of_another_machine_is_told_for_any_port(segmill, tmp_path):
    channel = tmp_path / "channels" / "all"
    channel.mkdir(parents=True)
    (channel / "channel.yaml").write_text("listen: {mllp: {host: 192.0.2.1, port: 0}}\n")
    (tmp_path / "segmill.yaml").write_text("admin: off\n")
    said = segmill("check", tmp_path, "--env")
    assert said.code == 1
    assert "E160 192.0.2.1:0 cannot be listened on: cannot assign requested address\n" in said.out


def test_sources_and_sinks_are_set_up_and_knocked_at_when_asked(segmill, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site = make_site(
            tmp_path / "site",
            {
                "web": f"listen: {{http: {{port: {port}}}}}\nroutes: [{{to: a}}]\ndestinations:\n"
                "  a: {http: {url: 'http://127.0.0.1:1/x'}}\n",
                "folder": "listen: {file: {folder: segmill.yaml/in}}\nroutes: [{to: a}]\ndestinations:\n"
                "  a: {http: {url: 'https://localhost:1/x', tls: {ca: missing.crt}}}\n",
                "mail": f"listen: {{mllp: {{port: 0}}}}\nroutes: [{{to: a}}, {{to: b}}]\ndestinations:\n"
                f"  a: {{email: {{host: 127.0.0.1, port: {port}, tls: off, from: a@b.c, to: d@e.f}}}}\n"
                "  b:\n    database:\n      url: sqlite:x.db\n      sql: 'SELECT :a'\n"
                "      parameters: {a: '=table(\"t.csv\", PID-3)'}\n",
            },
            "admin: off\n",
        )
        (site / "channels" / "folder" / "missing.crt").write_text("no certificate")
        (site / "channels" / "mail" / "t.csv").write_text("from,to\nA,B\n")
        said = segmill("check", site, "--env", "--json")
    codes = {
        (line.split('"file": "')[1].split("/")[1], line.split('"code": "')[1][:4]) for line in said.out.splitlines()
    }
    assert codes == {("web", "E160"), ("web", "W160"), ("folder", "E161"), ("folder", "E163"), ("mail", "E163")}


def test_the_collector_of_traces_and_the_identity_provider_are_tried(segmill, tmp_path: Path) -> None:
    with socket.socket() as ours:  # all the time: it refuses before it listens
        ours.bind(("127.0.0.1", 0))
        port = ours.getsockname()[1]
        oidc = f"{{issuer: 'http://127.0.0.1:{port}', client: c, roles: {{it: admin}}}}"
        settings = (
            f"admin: off\ntraces: {{url: 'http://127.0.0.1:{port}'}}\n"
            f"console: {{port: 0, url: 'http://localhost', oidc: {oidc}}}\n"
        )
        site = make_site(tmp_path / "site", {"good": "listen: {mllp: {port: 0}}\n"}, settings)
        found = {f["code"]: f["message"] for f in segmill("check", site, "--env", "--json").lines}
        assert "the collector of traces" in found["W566"] and "the identity provider" in found["W573"]
        ours.listen()
        assert not {"W566", "W573"} & {f["code"] for f in segmill("check", site, "--env", "--json").lines}


def test_the_repository_of_the_audit_is_tried(segmill, tmp_path: Path) -> None:
    with closed_port() as port:
        settings = f"admin: off\naudit: {{syslog: {{host: 127.0.0.1, port: {port}}}}}\n"
        site = make_site(tmp_path / "site", {"good": "listen: {mllp: {port: 0}}\n"}, settings)
        found = {f["code"]: f for f in segmill("check", site, "--env", "--json").lines}
    assert "connection refused" in found["W563"]["message"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        port = there.getsockname()[1]
        (site / "segmill.yaml").write_text(
            f"admin: off\naudit: {{syslog: {{host: 127.0.0.1, port: {port}, transport: udp}}}}\n"
        )
        assert "W563" not in segmill("check", site, "--env").out
