"""What an editor is told agrees with what `segmill check` says."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

import engine
from engine.config.kinds import Kinds
from engine.config.node import Mapping, Node, Scalar
from engine.config.schema import channel_schema, profile_schema, site_schema
from engine.config.site import LoadedSite
from engine.config.source import load_yaml

SAMPLE = """\
description: Radiology orders from the HIS, to the RIS and to the archive
listen:
  mllp: {port: 2576, allow: [10.1.0.0/16], tls: {certificate: a.crt, key: a.key, client_ca: b.crt}, max_message: 20MB}
accept: [ORM^O01, OMG^O19, OMI^O23, ADT^A08, ADT^A40]
from: MSH-3.1 == "HIS"
ack: {when: processed, mode: auto}
duplicates: {window: 7d}
steps:
  - filter: PV1-2 in ["I", "O", "E"]
  - set:
      MSH-5: RIS
      PID-2.1: =PID-3[5 == "MR"].1
      PID-5.1: =upper(PID-5.1)
      PID-8: 012
  - map: {PV1-3.1: tables/wards.csv}
  - each: OBX
    when: OBX-2 == "ED"
    do:
      - delete: [OBX-17]
  - delete: [NTE, PID-19]
    name: notes
  - python: steps.py:split_by_modality
routes:
  - to: ris
  - to: archive
    when: MSH-9.1 in ["ORM", "OMG", "OMI", "ADT"]
destinations:
  ris:
    mllp: {host: "${RIS_HOST}", port: "${RIS_PORT:-6661}", ack_timeout: 30s}
    on_refused: hold
    retry: {first: 1s, limit: 20}
  archive:
    file: {folder: /data/orders, name: "{date(MSH-7)}/{MSH-10}.hl7"}
