"""Parse, route on MSH, read 4 fields, set 3, serialise: beside python-hl7 and hl7apy in the same process.

Every number is the best of several rounds, so a busy machine costs all sides the same; only the ratios mean
something. Run it alone: `python tests/bench/bench_message.py`.
"""

import sys
import timeit
from collections.abc import Callable
from pathlib import Path

import hl7
from hl7apy.core import Message as Hl7apyMessage
from hl7apy.parser import parse_message

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.hl7.message import Message
from engine.hl7.path import compile_path

ADT = "\r".join(
    [
        "MSH|^~\\&|HIS^1.2.276.0.76.3.1.100^ISO|MAIN|RIS|RADIOLOGY|20260301101500+0100||ADT^A01^ADT_A01|ADT00001|P|2.5",
        "EVN|A01|20260301101500+0100|||SMITHJ^Smith^Jane|20260301101000+0100",
        "PID|1||4711001^^^MAIN^MR~X99887766^^^NHS^NI||Example^Erika^Maria^^Ms^^L~Born^Erika^^^^^M||19700102|F|||"
        "1 Test Street^Flat 2^Sampleton^^SA1 2MP^GB^H~PO Box 7^^Sampleton^^SA1 2MQ^GB^M||+44 1632 960001^PRN^PH~"
        "erika@example.org^NET^Internet|+44 1632 960002|en|M|CHR|4711001-1^^^MAIN^VN|||||||0",
        "PD1||||1234567^Doctor^Family^^^Dr^^^MAIN|||||||N",
        "NK1|1|Example^Max|SPO^Spouse^HL70063|1 Test Street^Flat 2^Sampleton^^SA1 2MP|+44 1632 960003",
        "PV1|1|I|W3^312^2^MAIN^^B||||7654321^Surgeon^Sam^^^Dr^^^MAIN|1234567^Doctor^Family^^^Dr|||||||||||IN|V4711001|"
        "|||||||||||||||||||||||20260301100000+0100",
        "AL1|1|DA|PEN^Penicillin^L|SV|Rash",
        "IN1|1|PLAN1^Basic plan^L|INS01|Sample Insurance Ltd|5 Cover Road^^Sampleton^^SA9 9ZZ||||||||||||Example^Erika",
        "",
    ]
)

ORU = "\r".join(
    [
        "MSH|^~\\&|LIS|LAB|EPR|MAIN|20260301101500+0100||ORU^R01^ORU_R01|ORU00001|P|2.5",
        "PID|1||4711001^^^MAIN^MR||Example^Erika^Maria||19700102|F",
        "PV1|1|I|W3^312^2^MAIN",
        "OBR|1|ORD1^EPR|FIL1^LIS|24323-8^Panel^LN|||20260301090000+0100|||||||||7654321^Surgeon^Sam||||||20260301101000||LAB|F",
        *(
            f"OBX|{n}|NM|{700 + n}-8^Analyte {n}^LN^L{n}^Local {n}^99LAB||{n}.{n % 10}|mmol/L^millimole per litre^UCUM|"
            f"{n - 1}.0-{n + 1}.5|{'H' if n % 7 == 0 else 'N'}|||F|||20260301093000+0100||TECH{n % 5}^Tech"
            for n in range(1, 201)
        ),
        "",
    ]
)

READ = ("PID-3.1", "PID-5.1", "PID-8", "PV1-3.1")
SET = (("MSH-5", "ARCHIVE"), ("PID-8", "U"), ("PV1-3.1", "W9"))

_ROUTE_ON = (compile_path("MSH-9.1").getter(), compile_path("MSH-9.2").getter())
_READERS = [compile_path(path).getter() for path in READ]
_WRITERS = [(compile_path(path), value) for path, value in SET]


def with_segmill(raw: bytes) -> bytes:
    """What a small channel does."""
    message = Message.parse(raw)
    route = [get(message) for get in _ROUTE_ON]
    values = [get(message) for get in _READERS]
    for path, value in _WRITERS:
        path.set(message, value)
    assert route and values
    return message.to_bytes()


def with_python_hl7(raw: bytes) -> bytes:
    """The same with python-hl7."""
    message = hl7.parse(raw.decode("ascii"))
    msh, pid, pv1 = message.segment("MSH"), message.segment("PID"), message.segment("PV1")
    route = [msh[9][0][0][0], msh[9][0][1][0]]
    values = [pid[3][0][0][0], pid[5][0][0][0], pid[8][0], pv1[3][0][0][0]]
    msh[5] = "ARCHIVE"
    pid[8] = "U"
    pv1[3][0][0] = "W9"
    assert route and values
    return str(message).encode("ascii")


def with_hl7apy(raw: bytes) -> bytes:
    """The same with hl7apy, without groups, which is its faster way."""
    message: Hl7apyMessage = parse_message(raw.decode("ascii"), find_groups=False)
    route = [message.msh.msh_9.msh_9_1.value, message.msh.msh_9.msh_9_2.value]
    pid, pv1 = message.pid, message.pv1
    values = [pid.pid_3[0].pid_3_1.value, pid.pid_5[0].pid_5_1.value, pid.pid_8.value, pv1.pv1_3.pv1_3_1.value]
    message.msh.msh_5 = "ARCHIVE"
    pid.pid_8 = "U"
    pv1.pv1_3.pv1_3_1 = "W9"
    assert route and values
    encoded: bytes = message.to_er7().encode("ascii")
    return encoded


def best_us(work: Callable[[bytes], bytes], raw: bytes, number: int, rounds: int) -> float:
    """Microseconds a call, best of `rounds`."""
    return min(timeit.repeat(lambda: work(raw), number=number, repeat=rounds)) / number * 1e6


def rows() -> list[tuple[str, float, str]]:
    """What was measured: name, ratio to the yardstick's time, and the plain numbers."""
    found = []
    for name, text, number in (("ADT", ADT, 2000), ("ORU of 200 OBX", ORU, 500)):
        raw = text.encode("ascii")
        assert len(with_segmill(raw)) == len(raw) + len("ARCHIVE") - len("RIS" if name == "ADT" else "EPR")
        own = best_us(with_segmill, raw, number, 15)
        for peer, work, peer_number in (("python-hl7", with_python_hl7, 10), ("hl7apy", with_hl7apy, 1)):
            theirs = best_us(work, raw, peer_number, 5)
            own = min(own, best_us(with_segmill, raw, number, 5))
            note = f"{len(raw)} bytes: {own:.1f} us, {peer} {theirs:.0f} us"
            found.append((f"parse, route, read 4, set 3, serialise: {name} vs {peer}", theirs / own, note))
    return found


def main() -> None:
    """Print the rows."""
    for name, ratio, note in rows():
        print(f"{name:70} {ratio:8.0f} x   {note}")


if __name__ == "__main__":
    main()
