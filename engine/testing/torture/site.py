"""The channels that the rows are written for: one port, five ways to treat a message, chosen by MSH-5.

Their names are in the order in which they are asked whether they take it.
"""

from collections.abc import Mapping
from textwrap import dedent

PORT = "{port: PORT, max_message: 2MiB, trailing_cr: 50ms}"

CHANNELS: Mapping[str, str] = {
    "a-refuse": """
        description: Refuses what lacks an identifier of the patient or of the observation
        listen: {mllp: LISTEN}
        accept: [ADT^A01, ADT^A08, ORU^*, ACK^*]
        from: MSH-5.1 == "REFUSE"
        steps:
          - validate:
              required: [PID-3.1, "OBX[*]-3.1"]
              mode: reject
    """,
    "b-hold": """
        description: Holds everything, as its table has no row for anybody
        listen: {mllp: LISTEN}
        accept: [ADT^A01, ADT^A08, ORU^*, ACK^*]
        from: MSH-5.1 == "HOLD"
        steps:
          - map: {PID-8: tables/nobody.csv, otherwise: hold}
    """,
    "c-filter": """
        description: Wants nothing
        listen: {mllp: LISTEN}
        accept: [ADT^A01, ADT^A08, ORU^*, ACK^*]
        from: MSH-5.1 == "FILTER"
        steps:
          - filter: PID-8 == "nobody"
    """,
    "d-edit": """
        description: Changes one field
        listen: {mllp: LISTEN}
        accept: [ADT^A01, ADT^A08, ORU^*, ACK^*]
        from: MSH-5.1 == "EDIT"
        steps:
          - set: {PID-8: X}
    """,
    "z-all": """
        description: Passes on what it gets
        listen: {mllp: LISTEN}
        accept: [ADT^A01, ADT^A08, ORU^*, ACK^*]
    """,
}

ROUTES = """
routes:
  - to: out
destinations:
  out:
    mllp: {host: RECEIVER_HOST, port: RECEIVER_PORT}
    window: 16
"""


def channels(receiver: tuple[str, int], port: int = 0) -> dict[str, dict[str, str | bytes]]:
    """Channel folders that listen on `port` and pass on to `receiver`."""
    routes = ROUTES.replace("RECEIVER_HOST", receiver[0]).replace("RECEIVER_PORT", str(receiver[1]))
    found: dict[str, dict[str, str | bytes]] = {}
    for name, text in CHANNELS.items():
        files: dict[str, str | bytes] = {
            "channel.yaml": dedent(text).replace("LISTEN", PORT.replace("PORT", str(port))) + routes
        }
        if "nobody.csv" in text:
            files["tables/nobody.csv"] = "from,to\nnobody,N\n"
        found[name] = files
    return found
