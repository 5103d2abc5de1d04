"""XML of other people's programs: read within bounds, or refused with a sentence."""

import pytest

from engine.config.xml_tree import Bounds, XmlError, parse

SMALL = Bounds(size_bytes=200, depth=3, elements=5, text_chars=4, most="file")


def test_the_tree_has_tags_attributes_lines_and_texts():
    root = parse(b'<a x=" 1 ">\n<b>te<!-- no -->xt</b><n:c xmlns:n="urn:n"/></a>', SMALL)
    assert (root.tag, root.get("x"), root.get("y"), root.line) == ("a", "1", "", 1)
    assert [(one.tag, one.text, one.line) for one in root.children] == [("b", "text", 2), ("c", "", 2)]
    assert root.first("b") is root.children[0]
    assert root.first("z") is None
    assert list(root.all("b", "c")) == root.children


def test_a_text_that_is_longer_than_the_bound_is_cut():
    assert parse(b"<a>text and more</a>", SMALL).text == "text"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"<a>" + b" " * 200 + b"</a>", "the file has 207 bytes; 200 are read at most"),
        (b"<a><b><c><d/></c></b></a>", "line 1: it is larger than any file: 3 levels"),
        (b"<a>\n<b/><b/><b/><b/>\n<b/></a>", "line 3: it is larger than any file: 3 levels, 5 elements"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "line 1: it has a DOCTYPE"),
        (b"<a>\n<b></a>", "line 2: this is not XML: mismatched tag"),
        (b'<?xml version="1.0" encoding="none"?><a/>', "encoding"),
        (b"", "not XML"),
    ],
)
def test_what_is_not_read_is_refused_with_its_line(raw: bytes, reason: str):
    with pytest.raises(XmlError, match=reason):
        parse(raw, SMALL)
