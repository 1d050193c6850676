"""Grafana's dashboard and alert rules as code; `just dashboards` writes the files that Grafana loads."""
