"""nbgrader's settings; `python -m tutorial_lib.exercises release --nbgrader` copies this file.

nbgrader defines get_config.
"""

c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "full-fine-tuning"
c.ClearSolutions.code_stub = {"python": "# your code here"}
# A student's endless loop must not hold up the others.
c.Execute.timeout = 60
