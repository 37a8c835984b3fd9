"""Direct forecasts of events, each with its odds: breakdown, spillback, the farthest tail."""
