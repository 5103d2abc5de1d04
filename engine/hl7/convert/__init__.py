"""HL7 v2 messages in other notations, and back: JSON (json_form) and the XML encoding of the standard (xml_form).

`form_of` tells them apart by the first byte, as every one of them begins with another; `hl7_of` gives the HL7 bytes of
a body in whatever form it is.
"""

from engine.hl7.convert.errors import ConversionError
from engine.hl7.convert.forms import FORMS, Form, convert, form_of, hl7_of, split_bodies

__all__ = ["FORMS", "ConversionError", "Form", "convert", "form_of", "hl7_of", "split_bodies"]
