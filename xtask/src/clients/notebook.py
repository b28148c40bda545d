"""Runs the code of a notebook: python notebook.py FILE."""

import json
import sys

import matplotlib

matplotlib.use("Agg")

with open(sys.argv[1], encoding="utf-8") as file:
    cells = json.load(file)["cells"]
names = {}
for cell in cells:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), sys.argv[1], "exec"), names)
assert names["maps"].ndim == 3 and names["maps"].max() > 0
