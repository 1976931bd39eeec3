"""nbgrader's settings for this course; its commands are run in this folder, and it defines get_config."""

c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "full-fine-tuning"
c.ClearSolutions.code_stub = {"python": "# your code here"}
# A student's endless loop must not hold up the others.
c.Execute.timeout = 60
