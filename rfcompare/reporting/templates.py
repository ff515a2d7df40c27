"""The page's templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def filled(name: str, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """A template of ``rfcompare/templates`` with its values; what goes into HTML is escaped."""
    environment = Environment(
        loader=PackageLoader("rfcompare", "templates"),
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}
    environment.filters |= filters or {}
    return environment.get_template(name).render(**values)
