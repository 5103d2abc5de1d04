"""XML that reaches out or grows, at every place where XML is read (reliability.md 4.3, SEC3)."""

import ast
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.mirth.export import ExportError, read_export
from engine.config.profile_xml import ProfileXmlError, read_profile
from engine.hl7.convert import ConversionError
from engine.hl7.convert.xml_form import from_xml

REPOSITORY = Path(__file__).parents[2]
READERS: dict[str, tuple[str, Callable[[bytes], object], type[Exception], str]] = {
    "a message": ("engine/hl7/convert/xml_form.py", from_xml, ConversionError, "ADT_A01"),
    "a profile": ("engine/config/profile_xml.py", read_profile, ProfileXmlError, "HL7v2xConformanceProfile"),
    "an export": ("engine/config/mirth/export.py", read_export, ExportError, "channel"),
}
"""Where XML comes in: module, reader, what it raises, a root element that it takes."""
THROUGH = "engine/config/xml_tree.py"
"""The parser that the last two have in common."""

SECRET = "CANARY-IN-A-FILE"


def payloads(root: str, secret: Path) -> dict[str, bytes]:
    """Each would show the secret, ask the network, or grow to a gigabyte."""
    uri = secret.as_uri()
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    parameter = f'<!DOCTYPE r [<!ENTITY % p SYSTEM "{uri}"><!ENTITY % q "<!ENTITY e SYSTEM \'{uri}\'>">%q;]>'
    made = {
        "an external entity": f'<!DOCTYPE r [<!ENTITY e SYSTEM "{uri}">]><{root}>&e;</{root}>',
        "a public entity": f'<!DOCTYPE r [<!ENTITY e PUBLIC "x" "{uri}">]><{root}>&e;</{root}>',
        "the network": f'<!DOCTYPE r [<!ENTITY e SYSTEM "http://127.0.0.1:9/x">]><{root}>&e;</{root}>',
        "an external subset": f'<!DOCTYPE r SYSTEM "{uri}"><{root}/>',
        "a parameter entity": f"{parameter}<{root}>&e;</{root}>",
        "a blind parameter entity": f'<!DOCTYPE r [<!ENTITY % p SYSTEM "{uri}">%p;]><{root}/>',
        "laughs": f'<!DOCTYPE r [<!ENTITY l0 "lol">{laughs}]><{root}>&l9;</{root}>',
        "one long entity, often": f'<!DOCTYPE r [<!ENTITY l "{"x" * 100_000}">]><{root}>{"&l;" * 10_000}</{root}>',
        "an entity in an attribute": f'<!DOCTYPE r [<!ENTITY e "{SECRET}">]><{root} a="&e;"/>',
        "an entity of itself": f'<!DOCTYPE r [<!ENTITY e "&e;">]><{root}>&e;</{root}>',
        "a default attribute": f'<!DOCTYPE r [<!ATTLIST {root} a CDATA "{SECRET}">]><{root}/>',
        "a DOCTYPE and nothing in it": f"<!DOCTYPE {root}><{root}/>",
        "an entity that is not declared": f"<{root}>&e;</{root}>",
        "XInclude": f'<{root}><x:include xmlns:x="http://www.w3.org/2001/XInclude" href="{uri}"/></{root}>',
        "a style sheet": f'<?xml-stylesheet href="{uri}"?><{root}/>',
        "two hundred thousand levels": f"<{root}>" + "<a>" * 200_000 + "</a>" * 200_000 + f"</{root}>",
        "half an element": f"<{root}><a",
        "nothing": "",
    }
    found = {name: text.encode() for name, text in made.items()}
    sixteen = f'<?xml version="1.0" encoding="UTF-16"?>{made["an external entity"]}'.encode("utf-16")
    seven = f'<?xml version="1.0" encoding="UTF-7"?>{made["an external entity"]}'.encode("utf-7")
    return {**found, "an external entity in UTF-16": sixteen, "an external entity in UTF-7": seven}


MAY_BE_READ = {"XInclude", "a style sheet"}
"""No document type: read as what it says it is, or refused; what it points to is not followed."""


@pytest.mark.parametrize("name", READERS)
def test_nothing_is_resolved_and_nothing_grows(name: str, tmp_path: Path) -> None:
    _, read, refusal, root = READERS[name]
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    tracemalloc.start()
    try:
        for payload, raw in payloads(root, secret).items():
            tracemalloc.reset_peak()
            said = ""
            try:
                said = repr(read(raw))
                assert payload in MAY_BE_READ, f"{payload} was read"
            except refusal as error:
                said = str(error)
            assert SECRET not in said, payload
            assert tracemalloc.get_traced_memory()[1] < 64 << 20, payload
    finally:
        tracemalloc.stop()


def test_a_document_without_tricks_is_read_by_each_reader() -> None:
    """Else the test above would pass with readers that refuse everything."""
    message = from_xml(
        b'<ADT_A01 xmlns="urn:hl7-org:v2xml"><MSH><MSH.1>|</MSH.1><MSH.2>^~\\&amp;</MSH.2><MSH.3><HD.1>X</HD.1></MSH.3>'
        b"</MSH></ADT_A01>"
    )
    assert message.startswith(b"MSH|^~\\&|X")
    export = (REPOSITORY / "samples" / "mirth").glob("*.xml")
    assert [read_export(path.read_bytes()).channels for path in export]
    profile = (
        '<HL7v2xConformanceProfile HL7Version="2.5.1"><HL7v2xStaticDef MsgType="ADT" EventType="A01">'
        '<Segment Name="MSH" Usage="R" Min="1" Max="1"/></HL7v2xStaticDef></HL7v2xConformanceProfile>'
    )
    assert read_profile(profile.encode())


def test_every_module_that_reads_xml_is_a_reader_above() -> None:
    """A new one fails here until it stands in the table."""
    own = {module for module, *_ in READERS.values()}
    direct, by_tree = set(), set()
    for path in sorted((REPOSITORY / "engine").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "ParserCreate" not in text and "xml_tree" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and node.attr == "ParserCreate":
                direct.add(str(path.relative_to(REPOSITORY)))
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "xml_tree.parse":
                by_tree.add(str(path.relative_to(REPOSITORY)))
    assert direct == {THROUGH, "engine/hl7/convert/xml_form.py"}
    assert by_tree | direct - {THROUGH} == own
