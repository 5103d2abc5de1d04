"""Profile files: what each key means, what is found wrong, inheritance, and who gets which profile."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.profile_load import AnyFiles, LoadedProfile, load_profile
from engine.hl7.message import Message
from engine.hl7.profile import ASPECTS, Element, Profile
from engine.testing import messages

Load = Callable[..., tuple[LoadedProfile | None, list[tuple[str, int, int, str]]]]

WHOLE = """\
description: Orders of the HIS
owner: radiology interfaces
for: {sender: HIS, facility: NORTH}
version: 2.5.1
standard: {default: warn, except: {table.0001: reject, length PID-5: off}}
mode: warn
fields:
  PID-3: {usage: R, cardinality: 1..3, mode: reject, message: The hospital number is missing}
  PID-3.1: {pattern: "[0-9]{6}", length: 6..6}
  PID-8: {usage: RE, values: tables/sex.csv, mode: {values: observe}}
  OBX-5: {usage: C(R/O), when: OBX-11 != "X"}
  OBSERVATION.NTE-3: {length: 200}
  PV1-2: {table: 4}
  MSH-11: {constant: P, owner: operations}
segments:
  PV1: {usage: R, cardinality: 1..1}
  ZPV:
    title: Visit of the ward system
    cardinality: 0..1
    fields:
      1: {name: Ward, usage: R, length: 4}
      2: {name: Number, data_type: CX}
      2.1: {usage: R}
rules:
  - name: inpatients have a ward
    when: PV1-2 == "I"
    require: PV1-3.1 is not empty
    mode: reject
  - name: numbers have units
    each: OBX
    when: OBX-2 == "NM"
    require: OBX-6 is not empty
switch_off: [length, table.0002]
messages:
  ADT^A01:
    fields: {PID-7: {usage: R}, PID-3: {cardinality: 1..1}}
"""
SEX = "code,meaning\nF,female\nM,male\n"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The profile of `profile.yaml`, or of a set of files, and where findings are: file, line, column, code."""

    def read(files: str | Mapping[str, str], path: str = "profile.yaml"):
        given = {"profile.yaml": files} if isinstance(files, str) else files
        for name, text in {"tables/sex.csv": SEX, **given}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        loaded, findings = load_profile(path, AnyFiles(tmp_path))
        return loaded, [(f.file, f.line, f.column, f.code) for f in findings]

    return read


@pytest.fixture
def one(load: Load) -> Callable[..., Profile]:
    """The only profile of files without a finding."""

    def read(files: str | Mapping[str, str], path: str = "profile.yaml") -> Profile:
        loaded, findings = load(files, path)
        assert findings == []
        assert loaded is not None
        return loaded.profiles.choices[-1][1]

    return read


def element(profile: Profile, path: str, code: str = "", event: str = "") -> Element:
    return next(e for e in profile.rules_for(code, event).elements if ".".join(filter(None, e.key)) == path)


# -- what each key means ------------------------------------------------------------------------------


def test_every_rule_has_an_id_a_mode_and_an_owner(one):
    rules = {rule.id: (rule.mode, rule.owner) for rule in one(WHOLE).all_rules()}
    radiology = "radiology interfaces"
    assert rules == {
        "PID-3.usage": ("reject", radiology),
        "PID-3.cardinality": ("reject", radiology),
        "PID-3.1.length": ("warn", radiology),
        "PID-3.1.pattern": ("warn", radiology),
        "PID-8.usage": ("warn", radiology),
        "PID-8.values": ("observe", radiology),
        "OBX-5.usage": ("warn", radiology),
        "OBSERVATION.NTE-3.length": ("warn", radiology),
        "PV1-2.values": ("warn", radiology),
        "MSH-11.constant": ("warn", "operations"),
        "ZPV-1.usage": ("warn", radiology),
        "ZPV-1.length": ("warn", radiology),
        "ZPV-2.data_type": ("warn", radiology),
        "ZPV-2.1.usage": ("warn", radiology),
        "PV1.usage": ("warn", radiology),
        "PV1.cardinality": ("warn", radiology),
        "ZPV.cardinality": ("warn", radiology),
        "rule.inpatients-have-a-ward": ("reject", radiology),
        "rule.numbers-have-units": ("warn", radiology),
        "PID-7.usage": ("warn", radiology),
    }


