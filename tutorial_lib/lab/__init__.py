"""Experiments of single notebooks: pre-training objectives, and what breaks."""
