"""Loops for a CPU that numba compiles: products of matrices, recurrence, choice of actions. No torch in here."""
