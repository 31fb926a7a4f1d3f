"""The deploy stage as a KFP component."""
