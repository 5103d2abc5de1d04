"""The built-in steps: one file each, with its configuration model and its behaviour."""
