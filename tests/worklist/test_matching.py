"""C-FIND rules 1 to 22 of dicom.md section 2, on plain items."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.worklist.item import Attributes, EntityId, Item, ItemKey, OrderKeys, Status
from engine.worklist.matching import STATUS, BadKey, answer, compile_query, find

SPS = "ScheduledProcedureStepSequence"
DATE, TIME, AE = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime", "ScheduledStationAETitle"


def item(
    number: int,
    *,
    name: str = "Muster^Anna",
    aes: tuple[str, ...] = ("CT1",),
    modality: str = "CT",
    date: str = "20261015",
    time: str = "090000",
    mrn: str = "900001",
    accession: str = "",
    status: Status = "SCHEDULED",
    is_held: bool = False,
    performer: tuple[str, ...] = (),
) -> Item:
    accession = accession or f"A{number}"
    step: Attributes = {
        AE: aes,
        "Modality": (modality,),
        DATE: (date,),
        TIME: (time,),
        "ScheduledProcedureStepID": (f"S{number}",),
        "ScheduledPerformingPhysicianName": performer,
        "ScheduledProtocolCodeSequence": ({"CodeValue": ("C1",), "CodeMeaning": ("Head",)},),
    }
    attributes: Attributes = {
        "PatientName": (name,),
        "PatientID": (mrn,),
        "AccessionNumber": (accession,),
        "StudyInstanceUID": (f"1.2.{number}",),
        "PatientSex": (),
        SPS: (step,),
    }
    starts = date + time.ljust(6, "0") + ".000000"
    keys = OrderKeys(f"1.2.{number}", accession=EntityId(accession))
    return Item(ItemKey(f"1.2.{number}", f"S{number}"), EntityId(mrn), keys, attributes, starts, "zds", status, is_held)


def numbers(items: list[Item], step: Attributes | None = None, **keys: tuple[str, ...]) -> list[int]:
    identifier: Attributes = {**keys, **({SPS: (step,)} if step is not None else {})}
    return [int(found.key.step_id[1:]) for found in find(compile_query(identifier), items).items]


class TestAccents:
    """dicom.md 2, 25: they count, unless the site says otherwise for a scanner."""

    NAMES = ("Müller^Zoé", "Muller^Zoe", "Łukasz^Æsa", "山田が^太郎", "Йод^И", "Straße^Ö", "Άννα^Ω")

    def found(self, key: str, *, folds: bool = True, keyword: str = "PatientName") -> list[str]:
        items = [item(n, name=name, performer=(name,)) for n, name in enumerate(self.NAMES, start=1)]
        asked: Attributes = {keyword: (key,)} if keyword == "PatientName" else {SPS: ({keyword: (key,)},)}
        found = find(compile_query(asked, folds_accents=folds), items).items
        return [self.NAMES[int(one.key.step_id[1:]) - 1] for one in found]

    @pytest.mark.parametrize(
        ("key", "names"),
        [
            ("muller", ["Müller^Zoé", "Muller^Zoe"]),
            ("MÜLLER^ZOE", ["Müller^Zoé", "Muller^Zoe"]),
            ("Mu\u0308l*^Z?é", ["Müller^Zoé", "Muller^Zoe"]),
            ("mueller", []),
            ("lukasz^aesa", ["Łukasz^Æsa"]),
            ("*^Æsa", ["Łukasz^Æsa"]),
            ("STRASSE^O", ["Straße^Ö"]),
            ("αννα^ω", ["Άννα^Ω"]),
            # Elsewhere a mark makes another letter.
            ("山田か", []),
            ("山田が", ["山田が^太郎"]),
            ("Иод", []),
            ("йод", ["Йод^И"]),
        ],
    )
    def test_do_not_count_where_they_are_folded(self, key: str, names: list[str]) -> None:
        assert self.found(key) == names
        assert self.found(key, keyword="ScheduledPerformingPhysicianName") == names

    def test_count_where_nothing_is_said(self) -> None:
        assert self.found("muller", folds=False) == ["Muller^Zoe"]
        assert self.found("müller", folds=False) == ["Müller^Zoé"]
        assert self.found("lukasz", folds=False) == []

    def test_count_in_what_is_no_name(self) -> None:
        assert numbers([item(1, accession="É1")], AccessionNumber=("E1",)) == []
        query = compile_query({"AccessionNumber": ("E1",)}, folds_accents=True)
        assert find(query, [item(1, accession="É1")]).items == ()


class TestSingleValues:
    @pytest.mark.parametrize(
        ("key", "expected"),
        [("CT1", [1, 3]), ("CT2", [3]), ("ct1", []), ("CT", []), ("CT?", [1, 3]), ("*", [1, 2, 3, 4]), ("MR1", [2])],
    )
    def test_station(self, key: str, expected: list[int]) -> None:
        items = [item(1), item(2, aes=("MR1",)), item(3, aes=("CT1", "CT2")), item(4, aes=())]
        assert numbers(items, {AE: (key,)}) == expected

    def test_all_keys_count_together(self) -> None:
        items = [item(1), item(2, modality="MR"), item(3, aes=("CT2",))]
        assert numbers(items, {AE: ("CT1",), "Modality": ("CT",)}) == [1]

    @pytest.mark.parametrize("key", ["A%", "A_", "[A]1", "A.", ".*", "A1\n"])
    def test_nothing_else_is_a_wildcard(self, key: str) -> None:
        assert numbers([item(1)], AccessionNumber=(key,)) == []

    def test_what_looks_like_a_wildcard_elsewhere_is_itself(self) -> None:
        assert numbers([item(1, accession="A%1"), item(2, accession="AX1")], AccessionNumber=("A%1",)) == [1]

    def test_a_key_with_blanks_around_it_is_the_same(self) -> None:
        assert numbers([item(1)], AccessionNumber=("A1 ",)) == [1]

    def test_several_values_match_any(self) -> None:
        items = [item(1), item(2, modality="MR"), item(3, modality="US")]
        assert numbers(items, {"Modality": ("CT", "MR")}) == [1, 2]
        assert numbers(items, StudyInstanceUID=("1.2.1", "1.2.3")) == [1, 3]

    def test_a_uid_has_no_wildcards(self) -> None:
        assert numbers([item(1)], StudyInstanceUID=("1.2.*",)) == []


class TestUniversal:
    @pytest.mark.parametrize("values", [(), ("",), ("*",), ("**",), (" ",)])
    def test_matches_everything_also_what_has_no_value(self, values: tuple[str, ...]) -> None:
        assert numbers([item(1), item(2, aes=())], {AE: values}, PatientSex=values) == [1, 2]

    @pytest.mark.parametrize("sequence", [(), ({},)])
    def test_an_empty_sequence(self, sequence: tuple[Attributes, ...]) -> None:
        found = find(compile_query({SPS: sequence}), [item(1), item(2)])
        assert len(found.items) == 2

    def test_an_item_without_a_value_fails_every_other_key(self) -> None:
        assert numbers([item(1)], PatientSex=("F",)) == []
        assert numbers([item(1, aes=())], {AE: ("?*",)}) == []


class TestTimes:
    @pytest.mark.parametrize("key", ["0900", "090000", "090000.000", "09", "09:00", "0900-0900"])
    @pytest.mark.parametrize("own", ["0900", "090000", "09"])
    def test_are_times_and_not_texts(self, key: str, own: str) -> None:
        assert numbers([item(1, time=own)], {TIME: (key,)}) == [1]

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            ("20261015", [1]),
            ("20261015-20261016", [1, 2]),
            ("-20261015", [1]),
            ("20261016-", [2, 3]),
            ("2026.10.15", [1]),
        ],
    )
    def test_dates(self, key: str, expected: list[int]) -> None:
        items = [item(1), item(2, date="20261016"), item(3, date="20261017")]
        assert numbers(items, {DATE: (key,)}) == expected

    def test_two_ranges_are_one_period(self) -> None:
        items = [
            item(1, date="20261015", time="0900"),
            item(2, date="20261015", time="1100"),
            item(3, date="20261015", time="2000"),
            item(4, date="20261016", time="0500"),
            item(5, date="20261016", time="1900"),
        ]
        both: Attributes = {DATE: ("20261015-20261016",), TIME: ("1000-1800",)}
        assert numbers(items, both) == [2, 3, 4]
        assert numbers(items, {DATE: ("20261015",), TIME: ("1000-1800",)}) == [2]
        assert numbers(items, {DATE: ("20261015-",), TIME: ("1000-",)}) == [2, 3, 4, 5]
        assert numbers(items, {DATE: ("-20261015",), TIME: ("-1200",)}) == [1, 2]

    def test_a_range_of_days_with_one_time_is_two_keys(self) -> None:
        items = [item(1, time="0900"), item(2, date="20261016", time="0900"), item(3, date="20261016", time="1000")]
        assert numbers(items, {DATE: ("20261015-20261016",), TIME: ("0900",)}) == [1, 2]

    @pytest.mark.parametrize("key", ["2026-10-15", "today", "20261301", "-", "20261015-x", "15.10.2026", "*1"])
    def test_what_is_no_date_is_refused_and_matches_nobody(self, key: str) -> None:
        with pytest.raises(BadKey) as caught:
            compile_query({SPS: ({DATE: (key,)},)})
        assert caught.value.keyword == DATE

    @pytest.mark.parametrize("key", ["25", "0960", "noon", "9"])
    def test_what_is_no_time_is_refused(self, key: str) -> None:
        with pytest.raises(BadKey):
            compile_query({SPS: ({TIME: (key,)},)})


class TestNames:
    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            ("Muster^Anna", [1]),
            ("MUSTER^ANNA", [1]),
            ("muster*", [1, 2]),
            ("MUSTER", [1, 2]),
            ("Muster^Anna^^^", [1]),
            ("*anna*", [1]),
            ("Must?r^Anna", [1]),
            ("Anna", []),
            ("Muster^A", []),
            ("MÜLLER*", [3]),
            ("Müller", [3]),
            ("Mu\u0308ller", [3]),
            ("MULLER", []),
        ],
    )
    def test_have_no_case(self, key: str, expected: list[int]) -> None:
        items = [item(1, name="Muster^Anna"), item(2, name="Muster^Bert"), item(3, name="Müller^Eva")]
        assert numbers(items, PatientName=(key,)) == expected

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            ("YAMADA^TARO", [1]),
            ("山田*", [1]),
            ("山田^太郎", [1]),
            ("やまだ", [1]),
            ("YAMADA^TARO=山田^太郎", [1]),
            ("YAMADA^TARO=", [1]),
            ("=山田*", [1]),
            ("=YAMADA*", []),
            ("YAMADA^TARO=鈴木^太郎", []),
            ("*=*=やまだ^たろう", [1]),
        ],
    )
    def test_have_three_groups(self, key: str, expected: list[int]) -> None:
        items = [item(1, name="YAMADA^TARO=山田^太郎=やまだ^たろう"), item(2, name="Muster^Anna")]
        assert numbers(items, PatientName=(key,)) == expected

    def test_of_the_performing_physician(self) -> None:
        items = [item(1, performer=("Arzt^Petra",)), item(2)]
        assert numbers(items, {"ScheduledPerformingPhysicianName": ("arzt",)}) == [1]


class TestStatus:
    def test_what_is_over_or_held_is_hidden(self) -> None:
        items = [item(1), item(2, status="COMPLETED"), item(3, status="ARRIVED"), item(4, is_held=True)]
        assert numbers(items) == [1, 3]

    def test_a_query_for_a_status_sees_it(self) -> None:
        items = [item(1), item(2, status="COMPLETED"), item(3, status="STARTED"), item(4, is_held=True)]
        assert numbers(items, {STATUS: ("COMPLETED",)}) == [2]
        assert numbers(items, {STATUS: ("*ED",)}) == [1, 2, 3]

    def test_of_a_caller_that_sees_only_its_own(self) -> None:
        found = find(compile_query({}), [item(1), item(2, aes=("MR1",))], hidden=lambda i: "CT1" not in i.stations)
        assert [i.key.step_id for i in found.items] == ["S1"]


class TestWhatIsNotMatched:
    @pytest.mark.parametrize(
        "identifier",
        [
            {"PatientComments": ("zzz",)},
            {"(0011,1010)": ("private",)},
            {"RequestedProcedureDescription": ("Head",)},
            {"Modality": ("MR",)},
            {"RequestedProcedureCodeSequence": ({"CodeValue": ("C9",)},)},
            {SPS: ({"ScheduledProtocolCodeSequence": ({"CodeValue": ("C9",)},)},)},
        ],
    )
    def test_restricts_nothing_and_is_told(self, identifier: Attributes) -> None:
        query = compile_query(identifier)
        assert query.has_unmatched
        assert len(find(query, [item(1)]).items) == 1

    @pytest.mark.parametrize(
        "identifier", [{"PatientComments": ()}, {"RequestedProcedureCodeSequence": ({"CodeValue": ()},)}]
    )
    def test_without_a_value_there_is_nothing_to_tell(self, identifier: Attributes) -> None:
        assert not compile_query(identifier).has_unmatched


class TestAnswers:
    def test_have_the_keys_that_were_asked_for_and_the_study(self) -> None:
        query = compile_query({"PatientName": (), "PatientSex": (), SPS: ({AE: (), STATUS: ()},)})
        assert answer(query, item(1)) == {
            "PatientName": ("Muster^Anna",),
            "PatientSex": (),
            "StudyInstanceUID": ("1.2.1",),
            SPS: ({AE: ("CT1",), STATUS: ("SCHEDULED",)},),
        }

    def test_an_empty_sequence_asks_for_all_of_it(self) -> None:
        query = compile_query({SPS: ()})
        (step,) = answer(query, item(1))[SPS]
        assert not isinstance(step, str) and {AE, "Modality", STATUS} <= set(step)

    def test_what_nobody_knows_is_empty(self) -> None:
        assert answer(compile_query({"PatientComments": ("x",)}), item(1))["PatientComments"] == ()

    def test_codes_have_the_parts_that_were_asked_for(self) -> None:
        asked: Attributes = {SPS: ({"ScheduledProtocolCodeSequence": ({"CodeMeaning": ()},)},)}
        (step,) = answer(compile_query(asked), item(1))[SPS]
        assert step == {"ScheduledProtocolCodeSequence": ({"CodeMeaning": ("Head",)},)}


def test_items_come_by_start_then_accession_number() -> None:
    items = [item(1, time="1000"), item(2, time="0900", accession="B"), item(3, time="0900", accession="A")]
    assert numbers(items) == [3, 2, 1]


def test_the_log_says_what_each_key_took_away() -> None:
    items = [item(1), item(2, modality="MR"), item(3, modality="MR"), item(4, aes=("CT9",), modality="US")]
    found = find(compile_query({SPS: ({AE: ("CT1",), "Modality": ("CT",)},)}), items)
    assert len(found.items) == 1
    assert found.without == {AE: 1, "Modality": 3}


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=8))
def test_wildcards_are_what_a_slow_reader_finds(key: str, own: str) -> None:
    def slow(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(slow(pattern[1:], text[n:]) for n in range(len(text) + 1))
        return bool(text) and pattern[0] in ("?", text[0]) and slow(pattern[1:], text[1:])

    expected = (bool(own) and (not key.strip("* ") or slow(key, own))) or not key.strip("* ")
    assert bool(numbers([item(1, accession=own or "-")], AccessionNumber=(key,))) == (
        expected if own else not key.strip("* ") or slow(key, "-")
    )


def test_a_hostile_key_looks_at_each_place_once() -> None:
    assert numbers([item(1, accession="a" * 60 + "c")], AccessionNumber=("*a" * 30 + "*b",)) == []
