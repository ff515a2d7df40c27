"""Sessions and animals joined into one bank."""

import numpy as np
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare import InputError
from tests.sample_maps import sentence


def session(seed: int, n: int = 2, size: int = 7, step: float = 1.0, **more: object) -> xr.Dataset:
    maps = np.random.default_rng(seed).normal(size=(n, 1, size, size))
    given = {
        "kind": "measured",
        "attrs": {"stimulus": "noise", "citation": f"paper {seed}"},
        "deg_per_px": step,
        **more,
    }
    return rfc.make_bank(maps, channel="signed", **given)  # type: ignore[arg-type]


def test_every_map_is_there_under_a_name_of_its_own() -> None:
    a, b = session(0, noise_sd=[1.0, 2.0]), session(1, n=3, subject="F9")
    joined = rfc.combine([a, b], names=["Mon", "Tue"])
    assert joined.unit.values.tolist() == ["Mon u000", "Mon u001", "Tue u000", "Tue u001", "Tue u002"]
    assert joined.subject.values.tolist() == ["Mon", "Mon", "F9", "F9", "F9"]  # a known animal keeps its name
    np.testing.assert_array_equal(joined.rf.values, np.concatenate([a.rf.values, b.rf.values]))
    assert (joined.attrs["kind"], joined.attrs["citation"]) == ("measured", "paper 0; paper 1")
    assert "noise_sd" not in joined and "left out: noise_sd" in joined.attrs["history"]
    plain = rfc.combine([a, b.assign_coords(unit=["x", "y", "z"])])
    assert plain.unit.values.tolist() == ["u000", "u001", "x", "y", "z"]
    assert rfc.combine([a, b]).unit.values.tolist() == ["1 u000", "1 u001", "2 u000", "2 u001", "2 u002"]
    assert rfc.combine([a]).equals(a)
    named = [bank.assign_attrs(title="V1") for bank in (a, b)]
    assert rfc.combine(named).attrs["title"] == "V1"
    assert "title" not in rfc.combine([named[0], b]).attrs


def test_lazy_banks_stay_lazy() -> None:
    joined = rfc.combine([session(0).chunk({"unit": 1}), session(1).chunk({"unit": 1})])
    assert joined.rf.chunks is not None


def test_grids_are_resampled_only_on_request() -> None:
    a, b = session(0, size=9), session(1, size=18, step=0.5)
    with pytest.raises(InputError, match=r"9 × 9 pixels of 1 degree in the first and 18 × 18 pixels of 0.5") as error:
        rfc.combine([a, b])
    sentence(error)
    joined = rfc.combine([a, b], resample=True)
    np.testing.assert_array_equal(joined.rf.values[:2], a.rf.values)
    np.testing.assert_array_equal(joined.rf.values[2:], rfc.align(b, a, by="degree").rf.values)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"kind": "simulated"}, "same kind"),
        ({"deg_per_px": None}, "same units"),
    ],
)
def test_what_differs_is_refused(other: dict, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        rfc.combine([session(0), session(1, **other)])
    sentence(error)
    for names in (["a"], ["a", "a"]):
        with pytest.raises(InputError, match="a name of its own"):
            rfc.combine([session(0), session(1)], names=names)
