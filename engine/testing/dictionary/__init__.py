"""Makes the data of `engine.hl7.dictionary` from hl7apy's tables: `python -m engine.testing.dictionary`."""
