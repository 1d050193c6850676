"""The page for people: try the model, understand an answer, correct it, see whether the model is still right."""
