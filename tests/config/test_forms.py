"""Which destination may carry which form, with the sinks that ship."""

import pytest

from engine.config.site import load_version
from engine.pipeline.registry import load_kinds

KINDS = load_kinds()
START = "listen: {mllp: {port: 2575}}\n"
MLLP = "routes: [{to: out}]\ndestinations:\n  out:\n    mllp: {host: ris, port: 1}\n"
FILE = "routes: [{to: out}]\ndestinations:\n  out:\n    file: {folder: out}\n"


def findings(text: str) -> list[tuple[str, int, int, str, str]]:
    _, found = load_version("test", {"channel.yaml": (START + text).encode()}, KINDS)
    return [(f.code, f.line, f.column, f.message, f.hint) for f in found if f.is_error]


@pytest.mark.parametrize("form", ["hl7", "json", "xml"])
def test_files_take_every_form(form):
    assert findings(f"{FILE}    format: {form}\n") == []
    assert findings(f"steps: [{{convert: {form}}}]\n{FILE}") == []


@pytest.mark.parametrize("form", ["json", "xml"])
def test_mllp_takes_hl7_only(form):
    ((code, line, column, message, hint),) = findings(f"{MLLP}    format: {form}\n")
    assert (code, line, column) == ("E107", 6, 5)
    assert message == f"'mllp' cannot carry messages as {form.upper()} here"
    assert "answer" in hint
    assert findings(f"{MLLP}    format: hl7\n") == []


def test_a_batch_file_takes_hl7_only():
    ((code, line, _, _, hint),) = findings(f"{FILE.replace('folder: out', 'folder: out, batch: {}')}    format: json\n")
    assert (code, line) == ("E107", 6)
    assert "batch" in hint


def test_a_convert_step_must_suit_all_who_say_nothing():
    ((code, line, column, message, hint),) = findings(f"steps: [{{convert: json}}]\n{MLLP}")
    assert (code, line, column) == ("E107", 5, 3)
    assert "JSON" in message and "format: hl7" in hint
    assert findings(f"steps: [{{convert: json}}]\n{MLLP}    format: hl7\n") == []
    assert findings(f"steps: [{{convert: json}}]\n{MLLP}    charset: 8859/1\n") == []
    assert findings(f"steps: [{{convert: hl7}}]\n{MLLP}") == []


def test_a_convert_step_inside_of_another_counts_too():
    step = "steps:\n  - each: OBX\n    when: OBX-2 == 'ED'\n    do: [{convert: xml}]\n"
    assert [code for code, *_ in findings(step + MLLP)] == ["E107"]
