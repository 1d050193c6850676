"""Data in; a trained, exported, verified model out."""
