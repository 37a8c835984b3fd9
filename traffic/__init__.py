"""The domain of the congestion-response engine: no simulator, no web, no storage."""
