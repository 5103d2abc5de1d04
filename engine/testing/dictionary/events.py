"""Which structure an event has when it is not its own (hl7.md item 69; HL7 tables 0003 and 0354).

An event that is not here is its own structure, if the version has one of that name. A row counts only in versions
that have its structure, so one that a version dropped needs no end.
"""

from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Final, NamedTuple


class Row(NamedTuple):
    """From version `first` to `last`: the events, without code those of the structure's code, have `structure`."""

    first: str
    last: str
    structure: str
    events: str


_LAST: Final = "2.8.2"

ROWS: Final = (
    # 2.3 and 2.3.1: table 0354 of 2.3.1.
    Row("2.3", "2.3.1", "ADT_A01", "A04 A05 A08 A13 A14 A28 A31"),
    Row("2.3", "2.3.1", "ADT_A02", "A21 A22 A23 A25 A26 A27 A29 A32 A33"),
    Row("2.3", "2.3.1", "ADT_A06", "A07"),
    Row("2.3", "2.3.1", "ADT_A09", "A10 A11 A15"),
    Row("2.3", "2.3.1", "ADT_A24", "A37"),
    Row("2.3", "2.3", "EDR_Q01", "EDR_R07"),
    Row("2.3", "2.3", "EQQ_Q01", "EQQ_Q04"),
    Row("2.3", "2.3", "ERP_Q01", "ERP_R09"),
    Row("2.3", "2.3", "RQQ_Q01", "RQQ_Q09"),
    Row("2.3", "2.3", "SPQ_Q01", "SPQ_Q08"),
    Row("2.3", "2.3", "TBR_Q01", "TBR_R08"),
    Row("2.3", "2.3", "VQQ_Q01", "VQQ_Q07"),
    # From 2.4 on.
    Row("2.4", _LAST, "ADT_A01", "A04 A08 A13"),
    Row("2.4", _LAST, "ADT_A05", "A14 A28 A31"),
    Row("2.4", _LAST, "ADT_A06", "A07"),
    Row("2.4", "2.4", "ADT_A09", "A12"),
    Row("2.4", _LAST, "ADT_A09", "A10 A11"),
    Row("2.4", _LAST, "ADT_A21", "A22 A23 A25 A26 A27 A29 A32 A33"),
    Row("2.4", "2.5.1", "ADT_A52", "A53 A55"),
    Row("2.6", _LAST, "ADT_A52", "A53"),
    Row("2.6", _LAST, "ADT_A54", "A55"),
    Row("2.4", _LAST, "ADT_A61", "A62"),
    # Merges and moves.
    Row("2.3", "2.6", "ADT_A30", "A34 A35 A36 A46 A47 A48 A49"),
    Row("2.3", _LAST, "ADT_A39", "A40 A41 A42"),
    Row("2.3", "2.6", "ADT_A43", "A44"),
    Row("2.7", _LAST, "ADT_A43", "A49"),
    Row("2.7", _LAST, "ADT_A44", "A47"),
    Row("2.3", _LAST, "ADT_A50", "A51"),
    # Other chapters.
    Row("2.7", _LAST, "CCR_I16", "I17 I18"),
    Row("2.3", _LAST, "CRM_C01", "C02 C03 C04 C05 C06 C07 C08"),
    Row("2.3", _LAST, "CSU_C09", "C10 C11 C12"),
    Row("2.4", _LAST, "LSU_U12", "LSR_U13"),
    Row("2.3", _LAST, "MDM_T01", "T03 T05 T07 T09 T11"),
    Row("2.3", _LAST, "MDM_T02", "T04 T06 T08 T10"),
    Row("2.5", _LAST, "MFN_Znn", "M14"),
    Row("2.3.1", "2.6", "MFQ_M01", "M02 M03 M04 M05 M06"),
    Row("2.5", "2.6", "MFQ_M01", "M07 M08 M09 M10 M11 M12 M13 M14"),
    Row("2.5", _LAST, "ORU_R30", "R31 R32"),
    Row("2.8", _LAST, "ORU_R01", "R40"),
    Row("2.3", _LAST, "PEX_P07", "P08"),
    Row("2.3", _LAST, "PGL_PC6", "PC7 PC8"),
    Row("2.3", _LAST, "PPG_PCG", "PCH PCJ"),
    Row("2.3", _LAST, "PPP_PCB", "PCC PCD"),
    Row("2.3", _LAST, "PPR_PC1", "PC2 PC3"),
    Row("2.4", _LAST, "PMU_B01", "B02"),
    Row("2.4", _LAST, "PMU_B04", "B05 B06"),
    Row("2.3", _LAST, "REF_I12", "I13 I14 I15"),
    Row("2.3", _LAST, "RPA_I08", "I09 I10 I11"),
    Row("2.3", _LAST, "RQA_I08", "I09 I10 I11"),
    Row("2.3", _LAST, "RRI_I12", "I13 I14 I15"),
    Row("2.4", _LAST, "RQC_I05", "I06"),
    Row("2.3", _LAST, "RQI_I01", "I02 I03"),
    Row("2.4", _LAST, "RQI_I01", "PIN_I07"),
    Row("2.3", _LAST, "SIU_S12", "S13 S14 S15 S16 S17 S18 S19 S20 S21 S22 S23 S24 S26"),
    Row("2.8", _LAST, "SIU_S12", "S27"),
    Row("2.3", _LAST, "SRM_S01", "S02 S03 S04 S05 S06 S07 S08 S09 S10 S11"),
    Row("2.3", _LAST, "SRR_S01", "S02 S03 S04 S05 S06 S07 S08 S09 S10 S11"),
    Row("2.6", _LAST, "SDR_S31", "SDN_S36"),
    Row("2.6", _LAST, "SDR_S32", "SCN_S37 SMD_S32"),
    Row("2.6", _LAST, "SLR_S28", "S29 SLN_S34 SLN_S35 STI_S30"),
    Row("2.4", _LAST, "TCU_U10", "TCR_U11"),
    # Queries.
    Row("2.4", _LAST, "QBP_Q21", "Q22 Q23 Q24 Q25"),
    Row("2.5", _LAST, "QBP_Q11", "Q31"),
    Row("2.8", _LAST, "QBP_Q21", "Q32"),
    Row("2.8", _LAST, "QBP_O33", "Q33"),
    Row("2.8", _LAST, "QBP_O34", "Q34"),
    Row("2.4", "2.7", "QBP_Q11", "Z81 Z85"),
    Row("2.4", _LAST, "QBP_Q11", "Z87 Z89"),
    Row("2.4", "2.7", "QBP_Q13", "Z75 Z77 Z91 Z93 Z95"),
    Row("2.4", _LAST, "QBP_Q13", "Z99"),
    Row("2.4", "2.7", "QBP_Q15", "Z79 Z97"),
    Row("2.4", "2.6", "QRY_PC4", "PC9 PCE PCK"),
    Row("2.4", "2.6", "QRY_Q01", "Q26 Q27 Q28 Q29 Q30"),
    Row("2.5", "2.5.1", "QRY", "QRY_T12"),
    Row("2.4", _LAST, "QSB_Q16", "Z83"),
    Row("2.4", _LAST, "QCN_J01", "QSX_J02"),
    Row("2.5", _LAST, "RDE_O11", "O25"),
    Row("2.5", _LAST, "RRE_O12", "O26"),
    Row("2.5", "2.7", "RSP_K11", "RDY_Z80 RSP_Z84"),
    Row("2.5", _LAST, "RDY_K15", "Z98"),
    Row("2.5", "2.6", "RSP_K21", "K22"),
    Row("2.5", _LAST, "RSP_K23", "K24"),
    Row("2.8", _LAST, "RSP_O33", "K33"),
    Row("2.8", _LAST, "RSP_O34", "K34"),
    Row("2.5", _LAST, "RTB_K13", "Z76 Z78 Z92 Z94 Z96"),
)


def event_map(version: str, versions: tuple[str, ...], structures: Iterable[str]) -> MappingProxyType[str, str]:
    """`ADT_A04` -> `ADT_A01` and so on, of one version that has those structures."""
    known = set(structures)
    order = {name: place for place, name in enumerate(versions)}
    rows = [r for r in ROWS if order[r.first] <= order[version] <= order[r.last] and r.structure in known]
    return MappingProxyType(dict(sorted(pair for row in rows for pair in _pairs(row))))


def _pairs(row: Row) -> Iterator[tuple[str, str]]:
    code = row.structure.partition("_")[0]
    for event in row.events.split():
        yield (event if "_" in event else f"{code}_{event}"), row.structure
