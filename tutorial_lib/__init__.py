"""The small library behind the notebooks of the Full Fine-Tuning Lab."""

import gc
import sys

# `python -m tutorial_lib.…`, whose first argument is still "-m" here: what a command imports before it begins is 400,000 objects, of which
# little is garbage that would be worth looking for. `console.run_command` has it looked for again.
if sys.argv[:1] == ["-m"]:
    gc.disable()
