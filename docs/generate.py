"""Pages that are made from the code and the committed files when the site is built, so that they cannot drift."""

import re
from pathlib import Path

import mkdocs_gen_files
import pandas as pd

from rfcompare.figures.catalog import FIGURES
from rfcompare.quantities import GLOSSARY, QUANTITIES, kinds

ROOT = Path(__file__).resolve().parent.parent


def write(name: str, text: str) -> None:
    """Add a page to the site."""
    with mkdocs_gen_files.open(name, "w") as page:
        page.write(text)


def gallery() -> str:
    """Every figure of the gallery with its picture, its caption and what draws it."""
    parts = [
        "# Gallery\n\nEvery figure as `rfcompare figure NAME -o DIR` draws it from what ships: PDF, PNG or SVG "
        "(`--format`), its numbers (CSV) and its caption (TXT). `--width 89` makes it fit one column, `--width 183` "
        "two; in Python every function takes `width`, `axes`, `palette`, `title` and `units`, as "
        "[`rfc.figures.Look`](api.md#rfcompare.figures.Look) says.\n"
    ]
    for name, entry in FIGURES.items():
        picture = ROOT / "figures" / f"{name}.png"
        if not picture.exists():
            continue
        with mkdocs_gen_files.open(f"gallery/{name}.png", "wb") as copy:
            copy.write(picture.read_bytes())
        parts.append(
            f"## {name}\n\n{entry.shows[0].upper()}{entry.shows[1:]}.\n\n![{entry.shows}](gallery/{name}.png)\n"
        )
        caption = picture.with_suffix(".txt")
        if caption.exists():
            parts.append(f'??? note "Caption"\n    {caption.read_text(encoding="utf-8").strip()}\n')
        parts.append(f"```bash\nrfcompare figure {name} -o figures\n```\n\n```python\nfigure = {entry.code}\n```\n")
    return "\n".join(parts)


def glossary() -> str:
    """The terms, kinds and quantities of `rfcompare.quantities`."""
    lines = ["# Glossary\n", "One term for one idea, here and in every table, figure and page.\n", "## Terms\n"]
    lines += [
        f"**{term}**: {meaning}\n" for term, meaning in sorted(GLOSSARY.items(), key=lambda item: item[0].lower())
    ]
    lines += ["## Kinds of population\n", "| kind | meaning |", "|---|---|"]
    lines += [f"| {kind} | {meaning} |" for kind, meaning in kinds.items()]
    lines += ["\n## Quantities\n", "| name | what it is | definition | source |", "|---|---|---|---|"]
    for name, quantity in QUANTITIES.items():
        definition = quantity.definition.replace("|", "\\|")
        lines.append(f"| `{name}` | {quantity.title} | {definition} | {quantity.reference} |")
    return "\n".join(lines) + "\n"


def calibration() -> str:
    """The likeness of populations with a known answer, from the committed table."""
    table = pd.read_csv(ROOT / "reference_data" / "calibration_likeness.csv")
    found = table[(table["what"] == "likeness") & (table["pixels"] == 11)]
    parts = [
        "# Calibration\n\nThe likeness to 300 simulated cells of 7 animals on 21 × 21 pixels, of kernels on 11 × 11, "
        "where the answer is known: `reference_data/calibration_likeness.csv`, made by "
        "`tests/test_likeness_calibration.py`. SNR is a map's RMS over its noise's SD; 0 is noise with the cells' own "
        "spectrum, 1 is another animal.\n"
    ]
    for n, rows in found.groupby("kernels"):
        wide = rows.pivot(index="population", columns="snr", values="value").sort_index(axis=1, ascending=False)
        wide = wide.sort_values(wide.columns[0], ascending=False)
        parts += [f"## {n} kernels\n", "| population | " + " | ".join(f"SNR {snr:g}" for snr in wide.columns) + " |"]
        parts.append("|---" * (1 + wide.shape[1]) + "|")
        parts += [
            f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |"
            for name, *values in wide.itertuples()
        ]
        parts.append("")
    parts.append(
        "## Tests and intervals\n\nKernels from the cells' own population at SNR 3 (20 cells an animal on 15 × 15 "
        "pixels, 48 kernels on 11 × 11), over the share of the variance of log nx and log ny that is the animal's "
        "(ICC): how often p fell below 0.05, and how often the interval covered the true likeness.\n"
    )
    titles = {
        "p < 0.05": "p below 0.05",
        "interval covers": "Interval covers the truth",
        "interval defined": "Interval is defined (noise is shown to be farther than another animal)",
    }
    for what, title in titles.items():
        rows = table[table["what"] == what].astype({"animals": int, "studies": int})
        columns = [f"{animals} animals, ICC {icc:g}" for animals, icc in zip(rows["animals"], rows["icc"], strict=True)]
        wide = rows.assign(column=columns).pivot(index="population", columns="column", values="value")
        parts += [f"### {title}\n", "| | " + " | ".join(wide.columns) + " |", "|---" * (1 + wide.shape[1]) + "|"]
        parts += [
            f"| {name} | " + " | ".join("" if value != value else f"{value:.3f}" for value in values) + " |"
            for name, *values in wide.itertuples()
        ]
        parts.append("")
    return "\n".join(parts)


def api() -> str:
    """Every public name, by room, in the order of the package's stub."""
    stub = (ROOT / "rfcompare" / "__init__.pyi").read_text(encoding="utf-8")
    rooms: dict[str, list[str]] = {}
    for room, name in re.findall(r"^from \.(\S+) import (\w+) as \w+$", stub, re.M):
        rooms.setdefault(room, []).append(name)
    parts = ["# API\n\nEverything that `import rfcompare as rfc` offers.\n"]
    for room in sorted(rooms):
        parts.append(f"## {room}\n")
        parts += [f"::: rfcompare.{room}.{name}\n" for name in rooms[room]]
    parts.append("## figures\n")
    parts += [f"::: rfcompare.figures.{name}\n" for name in drawers()]
    return "\n".join(parts)


def drawers() -> list[str]:
    """The functions of `rfcompare.figures` that draw."""
    stub = (ROOT / "rfcompare" / "figures" / "__init__.pyi").read_text(encoding="utf-8")
    names = re.findall(r"^from \.(\S+) import (\w+) as \w+$", stub, re.M)
    return [name for room, name in names if room != "catalog"]


write("gallery.md", gallery())
write("glossary.md", glossary())
write("calibration.md", calibration())
write("api.md", api())
for source, page in (("CONTRIBUTING.md", "contributing.md"), ("CHANGELOG.md", "changelog.md")):
    write(page, (ROOT / source).read_text(encoding="utf-8"))
