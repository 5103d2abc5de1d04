"""The table: what a receiver of HL7 over MLLP is put through, one row an oddity.

Numbers are those of the conformance table (`engine/docs/hl7-conformance.md`). Every patient is invented.
"""

from engine.testing.torture.ack_rows import ACK_ROWS
from engine.testing.torture.row import Row
from engine.testing.torture.text_rows import TEXT_ROWS
from engine.testing.torture.wire_rows import WIRE_ROWS

ROWS: tuple[Row, ...] = (*WIRE_ROWS, *ACK_ROWS, *TEXT_ROWS)
"""In the order of the standard: framing, acknowledgement modes, answers, text, character sets, sets of messages."""
