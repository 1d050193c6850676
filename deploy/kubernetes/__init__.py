"""Kubernetes' files; `just kubernetes-rules` writes the one that is generated."""
