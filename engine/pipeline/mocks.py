"""Files of a case that stand in for files of its channel: a table, a profile, Python."""

from collections.abc import Mapping, Sequence

from engine.config.base import did_you_mean
from engine.config.finding import ConfigFinding
from engine.pipeline.cases import Difference


def is_mock(name: str) -> bool:
    """Whether a file of a case stands in for one of the channel."""
    return name.endswith((".csv", ".py")) or ("/" in name and name.endswith((".yaml", ".xml")))


def strange_mocks(mocks: Mapping[str, bytes], there: Mapping[str, bytes]) -> list[Difference]:
    """Those that stand in for nothing that the channel has."""
    strange = [name for name in mocks if name not in there]
    hints = [did_you_mean(name, there) or "it has none that could be" for name in strange]
    told = zip(strange, hints, strict=True)
    return [Difference(name, 0, "", f"a file that the channel has ({hint})", "another") for name, hint in told]


def wrong_mocks(channel: str, findings: Sequence[ConfigFinding]) -> list[Difference]:
    """What is wrong in them."""
    return [
        Difference(
            finding.file.partition(f"{channel}/")[2],
            0,
            f"line {finding.line}",
            "a file that can be used",
            finding.message,
        )
        for finding in findings
        if finding.is_error
    ]
