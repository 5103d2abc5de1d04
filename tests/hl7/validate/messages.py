"""Messages for properties: parts of real ones, in every version, with every kind of mistake."""

from hypothesis import strategies as st

from engine.hl7.dictionary import VERSIONS
from tests.hl7.validate.conftest import ADT, ORU

_lines = st.one_of(
    st.sampled_from(
        [
            *ADT[1:],
            *ORU[1:],
            "OBX|1|CE|a||b^c~d&e",
            "OBX|1|ED|||^^^",
            "MSH|^~\\&|again",
            "NTE|1||x",
            "ORC|NW",
            "DSC|1",
            "ZZZ|1",
            "PID",
            "",
            "|",
            "IN1|1",
            "PR1|1",
            "ROL|1",
            "OBR|1",
        ]
    ),
    st.text(max_size=30),
    st.from_regex(r"[A-Z][A-Z0-9]{2}\|[0-9A-Z^~&\\|\" ]{0,40}", fullmatch=True),
)
_headers = st.builds(
    lambda marks, code, version, more: f"MSH{marks}A|B|C|D|20260101||{code}|1|P|{version}{more}",
    st.sampled_from(["|^~\\&|", "|^~\\&#|", "|^|", "|^~&|", "|||", "|!@%*|"]),
    st.sampled_from(
        ["ADT^A01", "ADT^A08^ADT_A08", "ORU^R01^ORU_R01", "ORM^O01", "ACK", "", "^", "OML^O21", "SIU^S12", "ORU"]
    ),
    st.sampled_from([*VERSIONS, "", "2.9", "1.0", "x", "2.5^FRA"]),
    st.sampled_from(["", "||1", "|||x|AL|NE", "||||||UNICODE UTF-8", "||||||ISO IR87", "||||||~ISO IR87"]),
)


def messages() -> st.SearchStrategy[bytes]:
    """Bytes that `Message.parse` takes."""
    return st.builds(
        lambda header, body, charset: "\r".join((header, *body, "")).encode(charset, "replace"),
        _headers,
        st.lists(_lines, max_size=12),
        st.sampled_from(["utf-8", "latin-1"]),
    )
