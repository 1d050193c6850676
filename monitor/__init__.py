"""The reader of results and feedback: metrics, drift, accuracy and alarms."""
