"""A worklist in memory, for servers under test."""

from collections.abc import Sequence

from engine.adapters.dicom.encode import encode
from engine.ports.worklist import MppsReply, QueryRecord, Shelved
from engine.worklist.item import Attributes, Item
from engine.worklist.matching import Query


class MemoryShelf:
    """Items, encoded as they are added; readers count how many are open."""

    def __init__(self, items: Sequence[Item] = ()) -> None:
        self.shelved = [Shelved(item, encode(item).dump()) for item in items]
        self.open_readers = 0

    def reader(self) -> "MemoryShelf":
        self.open_readers += 1
        return self

    def candidates(self, query: Query, most: int) -> Sequence[Shelved]:
        return self.shelved[:most]

    def close(self) -> None:
        self.open_readers -= 1


class Log:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[QueryRecord] = []
        self.refusals: list[tuple[str, str, str]] = []
        self.missing: list[tuple[int, str]] = []

    def queried(self, record: QueryRecord) -> None:
        self.records.append(record)

    def refused(self, calling: str, called: str, peer: str, why: str) -> None:
        self.refusals.append((calling, called, why))

    def left_out(self, count: int, why: str) -> None:
        self.missing.append((count, why))


class Performed:
    """Keeps performed steps, and answers as it is told."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str, Attributes]] = []
        self.reply = MppsReply(0x0000)

    def created(self, uid: str, attributes: Attributes, peer: str, calling: str) -> MppsReply:
        self.kept.append(("create", uid, attributes))
        return self.reply

    def changed(self, uid: str, attributes: Attributes, peer: str, calling: str) -> MppsReply:
        self.kept.append(("set", uid, attributes))
        return self.reply
