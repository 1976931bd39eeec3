"""What a submission may try. Each is the cell of the task ``mask_prompt``; none may win a point, stop the grading of others, or learn anything.

``CHECKS`` stands for the path of the folder with the hidden checks, ``OUTSIDE`` for a file that must not appear, ``PORT`` for a listening port.
Not for students.
"""

WRONG = """
def mask_prompt(input_ids, prompt_length):
    return [0]
"""

ATTACKS = {
    "a list that equals everything": """
class Any(list):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __len__(self): return 10**9
def mask_prompt(input_ids, prompt_length): return Any()
""",
    "an object of a borrowed class": """
class Fake:
    __class__ = list
    def __eq__(self, other): return True
    def __iter__(self): return iter([])
    def __len__(self): return 0
def mask_prompt(input_ids, prompt_length): return Fake()
""",
    "an array in name": """
import numpy
class Fake(numpy.ndarray):
    def __array__(self, *args): return numpy.zeros(1)
    def tolist(self): return self
    def __eq__(self, other): return True
Fake.__module__ = "numpy"
def mask_prompt(input_ids, prompt_length): return Fake((2,))
""",
    "a number that equals everything": """
class Same(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def mask_prompt(input_ids, prompt_length): return [Same(0)] * len(input_ids)
""",
    "patched comparisons": """
import math, numpy, torch
torch.equal = torch.allclose = lambda *a, **k: True
numpy.testing.assert_equal = numpy.testing.assert_allclose = numpy.array_equal = lambda *a, **k: True
math.isclose = lambda *a, **k: True
def mask_prompt(input_ids, prompt_length): return [0]
""",
    "patched judges": """
import tutorial_lib.exercises.plain as plain, tutorial_lib.exercises.task as task
plain.same = task.same = task.agree = lambda *a, **k: True
task.judge = lambda t, *a: task.Result(t.function, dict(t.points), dict(t.points))
def mask_prompt(input_ids, prompt_length): return [0]
""",
    "a patched conversion": """
import tutorial_lib.exercises.runner as runner
runner.to_plain = lambda value: "right"
runner._answers = lambda task: {"answers": [{"value": True, "right": True}] * 99}
def mask_prompt(input_ids, prompt_length): return [0]
""",
    "a forged reply": """
import json, os
for descriptor in range(3, 64):
    try: os.write(descriptor, json.dumps({"points": 99, "answers": [{"value": [0]}] * 6}).encode())
    except OSError: pass
def mask_prompt(input_ids, prompt_length): os._exit(0)
""",
    "sys.exit": """
import sys
def mask_prompt(input_ids, prompt_length): sys.exit(0)
""",
    "sys.exit in the cell": "import sys\nsys.exit(0)\n" + WRONG,
    "os._exit": """
import os
os._exit(0)
""",
    "killing its own process": """
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
def mask_prompt(input_ids, prompt_length): return [0]
""",
    "a crash of the interpreter": """
import ctypes
ctypes.string_at(0)
def mask_prompt(input_ids, prompt_length): return [0]
""",
    "killing the process that started it": """
import os, signal
def mask_prompt(input_ids, prompt_length):
    os.kill(os.getppid(), signal.SIGKILL)
    return [0]
""",
    "an infinite loop": """
def mask_prompt(input_ids, prompt_length):
    while True: pass
""",
    "an infinite loop that catches everything": """
def mask_prompt(input_ids, prompt_length):
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
    "a storm of processes": """
import os
def mask_prompt(input_ids, prompt_length):
    for _ in range(200):
        if os.fork() == 0:
            import time
            time.sleep(60)
    return [0]
""",
    "a child that outlives the task": """
import subprocess, sys
def mask_prompt(input_ids, prompt_length):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99); open('OUTSIDE', 'w')"], start_new_session=True)
    return [0]
""",
    "memory without end": """
def mask_prompt(input_ids, prompt_length):
    hoard = []
    while True: hoard.append(bytearray(10**8))
""",
    "memory in one piece": """
import torch
def mask_prompt(input_ids, prompt_length): return torch.ones(10**11)
""",
    "output without end": """
