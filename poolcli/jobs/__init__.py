"""Many files: what goes where, doing it, and the records of what happened."""
