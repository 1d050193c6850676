"""A user for each role on a server of your own, and the server's configuration for TLS."""