import os
print("x" * 10**8)
for _ in range(100): os.write(1, b"x" * 10**6)
def mask_prompt(input_ids, prompt_length):
    print("y" * 10**8)
    return [0]
""",
    "an answer without end": """
def mask_prompt(input_ids, prompt_length): return list(range(10**7))
""",
    "an answer that holds itself": """
def mask_prompt(input_ids, prompt_length):
    answer = []
    answer.append(answer)
    return answer
""",
    "an answer nested without end": """
def mask_prompt(input_ids, prompt_length):
    answer = []
    for _ in range(100_000): answer = [answer]
    return answer
""",
    "a file that fills the disk": """
def mask_prompt(input_ids, prompt_length):
    with open("big", "wb") as file:
        for _ in range(1000): file.write(b"x" * 10**7)
    return [0]
""",
    "reading the checks": """
source = {}
exec(open("CHECKS/04_label_masking.py").read(), source)
mask_prompt = source["mask_prompt"]
""",
    "reading the checks with native code": """
import os, torch
size = os.stat("CHECKS/04_label_masking.py").st_size
text = bytes(torch.from_file("CHECKS/04_label_masking.py", size=size, dtype=torch.uint8).tolist()).decode()
source = {}
exec(text, source)
mask_prompt = source["mask_prompt"]
""",
    "importing the checks": """
from pathlib import Path
from tutorial_lib.exercises.catalogue import find_assignments, load_tasks
mask_prompt = load_tasks(Path("CHECKS").parent, "04_label_masking")["mask_prompt"].reference
""",
    "asking another program for the checks": """
import subprocess
source = {}
exec(subprocess.run(["cat", "CHECKS/04_label_masking.py"], capture_output=True, text=True).stdout, source)
mask_prompt = source["mask_prompt"]
""",
    "asking git for the solutions": """
import subprocess
out = subprocess.run(["git", "-C", "CHECKS", "show", "HEAD:exercises/checks/04_label_masking.py"], capture_output=True, text=True).stdout
source = {}
exec(out, source)
mask_prompt = source["mask_prompt"]
""",
    "looking through memory": """
import gc, sys
def mask_prompt(input_ids, prompt_length):
    for thing in gc.get_objects():
        if type(thing).__name__ in ("Task", "Case", "Result") and hasattr(thing, "reference"):
            return thing.reference(input_ids, prompt_length)
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if hasattr(value, "reference"): return value.reference(input_ids, prompt_length)
        frame = frame.f_back
    return [0]
""",
    "the environment and other processes": """
import glob, os
def mask_prompt(input_ids, prompt_length):
    found = [value for key, value in os.environ.items() if "SEED" in key]
    for path in glob.glob("/proc/*/environ"):
        try: found.append(open(path).read())
        except OSError: pass
    raise ValueError(" ".join(found) + repr(input_ids))
""",
    "writing outside": """
def mask_prompt(input_ids, prompt_length):
    open("OUTSIDE", "w").write("was here")
    return [0]
""",
    "writing outside with native code": """
import torch
def mask_prompt(input_ids, prompt_length):
    torch.from_file("OUTSIDE", shared=True, size=9, dtype=torch.uint8).fill_(65)
    return [0]
""",
    "writing into the library": """
import tutorial_lib
from pathlib import Path
def mask_prompt(input_ids, prompt_length):
    (Path(tutorial_lib.__file__).parent / "was_here.py").write_text("x")
    return [0]
""",
    "a connection": """
import socket
def mask_prompt(input_ids, prompt_length):
    socket.create_connection(("127.0.0.1", PORT), timeout=2).send(repr(input_ids).encode())
    return [0]
""",
    "an error that tells the input": """
def mask_prompt(input_ids, prompt_length): raise type(repr(input_ids), (Exception,), {})(repr(input_ids))
""",
    "a thread that works on": """
import threading, time
def mask_prompt(input_ids, prompt_length):
    def work():
        time.sleep(99)
    threading.Thread(target=work).start()
    return [0]
""",
}
