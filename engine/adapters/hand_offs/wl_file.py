"""One step as a DICOM file, as dcmtk's wlmscpfs and Orthanc's worklist plugins read them (dicom.md section 3).

Part 10 with its meta header, Explicit VR Little Endian. Every attribute that a worklist answers with is there, empty
where nothing is known: wlmscpfs leaves out files that lack one of type 1, or the sequences of referenced studies and
patients.
"""

import struct
from hashlib import blake2b
from typing import Final
from uuid import UUID

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian

from engine.adapters.dicom.charsets import UNICODE, charset_of
from engine.adapters.dicom.encode import Encoded, Unencodable, dataset_of, joined, written
from engine.ports.worklist import Shelved
from engine.worklist.attributes import ITEM, SPS, STEP
from engine.worklist.item import Attributes, ItemKey, Values
from engine.worklist.matching import STATUS

WORKLIST_FIND: Final = UID("1.2.840.10008.5.1.4.31")
"""Modality Worklist Information Model - FIND: what files of worklists have for a class, having none of their own."""
IMPLEMENTATION: Final = UID("2.25.214071958037206153929862135460247189012")
_EMPTY: Final = frozenset({"1", "1C", "2", "2C"})
_PREAMBLE: Final = bytes(128) + b"DICM"


def name_of(key: ItemKey) -> str:
    """A step's name wherever it needs one: 32 hexadecimal digits, the same at any time, whatever its numbers hold."""
    return blake2b(f"{key.study_uid}\0{key.step_id}".encode(), digest_size=16).hexdigest()


def wl_file(shelved: Shelved, charset: str = UNICODE) -> bytes:
    """The file. Raises Unencodable."""
    data = _unicode(shelved) if charset == UNICODE else _in_charset(shelved, charset)
    return _PREAMBLE + _meta(shelved.item.key) + data


def whole(attributes: Attributes, level: str = "") -> Attributes:
    """Attributes, with those that a worklist must have, empty where nothing is known."""
    known = STEP if level == SPS else ITEM
    empty: dict[str, Values] = {
        keyword: ()
        for keyword, attribute in known.items()
        if attribute.return_type in _EMPTY and keyword not in ("SpecificCharacterSet", SPS)
    }
    return {**empty, **attributes}


def _unicode(shelved: Shelved) -> bytes:
    """Out of the elements that were encoded when the item was written."""
    item = shelved.item
    try:
        encoded = Encoded.load(shelved.encoded)
    except ValueError:
        raise Unencodable(SPS, "its elements are damaged") from None
    inner: Attributes = dict.fromkeys([*whole(item.step, SPS), STATUS], ())
    asked: Attributes = {**dict.fromkeys(whole(item.attributes), ()), SPS: (inner,)}
    return joined(encoded, asked, item, {}, is_implicit=False)


def _in_charset(shelved: Shelved, setting: str) -> bytes:
    item = shelved.item
    charset = charset_of(setting)
    step: Attributes = {**whole(item.step, SPS), STATUS: (item.status,)}
    try:
        dataset, _ = dataset_of({**whole(item.attributes), SPS: (step,)}, charset)
        return written(dataset, is_implicit=False, charset=charset)
    except (ValueError, TypeError, struct.error, OverflowError) as error:
        raise Unencodable(SPS, type(error).__name__) from None


def _meta(key: ItemKey) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = WORKLIST_FIND
    meta.MediaStorageSOPInstanceUID = UID(f"2.25.{UUID(hex=name_of(key)).int}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION
    meta.ImplementationVersionName = "SEGMILL"
    out = DicomBytesIO()
    write_file_meta_info(out, meta)
    return out.getvalue()
