"""Larger models, and more than one process."""
