"""The words all services share: events, stream names, the connection, scripts, delivery."""
