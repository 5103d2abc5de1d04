import re
from pathlib import Path

import engine
from engine.config.codes import CODES

ROOT = Path(engine.__file__).parent
CATALOGUE = set((ROOT / "config").glob("codes*.py"))
CODE = re.compile(r"""["']([EWI][1-9][0-9]{2})["']""")


def used() -> dict[str, list[str]]:
    """Codes in the engine's source, and the files they stand in."""
    found: dict[str, list[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        if path not in CATALOGUE:
            for code in CODE.findall(path.read_text(encoding="utf-8")):
                found.setdefault(code, []).append(str(path.relative_to(ROOT)))
    return found


def test_every_code_in_use_has_a_story() -> None:
    missing = {code: files for code, files in used().items() if code not in CODES}
    assert missing == {}


def test_every_story_is_of_a_code_in_use() -> None:
    assert set(CODES) - set(used()) == set()


def test_a_story_says_what_it_means_and_what_to_do() -> None:
    for code, story in CODES.items():
        assert 10 < len(story.title) < 80, code
        assert not story.title.endswith("."), code
        assert story.explanation.endswith("."), code
        assert len(story.explanation) > 30, code
        assert story.what_to_do.endswith("."), code


def test_titles_tell_codes_apart() -> None:
    titles = [story.title for story in CODES.values()]
    assert len(set(titles)) == len(titles)


def test_codes_are_in_the_range_of_their_subject() -> None:
    assert all(re.fullmatch(r"[EWI][12345][0-9]{2}", code) for code in CODES)
    assert not any(code.startswith("E3") for code in CODES)
