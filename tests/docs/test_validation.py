"""`validation.md` says what the code does: every rule with what it weighs, and every repair of the dictionary."""

from pathlib import Path

import engine.docs
from engine.hl7.validate import STANDARD_RULES
from engine.testing.dictionary.repairs import REPAIRS

PAGE = (Path(engine.docs.__file__).parent / "validation.md").read_text("utf-8")


def test_every_rule_is_in_the_table_as_it_is() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    expected = [f"| `{id}` | {rule.severity} | {rule.hl7_code} | {rule.text} |" for id, rule in STANDARD_RULES.items()]
    assert rows == expected


def test_every_repair_of_the_dictionary_is_told() -> None:
    plain = PAGE.replace("`", "")
    assert [repair.what for repair in REPAIRS if f"| {repair.what} | {repair.why} |" not in plain] == []
