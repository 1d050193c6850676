from tests.takeover import pair, servers  # noqa: F401 fixtures
