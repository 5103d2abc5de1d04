"""The running engine: listeners, intake, the committer, lanes, and the order in which they stop."""
