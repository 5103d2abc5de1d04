"""Routes that look at one place are decided by one look at it, with the outcome of asking each in turn."""

import pytest

from engine.config.expression import compile_condition
from engine.hl7.message import Message
from engine.pipeline.routes import Way, chooser

ONE_PLACE = [
    ("ward", 'MSH-3 in ["A", "B"]'),
    ("all", None),
    ("lab", 'MSH-3 == "B"'),
    ("ward", 'MSH-3 in ["C", ""]'),
    ("none", 'MSH-3 == ""'),
]
SEVERAL = [*ONE_PLACE, ("other", 'MSH-4 == "F"'), ("not", 'MSH-3 not in ["A"]'), ("number", "MSH-3 in [1]")]


def ways(routes):
    return [Way(to, compile_condition(when) if when else None) for to, when in routes]


def message(application):
    return Message.parse(f"MSH|^~\\&|{application}|F|||20260102||ADT^A01|1|P|2.5\r".encode())


@pytest.mark.parametrize("routes", [ONE_PLACE, SEVERAL, ONE_PLACE[1:2], []])
@pytest.mark.parametrize("application", ["A", "B", "C", "D", "", "A^B", "~B", "\\X41\\", "1", "01"])
def test_each_destination_is_taken_once_in_the_order_of_the_routes(routes, application):
    sent = message(application)
    taken = [way.destination for way in ways(routes) if way.condition is None or way.condition(sent)]
    assert chooser(ways(routes))(sent) == tuple(dict.fromkeys(taken))


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ('MSH-3 in ["A", "B"]', {"A", "B"}),
        ('MSH-3 == "A"', {"A"}),
        ('MSH-3 == ""', {""}),
        ('MSH-3 != "A"', None),
        ("MSH-3 == 1", None),
        ('MSH-3 in ["A", 1]', None),
        ('upper(MSH-3) == "A"', None),
        ('MSH-3 == "A" and PID exists', None),
        ("MSH-3 == MSH-5", None),
    ],
)
def test_a_condition_tells_when_it_is_one_place_against_texts(text, texts):
    one_of = compile_condition(text).one_of
    assert (one_of and one_of.texts) == texts