def test_what_a_place_may_hold_comes_from_a_list_a_file_or_a_table_of_the_standard(one):
    profile = one(WHOLE + "  ADT^A02: {fields: {PID-8: {values: [F, X]}}}\n")
    assert element(profile, "PID-8").values.values == {"F", "M"}
    assert element(profile, "PID-8", "ADT", "A02").values.values == {"F", "X"}
    assert element(profile, "PV1-2").values.table == "0004"


def test_bounds_have_an_end_or_none(one):
    profile = one("fields: {PID-3: {cardinality: 2, length: 20}, PID-11: {cardinality: 0..*, length: 3..*}}\n")
    bounds = [(e.cardinality.least, e.cardinality.most, e.length.least, e.length.most) for e in profile.rules.elements]
    assert bounds == [(2, 2, 0, 20), (0, None, 3, None)]


@pytest.mark.parametrize(
    ("usage", "result", "has", "has_not"),
    [("C", "R", "R", "X"), ("CE", "RE", "RE", "X"), ("C(R/RE)", "R", "R", "RE"), ("C(X/O)", "X", "X", "O")],
)
def test_a_conditional_usage_depends_on_the_message(one, usage, result, has, has_not):
    found = element(one(f'fields: {{PID-8: {{usage: {usage}, when: PID-5.1 == "Miller"}}}}\n'), "PID-8").usage
    assert found.of(Message.parse(messages.adt(family="Miller"))) == has
    assert found.of(Message.parse(messages.adt(family="Other"))) == has_not
    assert found.code == result


def test_a_place_that_an_event_names_again_takes_over_what_it_does_not_write(one):
    profile = one(WHOLE)
    always, admitted = element(profile, "PID-3"), element(profile, "PID-3", "ADT", "A01")
    assert (str(always.cardinality), str(admitted.cardinality)) == ("1..3", "1..1")
    assert admitted.usage == always.usage
    assert admitted.cardinality.rule == always.cardinality.rule
    assert all(e.path != "PID-7" for e in profile.rules_for("ADT", "A08").elements)


def test_a_rule_about_each_segment_reads_that_segment(one):
    (rule,) = (r for r in one(WHOLE).rules.cross if r.each)
    message = Message.parse(
        b"MSH|^~\\&|A|B|||2026||ORU^R01|1|P|2.5.1\rOBX|1|NM|A||1|g/L\rOBX|2|NM|B||2\rOBX|3|ST|C||x\r"
    )
    broken = []
    for index in message.indexes("OBX"):
        message.focus = index
        broken.append(rule.when.test(message) and not rule.require.test(message))
    assert broken == [False, True, False]
    assert rule.location == "OBX-6"


def test_a_z_segment_has_names_and_types_for_its_fields(one):
    definition = one(WHOLE).segments["ZPV"]
    assert definition.title == "Visit of the ward system"
    assert [(f.number, f.name, f.data_type) for f in definition.fields] == [(1, "Ward", "ST"), (2, "Number", "CX")]


def test_rules_of_the_standard_are_switched_off_by_name_and_by_place(one):
    standard = one(WHOLE).standard
    assert standard.mode("table.0001", "PID-8") == "reject"
    assert standard.mode("table.0002", "PID-16") == "off"
    assert standard.mode("length", "PID-11.1") == "off"
    assert standard.mode("usage", "PID-5") == "warn"


@pytest.mark.parametrize(
    ("exceptions", "mode"),
    [
        ("{length: off}", "off"),
        ("{length: off, PID-5: observe}", "observe"),
        ("{length: off, PID-5: observe, length PID: reject}", "reject"),
        ("{PID: reject, PID-5: observe}", "observe"),
        ("{PID-6: reject, required: off}", "warn"),
    ],
)
def test_of_several_exceptions_the_closest_counts(one, exceptions, mode):
    profile = one(f"standard: {{except: {exceptions}}}\n")
    assert profile.standard.mode("length", "PID-5.1") == mode


