"""What a channel says under `listen`, with the sources that ship: every mistake at its place, with a hint."""

import json

import pytest
from jsonschema import Draft7Validator

from engine.config.schema import channel_schema
from engine.config.site import load_site
from engine.pipeline.registry import RegistryError, load_kinds, load_sources
from engine.testing.sites import make_site

REST = "routes: [{to: out}]\ndestinations: {out: {file: {folder: out}}}\n"

MISTAKES = [
    ("listen: {fil: {folder: in}}", 10, "E101", "did you mean 'file'?"),
    ("listen: {file: {foldr: in}}", 17, "E101", "did you mean 'folder'?"),
    ("listen: {file: {pattern: x}}", 10, "E103", "lacks the key 'folder'"),
    ("listen: {file: {folder: in, order: size}}", 36, "E105", "allowed: name, time"),
    ("listen: {file: {folder: in, stable: 2}}", 37, "E106", "did you mean 2s?"),
    ("listen: {file: {folder: in, pattern: a/b}}", 38, "E107", "slash"),
    ("listen: {file: in}", 10, "E104", "must be keys with values"),
    ("listen: file", 9, "E104", "must be keys with values, not 'file'"),
    ("listen: [file]", 9, "E104", "must be keys with values"),
    ("listen: {}", 1, "E103", "one of: file, http, mllp"),
    ("listen: {file: {folder: in}, mllp: {port: 0}}", 30, "E108", "one channel, one source"),
    ("listen: {sftp: {folder: in}}", 10, "E119", "not in this version"),
    ("listen: {http: {port: 70000}}", 23, "E106", "at most 65535"),
    ("listen: {http: {port: 1, path: adt}}", 32, "E107", "such as /adt"),
    ("listen: {http: {port: 1, user: a}}", 16, "E103", "not both"),
]


@pytest.mark.parametrize(("line", "column", "code", "told"), MISTAKES)
def test_a_mistake_is_told_where_it_stands(tmp_path, line, column, code, told) -> None:
    site = load_site(make_site(tmp_path / "site", {"a": f"{line}\n{REST}"}), load_kinds(), {})
    found = [(f.line, f.column, f.code) for f in site.findings]
    assert (1, column, code) in found, site.findings
    assert any(told in f"{f.message} {f.hint}" for f in site.findings), site.findings


def test_the_schema_knows_every_source_and_sink() -> None:
    schema = channel_schema(load_kinds())
    Draft7Validator.check_schema(schema)
    assert json.dumps(schema).count("x-definition") == 0
    rest = {"routes": [{"to": "out"}], "destinations": {"out": {"file": {"folder": "out"}}}}

    def complaints(**more: object) -> list[str]:
        return [error.message for error in Draft7Validator(schema).iter_errors({**rest, **more})]

    assert complaints(listen={"file": {"folder": "in", "stable": "2s", "marker": ".done"}}) == []
    assert complaints(listen={"http": {"port": 8080, "path": "/adt"}}) == []
    assert complaints(listen={"file": {"foldr": "in"}})
    assert complaints(listen={"file": {"folder": "in"}, "mllp": {"port": 1}})
    mllp = {"mllp": {"port": 1}}
    database = {"url": "sqlite:x.db", "sql": "SELECT :a", "parameters": {"a": "=PID-3"}}
    mail = {"host": "m", "from": "a@b.c", "to": ["d@e.f"], "body": "x"}
    for sink in ({"database": database}, {"database": {**database, "sql": ["A", "B"]}}, {"email": mail}):
        assert complaints(listen=mllp, destinations={"out": sink}) == []
    assert complaints(listen=mllp, destinations={"out": {"email": {**mail, "subjct": "x"}}})


def test_paths_of_one_port_are_no_neighbours_and_a_port_has_one_kind(tmp_path) -> None:
    def http(path: str) -> str:
        return f"listen: {{http: {{port: 8080, path: {path}}}}}\n{REST}"

    channels = {"a": http("/a"), "b": http("/b")}
    assert load_site(make_site(tmp_path / "one", channels), load_kinds(), {}).findings == []
    same = {"a": http("/a"), "b": http("/a")}
    (finding,) = load_site(make_site(tmp_path / "two", same), load_kinds(), {}).findings
    assert finding.code == "W143"
    mixed = {"a": http("/a"), "b": "listen: {mllp: {port: 8080}}\n" + REST}
    (finding,) = load_site(make_site(tmp_path / "three", mixed), load_kinds(), {}).findings
    assert (finding.code, "has the same port 8080 for http" in finding.message) == ("E142", True)


def test_a_port_that_others_reach_in_plain_text_is_a_doubt(tmp_path) -> None:
    text = "listen: {http: {port: 8080, host: 0.0.0.0}}\n" + REST
    (finding,) = load_site(make_site(tmp_path / "site", {"a": text}), load_kinds(), {}).findings
    assert finding.code == "W144"


def test_a_source_without_a_models_base_is_turned_away(monkeypatch) -> None:
    from engine.config.base import ConfigModel
    from engine.pipeline import registry

    class Odd:
        name = "odd"
        model = ConfigModel

    monkeypatch.setattr(registry, "_load", lambda group: {"odd": Odd})
    with pytest.raises(RegistryError, match="ListenOptions"):
        load_sources()
