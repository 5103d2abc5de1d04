"""The five-field predicate of a filter, compiled from its text, beside Python written by hand on the same message API.

Both run in the same process, in turns, best of several rounds, so only the ratios mean something. `warm`: the message's
segments have been split before, as they are after the first step; `fresh`: every round has its own copy, unsplit.
`python tests/bench/bench_expression.py` prints the rows; `make bench` prints all benches.
"""

import sys
import timeit
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.config.expression import compile_condition
from engine.hl7 import Message, compile_path

ORU = (
    "MSH|^~\\&|LIS^1.2.3^ISO|LAB|EPR|MAIN|20260301101500+0100||ORU^R01^ORU_R01|ORU00001|P|2.5\r"
    "PID|1||4711001^^^MAIN^MR~X99887766^^^NHS^NI||Example^Erika^Maria^^Ms^^L||19700102|F|||1 Test Street^^Sampleton\r"
    "PV1|1|O|W3^312^2^MAIN^^B||||7654321^Surgeon^Sam^^^Dr^^^MAIN\r"
    "OBR|1|ORD1^EPR|FIL1^LIS|24323-8^Panel^LN|||20260301090000+0100\r"
    "OBX|1|NM|718-7^Hb^LN||13.5|g/dL^gram per decilitre^UCUM|12.0-16.0|N|||F\r"
    "OBX|2|NM|777-3^Plt^LN||290|10*9/L|150-400|N|||F\r"
).encode("ascii")

PREDICATE = 'MSH-9.1 == "ORU" and MSH-9.2 == "R01" and PID-8 in ["M","F"] and PV1-2 != "I" and OBX-5 != ""'

_MSH_9_1, _MSH_9_2, _PID_8, _PV1_2, _OBX_5 = (
    compile_path(path).getter() for path in ("MSH-9.1", "MSH-9.2", "PID-8", "PV1-2", "OBX-5")
)

compiled: Callable[[Message], bool] = compile_condition(PREDICATE).run


def by_hand(message: Message) -> bool:
    """As an engineer writes it, with getters made beforehand."""
    return (
        _MSH_9_1(message) == "ORU"
        and _MSH_9_2(message) == "R01"
        and _PID_8(message) in ("M", "F")
        and _PV1_2(message) != "I"
        and (_OBX_5(message) or "") != ""
    )


def rounds_us(run: Callable[[Message], bool], messages: list[Message]) -> float:
    """Microseconds a call, once over `messages`."""
    started = timeit.default_timer()
    for message in messages:
        run(message)
    return (timeit.default_timer() - started) / len(messages) * 1e6


def compare(make: Callable[[], list[Message]], rounds: int) -> tuple[float, float]:
    """The best microseconds of the compiled form and of the one by hand, measured in turns."""
    own = hand = float("inf")
    for _ in range(rounds):
        own = min(own, rounds_us(compiled, make()))
        hand = min(hand, rounds_us(by_hand, make()))
    return own, hand


def rows() -> list[tuple[str, float, str]]:
    """What was measured: name, cost relative to the yardstick (aim: at most 2), and the plain numbers."""
    parsed = Message.parse(ORU)
    assert compiled(parsed) is True
    assert by_hand(parsed) is True
    found = []
    for name, make in (
        ("warm", lambda: [parsed] * 5_000),
        ("fresh", lambda: [Message.parse(ORU) for _ in range(2_000)]),
    ):
        own, hand = compare(make, 30)
        note = f"{own:.2f} us, by hand {hand:.2f} us"
        found.append((f"five-field predicate, {name} message: cost relative to hand-written Python", own / hand, note))
    return found


def main() -> None:
    """Print the rows."""
    for name, ratio, note in rows():
        print(f"{name:80} {ratio:6.2f}   {note}")


if __name__ == "__main__":
    main()
