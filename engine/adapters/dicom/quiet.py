"""pydicom and pynetdicom tell of values that they find odd, by logs and warnings, and quote them: names, numbers, dates
of birth. Here nothing of that is said; what is to be known of a query or a performed step is told by us."""

import logging
import warnings

from pydicom import config
from pynetdicom import _config


def silence() -> None:
    """For this process, whoever reads or writes DICOM in it. Values are checked by us where that matters."""
    config.settings.reading_validation_mode = config.IGNORE
    warnings.filterwarnings("ignore", module=r"pydicom\b")
    # Identifiers are formatted for these logs even where nobody reads them: 5 % of the time (dicom.md 4.4).
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    for name in ("pydicom", "pynetdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
