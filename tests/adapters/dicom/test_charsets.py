"""What a character set says that it holds is written as it is, and read back (dicom.md 1.5: never a question mark)."""

import warnings
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from engine.adapters.dicom.charsets import TERMS, charset_of
from engine.adapters.dicom.encode import dataset_of, written

LETTERS = "ABc é?ßŁżДсЩδΕ山田太郎やまだたろうﾔﾏﾀﾞ丂丄김희중洪王小明东שالقซİ"


def back(keyword: str, text: str, setting: str) -> tuple[str, list[str]]:
    """The value as a scanner reads it that goes by Specific Character Set, and what was rewritten."""
    charset = charset_of(setting)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom warns where it writes question marks
        dataset, rewritten = dataset_of({keyword: (text,)}, charset)
        data = written(dataset, is_implicit=True, charset=charset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it reads both halves of JIS X 0201 in one, but writes them anew, for a look
        return str(read_dataset(BytesIO(data), True, True)[keyword].value), rewritten


@pytest.mark.parametrize("setting", TERMS)
@pytest.mark.parametrize("keyword", ["PatientName", "PatientAddress"])
@given(st.text(LETTERS, min_size=1, max_size=12))
def test_what_it_holds_comes_back_and_the_rest_is_said_to_be_rewritten(setting: str, keyword: str, text: str) -> None:
    text = text.strip(" ") or "A"
    found, rewritten = back(keyword, text, setting)
    if not rewritten:
        assert found == text
    else:
        assert not charset_of(setting).holds(text)
        assert found.count("?") <= text.count("?")
