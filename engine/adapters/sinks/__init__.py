"""Ways out of the engine: one module a sink, with its settings and its behaviour."""
