"""The documentation, inside the package, for sites without internet: Markdown, read by people and by tests."""
