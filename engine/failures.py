"""Why an engine does not start, or does not go on."""

from engine.config.finding import ConfigFinding
from engine.exit_codes import CONFIGURATION


class EngineFailed(Exception):
    """The engine cannot start, or cannot go on. `sentence` is for people, `exit_code` for the supervisor."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit_code = exit_code


class ConfigurationError(EngineFailed):
    """The site's files have errors; `findings` says all of them."""

    def __init__(self, findings: list[ConfigFinding]) -> None:
        errors = sum(finding.is_error for finding in findings)
        super().__init__(f"the site has {errors} error(s): segmill check shows them", CONFIGURATION)
        self.findings = findings
