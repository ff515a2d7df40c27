#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""The steps of `.ci/run`, one by one: `nox -s lint`, `types`, `docs`, `tests`, `coverage`, `mutants`, `oldest`."""

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, spelling and the review of the repository."""
    session.install("ruff>=0.8", "codespell>=2.4", "sp-repo-review[cli]>=2025.1")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")
    session.run("repo-review", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.install("-e", ".[test]")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """The site, its warnings as errors."""
    session.install("-e", ".[test]")
    session.run("mkdocs", "build", "--strict", "-d", str(Path(session.create_tmp()) / "site"))


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite on two cores."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "2", "--dist", "worksteal", *session.posargs)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Branch coverage of the whole suite."""
    session.install("-e", ".[test]", "pytest-cov>=6")
    session.run("pytest", "-n", "2", "--dist", "worksteal", "--cov", "--cov-report=term", *session.posargs)


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """A draw of small changes to descriptors, comparison and models, and which of them no test notices."""
    session.install("-e", ".[test]", "cosmic-ray>=8.7")
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # what is forked has no threads
    session.run("python", "-m", "tests.mutating", "-o", "tests/mutants.csv", *session.posargs, env=alone)


@nox.session(venv_backend="uv", python="3.11", default=False)
def oldest(session: nox.Session) -> None:
    """The suite with every dependency at its floor."""
    session.install("--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", "-n", "2", "--dist", "worksteal", "-W", "default", *session.posargs)


if __name__ == "__main__":
    nox.main()
