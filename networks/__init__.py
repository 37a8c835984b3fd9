"""Scenarios and fields: the only place that knows the simulator."""
