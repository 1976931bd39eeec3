"""TinyWorld: a small closed world of true facts, the text and questions made from it, and a base model that knows it."""
