"""Ways into the engine beside MLLP ports: one module a source, with its settings and its behaviour."""
