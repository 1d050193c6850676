"""How fast answers come, beside what else one could use: ``just bench``."""
