"""The explainer: which words made an answer. Its own process and libraries, and the worker's loaders."""
