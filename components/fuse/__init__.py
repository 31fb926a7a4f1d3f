"""The fuse stage as a KFP component."""
