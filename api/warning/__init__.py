"""Breakdown warnings: fitted on recorded days, scored on others."""
