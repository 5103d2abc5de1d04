"""`segmill init`, `schema` and `explain`: the first and the third thing an analyst does."""

import json
import re

import pytest
from jsonschema import Draft7Validator

from engine.config.codes import CODES

# -- init -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "channel"),
    [
        ([], "adt"),
        (["--example", "oru"], "results"),
        (["--example", "orm"], "orders"),
        (["--example", "worklist"], "scanners"),
    ],
)
def test_a_new_site_is_green_at_once(segmill, tmp_path, monkeypatch, words, channel):
    said = segmill("init", tmp_path / "new", *words)
    assert said.code == 0
    monkeypatch.chdir(tmp_path / "new")
    checked = segmill("check")
    assert (checked.code, checked.out) == (0, "")
    assert f"1 channel can run: {channel}" in checked.err
    tested = segmill("test", "--json").lines
    assert len(tested) >= 6
    assert all(case["good"] for case in tested)
    shown = next(line.split() for line in said.out.splitlines() if " try " in line)
    assert segmill(*shown[1:]).code == 0


def test_an_editor_is_given_what_it_checks_with(segmill, tmp_path):
    site = tmp_path / "new"
    segmill("init", site)
    settings = json.loads((site / ".vscode" / "settings.json").read_text())
    for schema, pattern in settings["yaml.schemas"].items():
        Draft7Validator.check_schema(json.loads((site / schema).read_text()))
        assert list(site.glob(pattern))


def test_patient_data_stays_out_of_a_repository(segmill, tmp_path):
    segmill("init", tmp_path / "new")
    assert {"/data/", "/out/"} <= set((tmp_path / "new" / ".gitignore").read_text().split())


def test_nothing_is_overwritten(segmill, tmp_path):
    site = tmp_path / "new"
    (site / ".vscode").mkdir(parents=True)
    (site / ".vscode" / "settings.json").write_text("{}")
    assert segmill("init", site).code == 0
    assert (site / ".vscode" / "settings.json").read_text() == "{}"
    (site / "segmill.yaml").write_text("environment: mine\n")
    said = segmill("init", site)
    assert said.code == 73
    assert "segmill.yaml is there already" in said.err
    assert (site / "segmill.yaml").read_text() == "environment: mine\n"


def test_json_names_the_files(segmill, tmp_path):
    told = segmill("init", tmp_path / "new", "--json").json
    assert told["channel"] == "adt"
    assert str(tmp_path / "new" / "segmill.yaml") in told["files"]


# -- schema ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["channel", "site"])
def test_a_schema_is_one_that_editors_understand(segmill, what):
    schema = segmill("schema", what).json
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema)


def test_the_schema_of_channels_is_what_comes_unasked(segmill):
    assert segmill("schema").out == segmill("schema", "channel").out == segmill("schema", "--json").out


def test_schemas_can_be_written_beside_a_site(segmill, tmp_path):
    said = segmill("schema", "--write", tmp_path / "s")
    assert (said.code, said.out) == (0, "")
    assert (tmp_path / "s" / "channel.schema.json").read_text() == segmill("schema").out
    assert (tmp_path / "s" / "site.schema.json").read_text() == segmill("schema", "site").out


# -- explain --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_a_story(segmill, code):
    said = segmill("explain", code)
    assert said.code == 0
    assert said.out.startswith(f"{code}  {CODES[code].title}")
    assert "What to do:" in said.out
    assert max(map(len, re.split("\n", said.out))) < 140


def test_a_code_may_be_typed_carelessly(segmill):
    assert segmill("explain", "e102").out == segmill("explain", "E102").out
    said = segmill("explain", "E1022")
    assert said.code == 2
    assert "E102" in said.err


def test_without_a_code_all_are_listed(segmill):
    said = segmill("explain").out
    assert all(re.search(rf"^{code} ", said, re.MULTILINE) for code in CODES)
    assert segmill("explain", "--json").json["codes"]["E102"] == CODES["E102"].title
    assert segmill("explain", "E102", "--json").json["what_to_do"] == CODES["E102"].what_to_do


def test_explain_knows_the_rules_that_validate_names(segmill):
    said = segmill("explain", "table.0001")
    assert (said.code, said.out.splitlines()[0]) == (
        0,
        "table.0001  a place is not in the table that HL7 defines for it: table 0001, Administrative Sex",
    )
    assert "standard: {default: warn, except: {table.0001: observe}}" in said.out
    assert segmill("explain", "datatype.TS", "--json").json["says"] == "is no point in time"
    assert segmill("explain", "table.9999").code == 2