def test_a_rule_of_its_own_base_is_switched_off(one):
    profile = one(
        {"base.yaml": WHOLE, "profile.yaml": "extends: base.yaml\nswitch_off: [PID-3.usage, rule.numbers-have-units]\n"}
    )
    ids = {rule.id for rule in profile.all_rules()}
    assert not ids & {"PID-3.usage", "rule.numbers-have-units"}
    assert "PID-3.cardinality" in ids


# -- what is found wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column", "code"),
    [
        ("fields:\n  PID-3: {usag: R}\n", 2, 11, "E101"),
        ("fields:\n  PID-3[1]: {usage: R}\n", 2, 3, "E131"),
        ("fields:\n  pid-3: {usage: R}\n", 2, 3, "E131"),
        ("fields:\n  PID: {usage: R}\n", 2, 3, "E131"),
        ("fields:\n  PID-3: {usage: required}\n", 2, 18, "E105"),
        ("fields:\n  PID-3: {usage: C}\n", 2, 10, "E103"),
        ("fields:\n  PID-3: {usage: R, when: PID-5 exists}\n", 2, 10, "E108"),
        ("fields:\n  PID-3: {usage: C, when: PID-5 is nothing}\n", 2, 36, "E130"),
        ("fields:\n  PID-3: {cardinality: 3..1}\n", 2, 24, "E106"),
        ("fields:\n  PID-3: {length: long}\n", 2, 19, "E106"),
        ('fields:\n  PID-3: {pattern: "(?=a)"}\n', 2, 21, "E107"),
        ("fields:\n  PID-3: {values: tables/sexes.csv}\n", 2, 19, "E132"),
        ("fields:\n  PID-3: {values: [A], table: 1}\n", 2, 10, "E108"),
        ("fields:\n  PID-3: {table: sex}\n", 2, 18, "E105"),
        ("fields:\n  PID-3: {mode: refuse}\n", 2, 17, "E105"),
        ("fields:\n  PID-3: {mode: {usage: hold}}\n", 2, 25, "E105"),
        ("fields:\n  PID-3: {data_type: text}\n", 2, 10, "E105"),
        ("segments:\n  PV1: {fields: {2: {usage: R}}}\n", 2, 18, "E172"),
        ("segments:\n  pv1: {usage: R}\n", 2, 3, "E131"),
        ("rules:\n  - name: a\n    when: PID exists\n", 2, 11, "E103"),
        ("rules:\n  - {name: a, require: PID exists}\n  - {name: A, require: PV1 exists}\n", 3, 12, "E109"),
        ('rules:\n  - {name: "!", require: PID exists}\n', 2, 12, "E106"),
        ("rules:\n  - {name: a, require: PID exists, at: PID-x}\n", 2, 44, "E131"),
        ("switch_off: [Length]\n", 1, 14, "E170"),
        ("switch_off: [lenght]\n", 1, 14, "E170"),
        ("standard: {except: {table.1 PID-8: off}}\n", 1, 21, "E170"),
        ("switch_off: [PID-3.usage]\n", 1, 14, "E170"),
        ("standard: {except: {PID-3.usage: off}}\n", 1, 21, "E170"),
        ("standard: reject it\n", 1, 11, "E105"),
        ("version: 3\n", 1, 10, "E105"),
        ("messages:\n  ADT_A01: {}\n", 2, 3, "E123"),
        ("extends: base.txt\n", 1, 10, "E132"),
        ("extends: nowhere.yaml\n", 1, 10, "E132"),
        ("extends: profile.yaml\n", 1, 10, "E171"),
        ("fields:\n  PID-3: {evidence: {of: 1, filled: 2}}\n", 2, 21, "E106"),
    ],
)
def test_a_mistake_is_named_where_it_stands(load, text, line, column, code):
    loaded, findings = load(text)
    assert loaded is None
    assert findings == [("profile.yaml", line, column, code)]


