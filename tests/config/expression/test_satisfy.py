"""A message is changed so that a condition is true of it."""

import pytest

from engine.config.expression import compile_condition
from engine.config.expression.satisfy import Ways, satisfy
from engine.config.table import Table
from engine.hl7.generate import chance_of, sample_of
from engine.hl7.message import Message
from engine.testing import messages

TABLE, _ = Table.load("from,to\nA,1\n", "tables/t.csv")
TABLES = {"tables/t.csv": TABLE}
RAW = messages.oru(observations=[messages.HAEMOGLOBIN, messages.HAEMOGLOBIN._replace(code="K", flags="")])

WAYS = Ways(
    pick=lambda values: values[0],
    sample=lambda pattern: sample_of(pattern.text, pattern, chance_of("test")),
    segments=lambda name: {"NTE": ["NTE|1||text"]}.get(name, []),
    fill=lambda path, message: [path.set(message, "filled"), None][1],
)

CONDITIONS = (
    'MSH-3.1 == "HIS"',
    'MSH-3.1 != "LAB"',
    'MSH-3.1 in ["RIS", "HIS"] and MSH-11.1 == "T"',
    'not MSH-3.1 == "LAB"',
    'not (MSH-3.1 == "LAB" or PID-8 == "F")',
    'PV1-2 == "X" or PID-8 == "Y"',
    'PID-8 matches "[MU]"',
    'PID-5.1 starts with "Syn" and PID-5.2 contains "th"',
    'PID-5.1 ends with "x"',
    "PID-30 is not empty",
    "PID-8 is empty",
    "PID-19 is null",
    "PID-8 is not null",
    "NTE exists",
    "not ORC exists",
    "ZZZ exists",
    "PV1-44 exists",
    'any OBX-8 in ["HH", "LL"]',
    'all OBX-11 == "P"',
    'all OBX-8 != ""',
    'any OBX (OBX-2 == "ED" and OBX-3.1 == "PDF")',
    'not any OBX-3.1 == "K"',
    'any NTE-3 == "seen"',
    'PID-3[5 == "AN"].1 == "77"',
    'PID-3[5 == "AN"].1 is not empty',
    "number(OBX-5) > 20",
    "number(OBX-5) <= 3",
    "OBR-1 == 4",
    'upper(PID-5.1) == "MOCK"',
    'OBX[2]-5 == "9"',
    "PID-5.1 == MSH-3.1",
    '"HIS" == MSH-3.1',
    'PID-7 < "1950"',
    'PID-7 >= "2030"',
)


@pytest.mark.parametrize("text", CONDITIONS)
def test_what_is_asked_becomes_true(text):
    message = Message.parse(RAW)
    condition = compile_condition(text, tables=TABLES)
    if not condition(message):
        satisfy(text, message, WAYS, tables=TABLES)
    assert condition(message)
    assert condition(Message.parse(message.to_bytes())), "also of what is read from its bytes"


@pytest.mark.parametrize("text", CONDITIONS)
def test_what_is_true_already_stays_as_it_is(text):
    message = Message.parse(RAW)
    satisfy(text, message, WAYS, tables=TABLES)
    before = message.to_bytes()
    satisfy(text, message, WAYS, tables=TABLES)
    assert message.to_bytes() == before


def test_of_the_segment_in_focus_alone():
    message = Message.parse(RAW)
    index = message.indexes("OBX")[1]
    satisfy('OBX-8 == "H"', message, WAYS, tables=TABLES, focus="OBX", index=index)
    assert [message.get("OBX[1]-8"), message.get("OBX[2]-8")] == ["N", "H"]


def test_what_cannot_be_written_is_left():
    message = Message.parse(RAW)
    for text in ('table("tables/t.csv", PID-8) == "1"', "length(PID-5.1) == 3", 'MSH-1 == "x"', "not MSH exists"):
        satisfy(text, message, WAYS, tables=TABLES)
    assert message.to_bytes() == RAW
