"""Full validation of an ORU, and of a folder of samples, beside hl7apy's validator in the same process.

Both sides parse the bytes and look at structure, cardinality, data types and tables; ours reports every finding with
its place and bytes, hl7apy's with the names of two elements. Every number is processor time, the best of several
rounds; only the ratios mean something. Run it alone: `python tests/bench/bench_validate.py`. With SEGMILL_CORPUS set
it goes through those samples in every version too.
"""

import logging
import os
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message
from hl7apy.validation import Validator as Hl7apyValidator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.hl7.dictionary import VERSIONS, load
from engine.hl7.dictionary.lookup import _load
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.profile import NO_PROFILE, Profile
from engine.hl7.validate import Validator

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
).encode()
AIM = 50


def seconds(run: Callable[[], object], rounds: int, number: int = 1) -> float:
    """Of the processor, so that what else the machine does counts little."""
    return min(timeit.repeat(run, number=number, repeat=rounds, timer=time.process_time)) / number


def with_hl7apy(raw: bytes) -> bool:
    """Whether hl7apy finds nothing; it raises its first error."""
    message = parse_message(raw.decode().strip("\r"), find_groups=True, validation_level=VALIDATION_LEVEL.TOLERANT)
    try:
        return bool(Hl7apyValidator.validate(message))
    except HL7apyException:
        return False


def oru() -> float:
    validator = Validator()
    ours = seconds(lambda: validator.validate(Message.parse(ORU)), rounds=15, number=3)
    theirs = seconds(lambda: with_hl7apy(ORU), rounds=3)
    parsed = parse_message(ORU.decode().strip("\r"), find_groups=True)
    alone = seconds(lambda: Hl7apyValidator.validate(parsed), rounds=3)
    message = Message.parse(ORU)
    ours_alone = seconds(lambda: validator.validate(message), rounds=15, number=3)
    print(f"ORU^R01 of 200 OBX, {len(ORU) // 1000} kB, {len(validator.validate(message).violations)} violations")
    for what, mine, other in (("parse and validate", ours, theirs), ("validate alone", ours_alone, alone)):
        print(f"  {what:20} segmill {mine * 1e3:8.2f} ms   hl7apy {other * 1e3:8.1f} ms   {other / mine:6.0f} times")
    return min(theirs / ours, alone / ours_alone)


def dictionary() -> None:
    def fresh() -> None:
        _load.cache_clear()
        load("2.5.1")

    print(f"dictionary of 2.5.1    loaded in {seconds(fresh, rounds=20) * 1e3:.2f} ms")


def corpus(folder: Path) -> float:
    """Every sample in every version; and, in its own version, beside hl7apy."""
    messages: list[tuple[bytes, Message]] = []
    for path in sorted(folder.glob("*.hl7")):
        raw = path.read_bytes().partition(b"\x1c")[0].replace(b"\x0b", b"")
        try:
            messages.append((raw, Message.parse(raw)))
        except UnreadableMessage:
            continue
    found = 0
    begin = time.process_time()
    for version in VERSIONS:
        validator = Validator(Profile("bench", version=version, standard=NO_PROFILE.standard))
        for _, message in messages:
            validation = validator.validate(message)
            found += len(validation.violations) + validation.left_out_count
    took = time.process_time() - begin
    size = sum(len(raw) for raw, _ in messages) * len(VERSIONS)
    count = len(messages) * len(VERSIONS)
    print(
        f"corpus, {len(messages)} messages in {len(VERSIONS)} versions: {count / took:,.0f} messages/s, "
        f"{size / took / 1e6:.1f} MB/s, {found:,} violations, no exception"
    )
    ours = theirs = 0.0
    both = 0
    validator = Validator()
    for raw, _ in messages:
        if len(raw) > 20_000:
            continue  # hl7apy takes minutes for the largest
        begin = time.process_time()
        try:
            with_hl7apy(raw)
        except Exception:
            continue
        theirs += time.process_time() - begin
        ours += seconds(lambda raw=raw: validator.validate(Message.parse(raw)), rounds=2)
        both += 1
    print(f"  the {both} that hl7apy can read: segmill {ours:.3f} s, hl7apy {theirs:.1f} s, {theirs / ours:.0f} times")
    return theirs / ours


def main() -> int:
    logging.disable(logging.CRITICAL)
    dictionary()
    ratios = [oru()]
    if os.environ.get("SEGMILL_CORPUS"):
        ratios.append(corpus(Path(os.environ["SEGMILL_CORPUS"])))
    if min(ratios) < AIM:
        print(f"less than {AIM} times")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
