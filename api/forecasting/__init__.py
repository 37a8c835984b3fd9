"""Forecasts for an engineer's own loop data, and how good they are on published data."""
