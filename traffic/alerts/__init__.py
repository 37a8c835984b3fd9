"""What an alert is, how it lives, and what an operator may do with it."""