"""
SITE = """\
environment: test
data: data
store: sqlite:data/segmill.db
admin: {host: 127.0.0.1, port: 9464}
shutdown: 10s
limits: {connections: 5000, intake_memory: 128MB, free_disk: 128MB}
workers: {deadline: 2s, memory: 512MiB}
"""


PROFILES = Path(__file__).parent.parent.parent / "samples" / "profiles"


def as_an_editor_sees_it(text: str) -> Any:
    """Scalars resolved as YAML 1.2 does."""

    def value(node: Node) -> Any:
        if isinstance(node, Mapping):
            return {key.text: value(item) for key, item in node.items}
        if not isinstance(node, Scalar):
            return [value(item) for item in node.items]
        if node.style:
            return node.text
        if node.text in ("true", "false"):
            return node.text == "true"
        return int(node.text) if re.fullmatch(r"[-+]?[0-9]+", node.text) else node.text

    node, findings = load_yaml(text, "f.yaml")
    assert findings == []
    assert node is not None
    return value(node)


def complaints(schema: dict[str, Any], text: str) -> list[str]:
    return [error.message for error in Draft7Validator(schema).iter_errors(as_an_editor_sees_it(text))]


@pytest.fixture
def schema(kinds: Kinds) -> dict[str, Any]:
    return channel_schema(kinds)


def test_the_schemas_are_of_draft_07(schema: dict[str, Any]) -> None:
    for one in (schema, site_schema(), profile_schema()):
        assert one["$schema"] == "http://json-schema.org/draft-07/schema#"
        Draft7Validator.check_schema(one)
        text = json.dumps(one)
        assert not any(word in text for word in ("$defs", "prefixItems", "unevaluated", "dependentRequired", '"null"'))


def test_every_reference_leads_to_a_definition(schema: dict[str, Any]) -> None:
    for one in (schema, site_schema(), profile_schema()):
        names = set(re.findall(r'"#/definitions/([^"]+)"', json.dumps(one)))
        assert names <= set(one.get("definitions", {}))


def test_a_channel_that_the_check_passes_is_passed(schema: dict[str, Any]) -> None:
    assert complaints(schema, SAMPLE) == []
    assert complaints(schema, SAMPLE.replace("{window: 7d}", "off")) == []
    assert complaints(site_schema(), SITE) == []
    assert complaints(site_schema(), "admin: off\n") == []
    assert complaints(site_schema(), "admin: {port: '${PORT}'}\n") == []


BROKEN = [
    ("acept: [ORM", "accept: [ORM"),
    ("port: prot", "port: 2576"),
    ("port: 257600", "port: 2576"),
    ("20mb", "20MB"),
    ("ADT_A08", "ADT^A08"),
    ("when: proccessed", "when: processed"),
    ("window: 7", "window: 7d"),
    ("filtr: PV1-2", "filter: PV1-2"),
    ("map: {PV1-3.1: tables/wards.txt}", "map: {PV1-3.1: tables/wards.csv}"),
    ("each: obx", "each: OBX"),
    ("    name: notes\n    nme: x", "    name: notes"),
    ("python: steps.split", "python: steps.py:split_by_modality"),
    ("- too: ris", "- to: ris"),
    ("hots: ", "host: "),
    ("on_refused: wait", "on_refused: hold"),
    ("limit: soon", "limit: 20"),
    ("fil: {folder", "file: {folder"),
    ("  Archive:\n", "  archive:\n"),
    ("- delete: []", "- delete: [NTE, PID-19]"),
]


@pytest.mark.parametrize(("wrong", "right"), BROKEN)
def test_a_mistake_is_seen_by_the_editor_and_by_the_check(
    schema: dict[str, Any], load: Callable[..., LoadedSite], wrong: str, right: str
) -> None:
    text = SAMPLE.replace(right, wrong, 1)
    assert text != SAMPLE
    assert complaints(schema, text) != []
    files = {"tables/wards.csv": "from,to\n", "steps.py": "def split_by_modality(m, c): ...\n", **CERTIFICATES}
    env = {"RIS_HOST": "ris"}
    assert load(SAMPLE, files=files, env=env).findings == []
    assert any(finding.is_error for finding in load(text, files=files, env=env).findings)


CERTIFICATES = dict.fromkeys(("a.crt", "a.key", "b.crt"), "")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("enviroment", "environment"),
        ("port: -1", "port: 9464"),
        ("10 sec", "10s"),
        ("512TB", "512MiB"),
        ("fre_disk", "free_disk"),
    ],
)
def test_a_mistake_in_the_site_file_is_seen(wrong: str, right: str) -> None:
    text = SITE.replace(right, wrong, 1)
    assert (complaints(site_schema(), text) != []) == (text != SITE)


def test_defaults_are_written_as_they_would_be_in_a_file(schema: dict[str, Any]) -> None:
    port = schema["definitions"]["source-mllp"]["properties"]
    assert port["frame_timeout"]["default"] == "1m"
    assert port["max_message"]["default"] == "16MiB"
    assert schema["definitions"]["Retry"]["properties"]["jitter"]["default"] == "20%"
    assert site_schema()["definitions"]["Workers"]["properties"]["deadline"]["default"] == "2s"


def test_every_key_has_a_description(schema: dict[str, Any]) -> None:
    models = {**schema["definitions"], "": schema, **site_schema()["definitions"], **profile_schema()["definitions"]}
    for name, definition in {**models, "profile": profile_schema()}.items():
        if name.startswith(("step-", "sink-", "source-")):
            continue
        for key, value in definition.get("properties", {}).items():
            assert "description" in value or "$ref" in value or "allOf" in value, (name, key)


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_sample_profiles_are_passed(path: Path) -> None:
    assert complaints(profile_schema(), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "fields: {pid-3: {usage: R}}",
        "fields: {PID-3: {usage: Q}}",
        "fields: {PID-3: {cardinality: many}}",
        "fields: {PID-3: {mode: hold}}",
        "fields: {PID-3: {usag: R}}",
        "rules: [{require: PID exists}]",
        "messages: {ADT_A01: {}}",
        "version: [2.5]",
        "standard: maybe",
        "for: {sendr: HIS}",
        "extends: base.txt",
    ],
)
def test_what_is_no_profile_is_told_in_the_editor_too(text: str) -> None:
    assert complaints(profile_schema(), text) != []


def test_the_shipped_channels_pass_the_schema_of_the_built_in_kinds() -> None:
    from engine.pipeline.registry import load_kinds

    schema = channel_schema(load_kinds())
    Draft7Validator.check_schema(schema)
    files = sorted((Path(engine.__file__).parent.parent / "channels").glob("*/channel.yaml"))
    assert files
    for path in files:
        assert complaints(schema, path.read_text(encoding="utf-8")) == [], path
