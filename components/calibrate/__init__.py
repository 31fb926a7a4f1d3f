"""The calibrate stage as a KFP component."""
