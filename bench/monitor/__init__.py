"""How early the monitor sees what has changed, how often it is wrong, and how fast it reads."""
