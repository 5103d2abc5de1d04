"""`segmill dicom`: a small client, with words for what goes wrong."""

import json

import pytest

from engine.adapters.dicom.scp import Modality
from engine.adapters.tls import server_context
from tests.adapters.dicom.servers import Certificates, item, serving, talking
from tests.ports import free_port

ITEMS = [item(1), item(2, "Müller^Eva", "MR1", "MR")]


@pytest.fixture(scope="module")
def server():
    callers = {"CT1": Modality(), "FULL": Modality(most_associations=0)}
    with serving(ITEMS, called=("SEGMILL",), callers=callers, others=None) as made:
        yield made


@pytest.fixture
def place(server) -> str:
    return f"127.0.0.1:{server.scp.port}"


def test_an_echo_says_who_answers(segmill, place):
    said = segmill("dicom", "echo", place, "--calling", "CT1")
    assert said.code == 0
    assert said.out.startswith(f"SEGMILL at {place} (PYNETDICOM")
    told = segmill("dicom", "echo", place, "--calling", "CT1", "--json").json
    assert (told["server"], told["called"], told["calling"], told["status"]) == (place, "SEGMILL", "CT1", "0000")
    assert told["seconds"] >= 0


def test_answers_are_a_table(segmill, place):
    said = segmill("dicom", "find", place, "--calling", "CT1", "Modality=MR")
    assert said.code == 0
    title, row = said.out.splitlines()
    assert title.split()[:3] == ["start", "modality", "stations"]
    for part in ("2026-01-02 10:30", "MR1", "90002", "Müller^Eva", "A2", "1.2.2", "S2", "CT head"):
        assert part in row
    assert "1 answer" in said.err


def test_answers_are_dicom_json(segmill, place):
    said = segmill("dicom", "find", place, "--calling", "CT1", "PatientName=müller*", "PatientComments", "--json")
    answer = said.json["dicom"]
    assert answer["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller^Eva"}]}
    assert answer["00400100"]["Value"][0]["00080060"] == {"vr": "CS", "Value": ["MR"]}
    assert answer["00104000"] == {"vr": "LT"}


def test_bare_asks_for_the_keys_alone(segmill, place):
    said = segmill("dicom", "find", place, "--calling", "CT1", "--bare", "PatientID=90001", "--json")
    assert set(said.json["dicom"]) <= {"00080005", "00100020", "0020000D"}
    said = segmill("dicom", "find", place, "--calling", "CT1", "--bare")
    assert said.code == 2


def test_no_answer_ends_with_1(segmill, place):
    said = segmill("dicom", "find", place, "--calling", "CT1", "PatientID=1")
    assert (said.code, said.out, "0 answers" in said.err) == (1, "", True)


def test_a_limit_is_said(segmill, place):
    said = segmill("dicom", "find", place, "--calling", "CT1", "--limit", "1", "--json")
    assert (len(said.lines), "the first; --limit 1" in said.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--calling", "XX"), 77, "does not know our AE title (1/1/3)"),
        (("--calling", "CT1", "--called", "OTHER"), 77, "is not called by this AE title (1/1/7)"),
        (("--calling", "FULL"), 75, "as many associations as it takes (2/3/2)"),
        (("--calling", "A_TITLE_THAT_IS_LONG"), 2, "is no AE title"),
        (("--calling", ""), 2, "is no AE title"),
        (("--calling", "CT1", "--timeout", "0s"), 2, "--timeout"),
        (("--calling", "CT1", "--tls-cert", "nothing.pem"), 2, "nothing.pem"),
    ],
)
@pytest.mark.parametrize("what", ["echo", "find"])
def test_what_goes_wrong_is_said_and_has_its_code(segmill, place, what, words, code, told):
    said = segmill("dicom", what, place, *words)
    assert (said.code, told in said.err, said.out) == (code, True, ""), said.err


@pytest.mark.parametrize("what", ["echo", "find"])
def test_nobody_there(segmill, what):
    said = segmill("dicom", what, f"127.0.0.1:{free_port()}")
    assert (said.code, "Connection refused" in said.err) == (69, True)
    said = segmill("dicom", what, "no-such-host.invalid:104")
    assert (said.code, "no host is named" in said.err) == (69, True)
    assert segmill("dicom", what, "nonsense").code == 2


def test_a_server_that_is_none(segmill):
    with talking(lambda connection: connection.recv(4096) and None) as port:
        said = segmill("dicom", "echo", f"127.0.0.1:{port}")
    assert (said.code, "closed the connection" in said.err) == (69, True)


@pytest.mark.parametrize("key", ["PatentID=1", "PatientID.Modality=CT"])
def test_a_key_that_is_none_is_misuse(segmill, place, key):
    assert segmill("dicom", "find", place, "--calling", "CT1", key).code == 2


def test_a_query_that_the_server_refuses(segmill, place):
    said = segmill("dicom", "find", place, "--calling", "CT1", "ScheduledProcedureStepStartDate=2026-01-02")
    assert (said.code, "A900" in said.err) == (1, True)


def test_tls_both_ways(segmill, tmp_path):
    made = Certificates(tmp_path)
    (certificate, key), (own, own_key) = made.server, made.client
    context = server_context(certificate=certificate, key=key, client_ca=made.ca)
    with serving(ITEMS, tls=context) as server:
        where = f"127.0.0.1:{server.scp.port}"
        trust = ("--tls-ca", made.ca, "--tls-name", "localhost")
        shown = ("--tls-cert", own, "--tls-key", own_key)
        assert segmill("dicom", "echo", where, *trust, *shown).code == 0
        assert len(segmill("dicom", "find", where, *trust, *shown, "--json").lines) == 2
        said = segmill("dicom", "echo", where, *trust)
        assert (said.code, "a certificate of ours" in said.err) == (69, True), said.err
        said = segmill("dicom", "echo", where, "--tls")
        assert (said.code, "is not believed" in said.err) == (69, True)


def test_help_is_quick_and_loads_no_dicom(repository):
    import subprocess
    import sys

    code = (
        "import sys; from engine.cli.main import run\n"
        "for words in (['dicom', '--help'], ['dicom', 'find', '--help']):\n"
        "    run(words)\n"
        "print(json.dumps([name for name in ('pydicom', 'pynetdicom') if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import json\n" + code], capture_output=True, text=True, check=True, cwd=repository
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