def test_all_mistakes_of_all_files_come_at_once(load):
    _, findings = load(
        {
            "profile.yaml": "extends: base.yaml\nfields:\n  PID-3: {usage: Q}\n  PID-5: {usage: C, when: PID-}\n",
            "base.yaml": "fields:\n  PID-7: {length: x}\n  PID-8: {values: tables/bad.csv}\n",
            "tables/bad.csv": "only\n",
        }
    )
    assert findings == [
        ("base.yaml", 2, 19, "E106"),
        ("profile.yaml", 3, 18, "E105"),
        ("profile.yaml", 4, 30, "E130"),
        ("tables/bad.csv", 1, 1, "E151"),
    ]


def test_a_profile_that_extends_itself_around_others_is_found(load):
    loaded, findings = load(
        {"profile.yaml": "extends: b.yaml\n", "b.yaml": "extends: sub/c.yaml\n", "sub/c.yaml": "extends: ../b.yaml\n"}
    )
    assert loaded is None
    assert findings == [("sub/c.yaml", 1, 10, "E171")]


@pytest.mark.parametrize(
    ("place", "version", "is_told"),
    [
        ("PID-93", "", True),
        ("PIX-3", "", True),
        ("PID-8.40", "", True),
        ("PID-40", "", False),
        ("PID-40", "2.3", True),
        ("PID-8.2", "2.8", False),
        ("OBX-5.7", "", False),
        ("ZPV-93", "", False),
    ],
)
def test_a_place_that_the_standard_does_not_have_is_doubted(load, place, version, is_told):
    loaded, findings = load((f"version: '{version}'\n" if version else "") + f"fields: {{{place}: {{usage: RE}}}}\n")
    assert [code for *_, code in findings] == (["W172"] if is_told else [])
    assert loaded is not None


def test_two_may_extend_the_same(one):
    profile = one(
        {
            "base.yaml": "fields: {PID-3: {usage: R}}\n",
            "other.yaml": "extends: base.yaml\nfields: {PID-5: {usage: R}}\n",
            "profile.yaml": "extends: base.yaml\nprofiles:\n  - {for: {sender: LAB}, extends: other.yaml}\n",
        }
    )
    assert [e.path for e in profile.rules.elements] == ["PID-3"]


def test_a_profile_behind_one_that_takes_all_is_told(load):
    loaded, findings = load(
        "profiles:\n  - for: {sender: HIS}\n  - for: [{sender: HIS, facility: NORTH}, {sender: HIS, profile: X}]\n"
    )
    assert findings == [("profile.yaml", 0, 0, "W171")]
    assert loaded is not None


# -- inheritance --------------------------------------------------------------------------------------


def test_a_later_file_wins_key_by_key(one):
    profile = one(
        {
            "base.yaml": WHOLE,
            "profile.yaml": """\
extends: base.yaml
owner: the ward
mode: observe
fields:
  PID-3: {cardinality: 1..*}
  PID-8: {values: [F, M, O]}
  PID-3.1: {usage: R}
segments:
  ZPV: {fields: {1: {length: 8}}}
rules:
  - {name: inpatients have a ward, mode: warn}
""",
        }
    )
    rules = {rule.id: (rule.mode, rule.owner) for rule in profile.all_rules()}
    assert element(profile, "PID-3").usage.rule.message == "The hospital number is missing"
    assert str(element(profile, "PID-3").cardinality) == "1..*"
    assert rules["PID-3.usage"] == ("reject", "the ward"), "said again there: its owner is asked"
    assert rules["PID-8.usage"] == ("observe", "the ward")
    assert element(profile, "PID-8").values.values == {"F", "M", "O"}
    assert rules["PV1.usage"] == ("observe", "radiology interfaces")
    assert str(element(profile, "ZPV-1").length) == "0..8"
    assert element(profile, "ZPV-1").usage.code == "R"
    assert rules["rule.inpatients-have-a-ward"][0] == "warn"
    assert profile.description == "Orders of the HIS"


def test_keys_that_belong_together_are_replaced_together(one):
    profile = one(
        {
            "base.yaml": "fields: {PID-1: {usage: C, when: PID exists}, PID-2: {table: 1}}\n",
            "profile.yaml": "extends: base.yaml\nfields: {PID-1: {usage: R}, PID-2: {values: [X]}}\n",
        }
    )
    assert not element(profile, "PID-1").usage.is_conditional
    assert (element(profile, "PID-2").values.table, element(profile, "PID-2").values.values) == ("", {"X"})


