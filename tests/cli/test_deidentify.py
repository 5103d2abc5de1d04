"""`segmill deidentify`: files and stored messages without their patients."""

import pytest

from engine.testing import messages


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.key"
    path.write_text("0123456789abcdef0123456789abcdef\n")
    return path


@pytest.fixture
def captured(tmp_path):
    folder = tmp_path / "captured"
    folder.mkdir()
    for name in ("K1", "K2"):
        (folder / f"{name}.hl7").write_bytes(messages.adt(control_id=name) + b"NTE|1||called Mrs Testperson\r")
    return folder


def test_each_message_becomes_a_file_without_its_patient(segmill, captured, secret, tmp_path):
    said = segmill("deidentify", captured, "--key", secret, "--to", tmp_path / "out", "--drop", "NTE", "--json")
    assert said.code == 0, said.err
    assert said.json["messages"] == 2
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["000001.hl7", "000002.hl7"]
    patients = [next(line for line in file.read_bytes().split(b"\r") if line.startswith(b"PID")) for file in files]
    assert patients[0] == patients[1], "one patient is one, in all messages"
    for file in files:
        text = file.read_text()
        assert "Testperson" not in text and "K1" not in text and "K2" not in text and "NTE" not in text
    assert segmill("compare", captured, tmp_path / "out", "--summary").code == 1


def test_the_same_secret_makes_the_same_files(segmill, captured, secret, tmp_path):
    for name in ("one", "two"):
        assert segmill("deidentify", captured, "--key", secret, "--to", tmp_path / name).code == 0
    assert segmill("compare", tmp_path / "one", tmp_path / "two").code == 0


def test_what_would_not_be_right_is_refused_and_nothing_is_written(segmill, captured, secret, tmp_path):
    out = tmp_path / "out"
    weak = tmp_path / "weak.key"
    weak.write_text("hospital\n")
    for words, told in (
        (("--key", weak), "openssl rand"),
        (("--key", tmp_path / "no.key"), "openssl rand"),
        (("--key", secret, "--keep", "PID-3.4"), "name a whole field"),
        (("--key", secret, "--drop", "PID-"), "--drop PID-"),
        (("--key", secret, "--patient", "x"), "--patient x"),
    ):
        said = segmill("deidentify", captured, *words, "--to", out)
        assert said.code == 2 and told in said.err
        assert not out.exists()
    said = segmill("deidentify", captured, "--key", secret, "--to", captured)
    assert said.code == 2 and "is not empty" in said.err


def test_that_stored_messages_were_taken_out_is_on_record(segmill, module_site, adt, secret, tmp_path):
    module_site.send("adt", adt(control_id="DEID1"))
    module_site.settled()
    site = ("--site", module_site.folder)
    said = segmill("deidentify", "--channel", "adt", "--key", secret, "--to", tmp_path / "out", *site)
    assert said.code == 0, said.err
    rows = segmill("audit", "--action", "read", "--show-values", "--json", *site).lines
    assert any("deidentify --channel adt" in str(row) for row in rows), rows
