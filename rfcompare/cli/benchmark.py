"""The verb that times and judges the fitter."""

from __future__ import annotations

from pathlib import Path

import click

from rfcompare.cli.options import folder_option, seed_option
from rfcompare.cli.verb import say, verb
from rfcompare.errors import InputError


@verb()
@click.option(
    "--size", "sizes", type=click.IntRange(min=5), multiple=True, help="Side of the maps in pixels; repeat it."
)
@click.option("--n", type=click.IntRange(min=8), help="Maps per case; by default 2000, and 500 for the judge.")
@click.option("--n-peer", type=click.IntRange(min=1), default=50, show_default=True, help="Maps for SciPy's loops.")
@click.option(
    "--score",
    type=(click.Path(exists=True, path_type=Path), click.Path(exists=True, path_type=Path)),
    metavar="CASE.nc FITS.csv",
    help="Judge somebody else's fits of a case instead.",
)
@click.option(
    "--judge",
    is_flag=True,
    help="Hold the fits of maps that are no Gabors against the best of 40 random starts instead, and write judge.csv.",
)
@click.option("--maps", multiple=True, metavar="POPULATION", help="With --judge: the maps to fit; repeat it.")
@seed_option
@folder_option("Folder for benchmark.csv and the cases (maps with their truth), or for judge.csv.", required=False)
def benchmark(
    sizes: tuple[int, ...],
    n: int | None,
    n_peer: int,
    score: tuple[Path, Path] | None,
    judge: bool,
    maps: tuple[str, ...],
    seed: int,
    output: Path | None,
) -> None:
    """Time the fitter beside SciPy, or judge its optimum; write the maps with their truth for others' fitters."""
    from rfcompare import bank
    from rfcompare.fitting import benchmark as bench
    from rfcompare.pipeline import output_folder

    if score is not None:
        for name, value in bench.score(bank.load(score[0]), score[1]).items():
            say(f"{name} {value:g}")
        return
    if maps and not judge:
        raise InputError("expected --maps with --judge, got it alone; add --judge")
    if output is None:
        raise InputError("expected a folder to write in, got none; name it with -o")
    output_folder(output)
    if judge:
        _judge(maps, n or 500, seed, output / "judge.csv")
        return
    cases = bench.make_cases(sizes or (11, 32), n=n or 2000, seed=seed)
    bench.write_cases(cases, output)
    rows = bench.run_benchmark(cases, n_peer=n_peer)
    bench.write_table(output / "benchmark.csv", rows)
    for row in rows:
        say(
            f"{row['case']:12s} {row['fitter']:30s} {row['us_per_map']:12.1f} us per map, {row['times_faster']:8.1f} "
            f"times SciPy with care, success {row['success']:.3f}"
        )
    say(f"wrote {output}")


def _judge(names: tuple[str, ...], n: int, seed: int, table: Path) -> None:
    """Print and write how often the judge finds a better optimum, for the named maps or the drawn populations."""
    from rfcompare import bank
    from rfcompare.fitting import benchmark as bench
    from rfcompare.fitting import judging
    from rfcompare.pipeline import open_population

    if names:
        populations = {name: bank.to_signed(open_population(name)).rf.values[:, 0] for name in names}
    else:
        populations = judging.draw_populations(n, seed=seed)
    rows = []
    for name, maps in populations.items():
        (row,) = judging.judge_fits({name: maps}, seed=seed)
        rows.append(row)
        say(
            f"{name:32s} {row['n']:5d} maps: {row['worse']:.2%} worse than 40 random starts by more than 1 %, "
            f"{row['judge_worse']:.2%} better"
        )
    bench.write_table(table, rows)
    say(f"wrote {table}")
