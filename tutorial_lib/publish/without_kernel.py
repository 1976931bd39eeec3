"""Make an executed notebook readable without a kernel, without widgets and without a network."""

import copy

import nbformat

WIDGET = "application/vnd.jupyter.widget-view+json"
TWINS = {"text/html", "image/png", "image/svg+xml"}  # what a widget's output shows without a kernel


def static_copy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy in which every widget is replaced by its static twin.

    The twin is HTML or a picture in the same output. An output without a twin (a progress bar) is
    left out, and so is all that libraries wrote to standard error.
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
    """Return the numbers (from 0) of cells with a view or dashboard but without a static twin."""
    return [
        number
        for number, cell in enumerate(notebook.cells)
        if {"view", "dashboard"} & set(cell.metadata.get("tags", []))
        and not any(TWINS & set(output.get("data", {})) for output in cell.get("outputs", []))
    ]


def _is_shown(output: nbformat.NotebookNode) -> bool:
    if output.output_type == "stream":
        return output.name != "stderr"
    data = output.get("data", {})
    return WIDGET not in data or bool(TWINS & set(data))
