"""The kill rig with senders of batches and of messages in fragments (hl7.md items 66 and 67)."""

import asyncio
import contextlib
import re

from engine.testing.fragments import cut_message
from tests.faults.kill_rig import CHANNEL, Rig, frame
from tests.faults.receivers import END

IN_A_BATCH = 12
FRAGMENTS = 3
MSA = re.compile(rb"\rMSA\|(\w\w)\|([^|\r]+)")


def message(sender: int, number: int) -> bytes:
    return frame(sender, number)[1:-2]


def batch(sender: int, number: int) -> bytes:
    members = b"".join(message(sender, n) for n in range(number, number + IN_A_BATCH))
    header = f"BHS|^~\\&|APP{sender}|HOSP|X|Y|20260102||||B{number}\r".encode()
    return b"\x0b" + header + members + b"BTS|%d\r" % IN_A_BATCH + END


def fragments(sender: int, number: int) -> list[bytes]:
    whole = message(sender, number) + b"NTE|1||" + b"text that goes on and on " * 10 + b"\r"
    start = whole.index(b"\r")
    step = (len(whole) - start) // FRAGMENTS
    ids = [f"S{sender}N{number}x{n}" for n in range(2, FRAGMENTS + 1)]
    parts = cut_message(whole, [start + n * step for n in range(1, FRAGMENTS)], ids)
    # Pointers are a sender's own, and never the same for two messages.
    return [re.sub(rb"\bP([0-9])\b(?=\r|\|?\r)", b"P%d-\\1" % number, part) for part in parts]


class PartsRig(Rig):
    """Half of the senders send batches, the others fragments; whoever is cut off sends the same once more."""

    channel = CHANNEL + "fragments: {{dsc: join}}\n"

    async def _send(self, sender: int) -> None:
        number = 0
        while not self._stop:
            await self._turn()
            if sender % 2:
                await self._until_answered(batch(sender, number), IN_A_BATCH, f"S{sender}N{number}")
                self._acknowledge(sender, range(number, number + IN_A_BATCH))
                number += IN_A_BATCH
            else:
                for part in fragments(sender, number):
                    await self._until_answered(b"\x0b" + part + END, 1, f"S{sender}N{number}")
                self._acknowledge(sender, range(number, number + 1))
                number += 1

    def _acknowledge(self, sender: int, numbers: range) -> None:
        self.verdict.acknowledged |= {f"S{sender}N{number}" for number in numbers}

    async def _until_answered(self, block: bytes, count: int, about: str) -> None:
        """Over a connection of its own, again and again until every answer is there and says yes."""
        for _ in range(2000):
            writer = None
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(block)
                answer = await asyncio.wait_for(reader.readuntil(END), 10)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                await asyncio.sleep(0.01)
            else:
                told = MSA.findall(answer)
                if len(told) != count or any(code != b"AA" for code, _ in told):
                    raise AssertionError(f"{about}: an answer that is none: {answer[:600]!r}")
                return
            finally:
                if writer is not None:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        raise AssertionError(f"{about}: never answered")
