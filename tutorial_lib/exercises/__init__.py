"""Exercises: checks that say what went wrong.

What a student needs is ``check``, called below each task. The rest grades: ``python -m tutorial_lib.exercises``.
"""

from tutorial_lib.exercises.visible import check

__all__ = ["check"]
