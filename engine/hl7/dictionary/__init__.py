"""The standard's own definitions by version, 2.1 to 2.8.2: structures, segments, data types, tables, event map.

`load("2.5.1").segment("PID").field(3).name`. The data is made from hl7apy's tables by
`python -m engine.testing.dictionary`; what was wrong in them and is not any more is in
`engine/testing/dictionary/repairs.py`.
"""

from engine.hl7.dictionary.definitions import (
    ANY_SEGMENT,
    VARIES,
    ComponentDef,
    DataTypeDef,
    FieldDef,
    Group,
    SegmentDef,
    SegmentRef,
    StructureChoice,
    StructureDef,
    TableDef,
    Usage,
)
from engine.hl7.dictionary.lookup import Dictionary, load
from engine.hl7.dictionary.versions import VERSIONS, nearest_version

__all__ = [
    "ANY_SEGMENT",
    "VARIES",
    "VERSIONS",
    "ComponentDef",
    "DataTypeDef",
    "Dictionary",
    "FieldDef",
    "Group",
    "SegmentDef",
    "SegmentRef",
    "StructureChoice",
    "StructureDef",
    "TableDef",
    "Usage",
    "load",
    "nearest_version",
]
