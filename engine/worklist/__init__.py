"""Radiology orders in HL7 v2 become items of a DICOM modality worklist: values in, values out, no I/O."""
