"""The RESCO benchmark as a command: signal controllers on the same maps, under one protocol."""
