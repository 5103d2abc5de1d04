"""The commands, one file each. A command's module is imported when the command is used, and heavy ones inside it."""
