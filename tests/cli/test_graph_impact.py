"""`segmill graph` and `segmill impact`."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from engine.config.base import ConfigModel
from engine.config.graph import address_of
from engine.testing.sites import make_site

SVG = "{http://www.w3.org/2000/svg}"
NASTY = 'MSH-3.1 == "<script>|]);--&"'


@pytest.fixture
def nasty(site):
    """A site with a condition that each of the languages could take for its own."""
    path = site / "channels" / "adt" / "channel.yaml"
    path.write_text(path.read_text().replace('from: MSH-3.1 == "HIS"', f"from: '{NASTY}'"))
    return site


def test_mermaid_names_every_way(segmill, site):
    said = segmill("graph", site, "results")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "flowchart LR"
    assert sum("-->" in line for line in lines) == 4
    assert any("epr<br/>mllp" in line for line in lines)


def test_a_redirect_is_a_dashed_way(segmill, site):
    path = site / "channels" / "adt" / "channel.yaml"
    path.write_text(path.read_text().replace("on_refused: hold ", "on_refused: redirect(archive) "))
    assert "-.->" in segmill("graph", site, "adt").out
    assert 'style="dashed"' in segmill("graph", site, "adt", "--format", "dot").out
    assert "stroke-dasharray" in segmill("graph", site, "adt", "--format", "svg").out


def test_what_stands_in_conditions_is_text_in_every_language(segmill, nasty):
    mermaid = segmill("graph", nasty, "adt").out
    assert "<script>" not in mermaid and "#60;script#62;" in mermaid
    dot = segmill("graph", nasty, "adt", "--format", "dot").out
    assert r'label="MSH-3.1 == \"<script>|]);--&\""' in dot
    tree = ET.fromstring(segmill("graph", nasty, "adt", "--format", "svg").out)
    assert [title.text for title in tree.iter(f"{SVG}title")].count(NASTY) == 1


def test_svg_puts_no_box_on_another(segmill, site):
    tree = ET.fromstring(segmill("graph", site, "--format", "svg").out)
    boxes = [(int(b.get("x", 0)), int(b.get("y", 0))) for b in tree.iter(f"{SVG}rect") if b.get("rx")]
    assert len(boxes) == len(set(boxes)) == 4 + 4 + 8
    assert all(abs(y - other) >= 46 for x, y in boxes for u, other in boxes if x == u and y != other)


def test_graph_as_json_and_into_a_file(segmill, site, tmp_path):
    graph = segmill("graph", site, "--json").json
    kinds = [node["kind"] for node in graph["nodes"]]
    assert (kinds.count("source"), kinds.count("channel"), kinds.count("destination")) == (4, 4, 8)
    ids = {node["id"] for node in graph["nodes"]}
    assert all({edge["before"], edge["after"]} <= ids for edge in graph["edges"])
    target = tmp_path / "site.dot"
    assert segmill("graph", site, "--format", "dot", "-o", target).code == 0
    assert target.read_text().startswith("digraph site {")
    assert segmill("graph", site, "-o", tmp_path / "no" / "where").code == 73


def test_a_password_in_a_url_is_not_drawn():
    class Options(ConfigModel):
        url: str

    assert address_of(Options(url="postgresql://user:S3CRET@db.local/x")) == "postgresql://db.local/x"
    assert address_of(Options(url="postgresql://user:S3@CRET@db.local/x")) == "postgresql://db.local/x"
    assert address_of(Options(url="https://db.local/@x")) == "https://db.local/@x"


def test_impact_names_channel_part_and_place(segmill, site):
    said = segmill("impact", "wards.csv", "PID-8", "--site", site)
    assert said.code == 0
    assert re.search(r"adt +steps 8 +tables/wards.csv +channels/adt/channel.yaml:\d+:\d+", said.out)
    assert said.err.endswith("in 2 channels: adt, scanners\n"), "a worklist reads PID-8 of its own"


def test_impact_as_json_is_one_object_a_use(segmill, site):
    said = segmill("impact", "PID-3", "--site", site, "--json")
    found = [json.loads(line) for line in said.out.splitlines()]
    assert {use["channel"] for use in found} == {"adt", "orders", "results", "scanners"}
    assert all(use["kind"] == "field" and use["line"] for use in found)


def test_impact_of_nothing_ends_with_1_and_of_no_path_with_2(segmill, site):
    assert segmill("impact", "PV2", "--site", site).code == 1
    assert segmill("impact", "PID-3[", "--site", site).code == 2
    assert segmill("impact", "--site", site).code == 2


def test_a_segment_with_a_number_and_a_message_code_are_looked_up(segmill, site):
    assert segmill("impact", "OBR[1]-24", "--site", site).code == 0
    said = segmill("impact", "ADT", "--site", site, "--json")
    assert {"adt"} <= {
        use["channel"] for use in map(json.loads, said.out.splitlines()) if use["where"].startswith("accept")
    }


def test_a_control_character_in_a_file_reaches_no_terminal_and_no_xml(segmill, site):
    path = site / "channels" / "adt" / "channel.yaml"
    path.write_text(path.read_text().replace('from: MSH-3.1 == "HIS"', "from: \"MSH-3.1 == 'H\\e[31mIS'\""))
    for form in ("mermaid", "dot", "svg"):
        said = segmill("graph", site, "adt", "--format", form)
        assert said.code == 0 and "\x1b" not in said.out
    assert any("[31mIS" in (title.text or "") for title in ET.fromstring(said.out).iter(f"{SVG}title"))


def test_places_in_file_names_and_those_that_a_worklist_reads_of_its_own_are_uses(segmill, site):
    for field, part in (("MSH-10", "destinations archive"), ("PID-6", "destinations modalities")):
        said = segmill("impact", field, "--site", site, "--json")
        assert part in {use["where"] for use in map(json.loads, said.out.splitlines())}
    assert "scanners" in segmill("impact", "OBR-18", "--site", site).out


def test_a_field_in_small_letters_is_answered_with_what_was_meant(segmill, site):
    said = segmill("impact", "pid-3", "no.such.host", "--site", site)
    assert said.code == 1
    assert "nothing here uses pid-3, no.such.host; did you mean PID-3?" in said.err
    assert "did you mean" not in segmill("impact", "no.such.host", "--site", site).err


def test_a_token_in_a_url_is_not_drawn(segmill, tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK_TOKEN", "tok-55-en")
    make_site(
        tmp_path,
        {
            "a": """
            listen: {mllp: {port: 0}}
            routes: [{to: out}]
            destinations: {out: {http: {url: "http://127.0.0.1:9/hooks/${HOOK_TOKEN}/x"}}}
            """
        },
    )
    for form in ("mermaid", "dot", "svg"):
        said = segmill("graph", "--site", tmp_path, "--format", form)
        assert said.code == 0 and "tok-55-en" not in said.out and "***" in said.out


def test_a_conformance_profile_in_xml_beside_a_channel_is_told_of(segmill, site, repository):
    folder = site / "channels" / "adt" / "profiles"
    folder.mkdir()
    source = repository / "samples" / "profiles" / "adt_a01.xml"
    (folder / "adt_a01.xml").write_bytes(source.read_bytes())
    (folder / "other.xml").write_text("<site/>")
    (folder / "torn.xml").write_text("<site>")
    said = segmill("impact", "PID-3.5", "--site", site, "--json")
    uses = [line for line in said.lines if line["where"] == "profiles/adt_a01.xml (not read)"]
    assert {use["text"] for use in uses} == {"PID", "PID-3", "PID-3.5"}
    lines = source.read_text().splitlines()
    named = {use["text"]: lines[use["line"] - 1] for use in uses}
    assert 'Name="Identifier Type Code"' in named["PID-3.5"] and 'Name="Patient Identifier List"' in named["PID-3"]
    assert all(use["file"] == "channels/adt/profiles/adt_a01.xml" for use in uses)
    assert "channels/adt/profiles/torn.xml is left out: line 1" in said.err
    # What the profile leaves open asks nothing; the whole segment does.
    optional = segmill("impact", "PID-1", "--site", site, "--json").lines
    assert {use["text"] for use in optional if "(not read)" in use["where"]} == {"PID"}
    sub = segmill("impact", "PID-3.4.1", "--site", site, "--json").lines
    assert "PID-3.4.1" in {use["text"] for use in sub if "(not read)" in use["where"]}
