"""Where state lives: a folder or an object store."""
