"""Where messages are kept: SQLite for a node of its own, memory for tests and trials."""
