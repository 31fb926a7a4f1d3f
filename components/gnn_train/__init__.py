"""The gnn_train stage as a KFP component."""
