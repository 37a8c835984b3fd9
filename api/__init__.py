"""The doors: the command line, the service, storage."""
