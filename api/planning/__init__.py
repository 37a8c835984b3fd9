"""Fixed-time plans for an engineer: from flows to plans, files, tables and a diagram."""
