"""What the model alone takes on the processor: ``just bench-model``."""
