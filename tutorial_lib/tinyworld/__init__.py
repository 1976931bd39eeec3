"""TinyWorld: a small closed world of true facts, text and questions about it, and a base model."""
