"""What one would use in place of Observa: each serves the same model file through the same code."""
