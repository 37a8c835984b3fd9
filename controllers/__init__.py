"""Signal controllers and meters, each behind traffic.control.Controller."""
