"""Lane blockages found from loops alone, within a budget of false alarms."""
