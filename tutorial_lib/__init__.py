"""The small library behind the notebooks of the Full Fine-Tuning Lab."""
