"""The notebook a lab starts from: fifteen cells, no outputs in git, and it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")

NOTEBOOK = Path(__file__).resolve().parents[1] / "figures" / "tour.ipynb"

SECONDS = 600
"""Limit of one cell: only a cell that hangs should fail on a busy machine."""


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_fifteen_cells_without_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert len(notebook.cells) == 15
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_its_steps_stand_in_order(notebook: Any) -> None:
    headings = [cell.source.split("\n")[0] for cell in notebook.cells if cell.cell_type == "markdown"]
    assert headings[1:] == ["## Load", "## Align", "## Fit", "## Compare", "## Figure"]


def test_it_runs_and_draws(notebook: Any, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    ran = nbclient.NotebookClient(
        notebook.copy(), timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    pictures = [
        output
        for cell in ran.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type in ("execute_result", "display_data") and "image/png" in output.data
    ]
    assert len(pictures) == 6
    spoken = [
        output.text
        for cell in ran.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert not spoken, spoken
    assert not list(tmp_path.iterdir())
