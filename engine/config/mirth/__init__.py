"""Channels of Mirth Connect and the Open Integration Engine, out of their exports, as channels of ours.

`export` reads the XML, `javascript` what can be said of its expressions, `elements` filters and transformers,
`sources` and `sinks` the connectors, `channel` puts a folder together, and `report` says what was carried over.
"""