def test_a_rule_that_a_base_switched_off_holds_where_it_is_said_again(one):
    files = {
        "first.yaml": "fields: {PID-3: {usage: R, length: 9}}\n",
        "base.yaml": "extends: first.yaml\nswitch_off: [PID-3.usage, PID-3.length]\n",
        "profile.yaml": "extends: base.yaml\nfields: {PID-3: {usage: RE}}\n",
    }
    assert [rule.id for rule in one(files).all_rules()] == ["PID-3.usage"]


def test_paths_are_relative_to_the_file_that_writes_them(one):
    profile = one(
        {
            "shared/base.yaml": """\
fields:
  PID-8: {values: codes/sex.csv}
  PV1-2: {usage: C, when: 'table("codes/sex.csv", PID-8) == "male"'}
""",
            "shared/codes/sex.csv": SEX,
            "orders/profile.yaml": "extends: ../shared/base.yaml\n",
        },
        "orders/profile.yaml",
    )
    assert element(profile, "PID-8").values.values == {"F", "M"}
    usage = element(profile, "PV1-2").usage
    assert usage.of(Message.parse(messages.adt(sex="M"))) == "R"
    assert usage.of(Message.parse(messages.adt(sex="F"))) == "X"


PLACES = ("PID-3", "PID-5.1", "OBX-5", "ZPV-2")
KEYS = {
    "usage": st.sampled_from(["R", "RE", "O", "X"]),
    "cardinality": st.sampled_from(["0..1", "1..*", "2..5"]),
    "length": st.sampled_from(["1..4", "20", "3..*"]),
    "pattern": st.sampled_from(["A+", "[0-9]"]),
    "constant": st.sampled_from(["P", "T"]),
    "data_type": st.sampled_from(["ST", "CX"]),
}
ENTRY = st.fixed_dictionaries({}, optional=KEYS)
LAYER = st.dictionaries(st.sampled_from(PLACES), ENTRY, max_size=4)


@given(st.lists(LAYER, min_size=1, max_size=4))
def test_a_chain_of_files_is_its_keys_laid_over_each_other(tmp_path_factory, layers):
    folder = tmp_path_factory.mktemp("chain")
    for number, layer in enumerate(layers):
        lines = [f"extends: {number - 1}.yaml"] if number else ["description: the first"]
        lines += ["fields:"] if layer else []
        for place, entry in layer.items():
            written = ", ".join(f'{key}: "{value}"' for key, value in entry.items())
            lines.append(f"  {place}: {{{written}}}")
        (folder / f"{number}.yaml").write_text("\n".join(lines) + "\n")
    loaded, findings = load_profile(f"{len(layers) - 1}.yaml", AnyFiles(folder))
    assert not findings
    expected: dict[str, dict[str, str]] = {}
    for layer in layers:
        for place, entry in layer.items():
            expected[place] = {**expected.get(place, {}), **entry}
    (_, profile), *_ = loaded.profiles.choices
    shown = {e.path: {aspect for aspect in ASPECTS if getattr(e, aspect) is not None} for e in profile.rules.elements}
    assert shown == {place: set(entry) for place, entry in expected.items()}
    for made in profile.rules.elements:
        entry = expected[made.path]
        assert made.usage is None or made.usage.code == entry["usage"]
        assert made.pattern is None or made.pattern.text == entry["pattern"]
        assert made.constant is None or made.constant.value == entry["constant"]
        assert made.data_type is None or made.data_type.name == entry["data_type"]


# -- selection ----------------------------------------------------------------------------------------

SENDERS = """\
fields: {PID-3: {usage: R}}
profiles:
  - for: {sender: LAB}
    fields: {PID-3: {usage: RE}, PID-5: {usage: R}}
  - for: [{sender: HIS, facility: SOUTH}, {profile: IHE-1}]
    mode: warn
"""


def header(sender: str, facility: str, profiles: str) -> Message:
    return Message.parse(f"MSH|^~\\&|{sender}|{facility}|||2026||ADT^A01|1|P|2.5.1|||||||||{profiles}\r".encode())


