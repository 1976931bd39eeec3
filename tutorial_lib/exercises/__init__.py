"""Exercises: checks that say what went wrong.

A student needs ``check``, called below each task; ``python -m tutorial_lib.exercises`` grades.
"""

from tutorial_lib.exercises.visible import check

__all__ = ["check"]
