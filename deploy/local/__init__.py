"""The stack of `just up`: an embedded broker and a process supervisor."""
