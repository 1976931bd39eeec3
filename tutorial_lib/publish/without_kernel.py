"""What of an executed notebook can be shown without a kernel, without widgets and without a network."""

import copy

import nbformat

WIDGET = "application/vnd.jupyter.widget-view+json"
TWINS = ("text/html", "image/png", "image/svg+xml")


def static_copy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy in which every widget is replaced by its static twin.

    The twin stands in the same output, as HTML or a picture; an output that has none (a progress bar) is left out, and so is what went to
    the standard error, which is libraries talking to whoever runs them.
    """
    result = copy.deepcopy(notebook)
    result.metadata.pop("widgets", None)
    for cell in result.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_shown(output)]
            for output in cell.outputs:
                output.get("data", {}).pop(WIDGET, None)
    return result


def widgets_without_twin(notebook: nbformat.NotebookNode) -> list[int]:
    """Return the numbers (from 0) of the cells with a view or dashboard whose output has no static twin."""
    return [
        number
        for number, cell in enumerate(notebook.cells)
        if {"view", "dashboard"} & set(cell.metadata.get("tags", []))
        and not any(
            twin in output.get("data", {}) for output in cell.get("outputs", []) for twin in TWINS
        )
    ]


def _is_shown(output: nbformat.NotebookNode) -> bool:
    if output.output_type == "stream":
        return output.name != "stderr"
    data = output.get("data", {})
    return WIDGET not in data or any(twin in data for twin in TWINS)
