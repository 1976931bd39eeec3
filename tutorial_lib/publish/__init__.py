"""Executed notebooks made ready for readers: without a kernel, and the README's pictures."""
