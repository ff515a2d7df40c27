"""Maps from tables of Gabor parameters, and the small arithmetic that turns a laboratory's columns into rfcompare's."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

REQUIRED = ("x0", "y0", "orientation", "frequency", "sigma_x", "sigma_y", "phase")
OPTIONAL = {"amplitude": 1.0, "offset": 0.0}

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "degrees": np.degrees,
    "radians": np.radians,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "abs": np.abs,
}
_CONSTANTS = {"pi": math.pi}


def render_gabors(parameters: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Gabor maps (unit, y, x), y up, from parameters in pixels about the map's center and degrees of angle.

    The formula and the names are those of fits (`rfcompare.quantities`): rf = amplitude · exp(−u²/2σx² − v²/2σy²) ·
    cos(360°·frequency·u + phase) + offset, with u along orientation + 90°.

    Examples
    --------
    >>> p = dict(x0=0, y0=0, orientation=0, frequency=0.25, sigma_x=1, sigma_y=1, phase=0)
    >>> render_gabors({name: [value] for name, value in p.items()}, (3, 3))[0].round(2)
    array([[0.  , 0.  , 0.  ],
           [0.61, 1.  , 0.61],
           [0.  , 0.  , 0.  ]])
    """
    missing = [name for name in REQUIRED if name not in parameters]
    unknown = [name for name in parameters if name not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown:
        raise InputError(
            f"expected a Gabor's parameters {', '.join(REQUIRED)} (and amplitude, offset), "
            + (f"{', '.join(missing)} missing" if missing else f"got the unknown {', '.join(unknown)}")
        )
    height, width = size
    values = {
        name: np.atleast_1d(np.asarray(parameters.get(name, OPTIONAL.get(name)), float))[:, None, None]
        for name in (*REQUIRED, *OPTIONAL)
    }
    dx = np.arange(width) - (width - 1) / 2 - values["x0"]
    dy = (np.arange(height) - (height - 1) / 2)[:, None] - values["y0"]
    carrier = np.radians(values["orientation"] + 90.0)
    u = dx * np.cos(carrier) + dy * np.sin(carrier)
    v = -dx * np.sin(carrier) + dy * np.cos(carrier)
    with np.errstate(all="ignore"):
        envelope = np.exp(-(u**2) / (2 * values["sigma_x"] ** 2) - v**2 / (2 * values["sigma_y"] ** 2))
        wave = np.cos(2 * np.pi * values["frequency"] * u + np.radians(values["phase"]))
        rendered: NDArray[np.float64] = values["amplitude"] * envelope * wave + values["offset"]
    return rendered


def evaluate(formula: Any, column: Callable[[str], Any], where: str) -> Any:
    """The value of an arithmetic formula over named columns; nothing but arithmetic is understood.

    `formula` is a number or a text such as "degrees(theta) - 180"; `column` returns a column's values by name; `where`
    says what the formula is for, in an error.

    Examples
    --------
    >>> evaluate("1 / lambda + 0.5", {"lambda": np.array([2.0, 4.0])}.__getitem__, "a test").tolist()
    [1.0, 0.75]
    """
    if isinstance(formula, int | float) and not isinstance(formula, bool):
        return np.asarray(float(formula))
    if not isinstance(formula, str) or len(formula) > 200:
        raise InputError(f"expected {where} to be a number or a short formula, got {formula!r}")
    # Columns may have names that Python keeps for itself, such as lambda: every name gets a prefix before it is parsed.
    prefixed = re.sub(r"(?<![\w.])([A-Za-z_]\w*)", r"name_\1", formula)
    try:
        tree = ast.parse(prefixed, mode="eval").body
    except SyntaxError:
        raise InputError(f"expected {where} to be arithmetic over columns, got {formula!r}") from None
    # A zero or negative column makes NaN: that unit is then reported as not measured, like any other bad unit.
    with np.errstate(all="ignore"):
        return _value(tree, column, where, formula)


def _value(node: ast.expr, column: Callable[[str], Any], where: str, formula: str) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return np.float64(node.value)  # NumPy's, so that a division by zero gives no number rather than an error
    if isinstance(node, ast.Name):
        name = node.id.removeprefix("name_")
        return _CONSTANTS[name] if name in _CONSTANTS else column(name)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand, column, where, formula))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = (_value(side, column, where, formula) for side in (node.left, node.right))
        return _OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        function = _FUNCTIONS.get(node.func.id.removeprefix("name_"))
        if function is not None:
            return function(_value(node.args[0], column, where, formula))
    raise InputError(
        f"expected {where} to use only columns, numbers, + - * / ** and {', '.join(_FUNCTIONS)}, got {formula!r}"
    )