@pytest.mark.parametrize(
    ("sender", "facility", "profiles", "name"),
    [
        ("LAB", "NORTH", "", "profile LAB"),
        ("LAB^1.2^ISO", "SOUTH", "IHE-1", "profile LAB"),
        ("HIS", "SOUTH", "", "profile HIS"),
        ("HIS", "NORTH", "", "profile"),
        ("RIS", "NORTH", "X^Y~IHE-1^IHE", "profile HIS"),
        ("", "", "", "profile"),
    ],
)
def test_the_first_profile_that_is_for_the_sender_is_taken(load, sender, facility, profiles, name):
    loaded, _ = load(SENDERS)
    chosen = loaded.profiles.choose(header(sender, facility, profiles))
    assert chosen.name == name
    assert [e.path for e in chosen.rules.elements] == (["PID-3", "PID-5"] if name == "profile LAB" else ["PID-3"])


def test_a_file_for_one_sender_asks_nothing_of_others(load):
    loaded, _ = load("for: {sender: HIS}\nfields: {PID-3: {usage: R}}\n")
    assert loaded.profiles.choose(header("HIS", "", "")) is not None
    assert loaded.profiles.choose(header("LAB", "", "")) is None


NAMES = st.sampled_from(["", "A", "B"])
WHOM = st.fixed_dictionaries({}, optional={"sender": NAMES, "facility": NAMES, "profile": NAMES})


@given(st.lists(st.lists(WHOM, min_size=1, max_size=3), max_size=4), st.lists(NAMES, min_size=3, max_size=3))
def test_selection_is_a_walk_down_the_list(tmp_path_factory, entries, sender):
    folder = tmp_path_factory.mktemp("choice")
    lines = ["description: all", *(["profiles:"] if entries else [])]
    for entry in entries:
        whose = ", ".join("{" + ", ".join(f'{k}: "{v}"' for k, v in whom.items()) + "}" for whom in entry)
        lines.append(f"  - for: [{whose}]")
    (folder / "p.yaml").write_text("\n".join(lines) + "\n")
    loaded, _ = load_profile("p.yaml", AnyFiles(folder))
    chosen = loaded.profiles.choose(header(*sender))
    actual = dict(zip(("sender", "facility", "profile"), sender, strict=True))
    fits = [any(all(v in ("", actual[k]) for k, v in whom.items()) for whom in entry) for entry in entries]
    profiles = list(dict.fromkeys(id(profile) for _, profile in loaded.profiles.choices))
    assert profiles.index(id(chosen)) == (fits.index(True) if True in fits else len(entries))


@pytest.mark.parametrize(
    ("asked", "is_told"),
    [
        ('table: "9876"', True),
        ('table: "0396"', True),
        ("table: 1", False),
        ('table: "0112"', False),
        ("data_type: XYZ", True),
        ("data_type: XTN", False),
    ],
)
def test_a_table_or_data_type_that_would_ask_nothing_is_told_at_its_place(load, asked, is_told):
    loaded, findings = load(f"description: x\nfields:\n  OBX-3: {{{asked}}}\n")
    assert findings == ([("profile.yaml", 3, 3, "W173")] if is_told else [])
    assert loaded is not None


def test_a_version_that_the_standard_does_not_have_here_is_told(load):
    loaded, findings = load("version: 2.9\nfields: {PID-3: {usage: R}}\n")
    assert [code for *_, code in findings] == ["W173"]
    assert loaded is not None


def test_a_file_that_was_meant_is_named_as_the_profile_would_write_it(tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/orders.yaml").write_text("fields: {PID-8: {values: sexx.csv}}\n")
    (tmp_path / "profiles/sex.csv").write_text(SEX)

    class Around(AnyFiles):
        def paths(self) -> list[str]:
            return ["profiles/orders.yaml", "profiles/sex.csv"]

    _, findings = load_profile("profiles/orders.yaml", Around(tmp_path))
    assert [(f.code, f.hint) for f in findings] == [("E132", "did you mean sex.csv?")]
