"""The archiver: everything the log says, into files, before the log forgets it."""
