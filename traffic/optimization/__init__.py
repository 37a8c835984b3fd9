"""What is computed to an optimum or held to a set point: splits and gating flows."""
