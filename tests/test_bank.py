"""The bank: made from arrays, checked, kept in files, reduced to signed maps."""

import inspect
import json
from pathlib import Path

import dask.array
import h5py
import numpy as np
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare.bank import bad_units, count_alive, dead_units, fingerprint, make_rng, pitch, write_beside

ROUNDING = 1e-12  # float64 sums over fewer than 1,000 numbers of order 1
ROUNDING_32 = 1e-5  # the same in float32


def oblique(height: int = 7, width: int = 9) -> np.ndarray:
    """A map whose every flip, transpose and sign is different: one bright pixel, one dark, a ramp."""
    array = np.zeros((height, width))
    array[1, 2], array[height - 2, width - 1] = 3.0, -2.0
    return array + 0.01 * np.arange(height * width).reshape(height, width)


def full_bank(n: int = 4) -> xr.Dataset:
    rng = np.random.default_rng(1)
    return rfc.make_bank(
        rng.normal(size=(n, 2, 6, 5)).astype(np.float32),
        channel=("on", "off"),
        kind="measured",
        deg_per_px=(1.5, 2.0),
        subject=["A", "A", "B", "B"],
        source="made here",
        unit=[f"cell {i} é" for i in range(n)],
        noise_sd=np.full(n, 0.5),
        noise_acf=np.ones((n, 2, 3, 5)),
        half=rng.normal(size=(2, n, 2, 6, 5)),
        cortex_x=np.arange(n),
        cortex_y=np.arange(n) * 2.0,
        field_of_view=["f1", "", "f2", "f2"],
        attrs={"stimulus": {"class": "sparse noise", "element_deg": 1.5}, "citation": "nobody 2026"},
    )


def test_row_zero_is_the_lowest_y_unless_rows_come_from_an_image() -> None:
    array = oblique()
    up = rfc.make_bank(array[None, None], channel=("signed",), kind="analytic")
    down = rfc.make_bank(array[None, None], channel=("signed",), kind="analytic", rows="down")
    # row 1 of 7 is y = -2 when rows go up and y = +2 when they go down; column 2 of 9 is x = -2 in both
    assert float(up.rf.sel(y=-2, x=-2).squeeze()) == array[1, 2]
    assert float(down.rf.sel(y=2, x=-2).squeeze()) == array[1, 2]
    assert np.array_equal(rfc.weights(down)[0, 0], array)


def test_halves_and_noise_turn_with_the_maps() -> None:
    array = oblique()
    acf = np.arange(15.0).reshape(1, 1, 3, 5)
    bank = rfc.make_bank(
        array[None, None], channel=("signed",), kind="analytic", rows="down",
        half=np.stack([array, -array])[:, None, None], noise_acf=acf,
    )  # fmt: skip
    assert np.array_equal(bank.rf_half.isel(half=0).values, bank.rf.values)
    assert np.array_equal(bank.noise_acf.values[0, 0], acf[0, 0, ::-1])


def test_coordinates_are_centered_and_say_what_was_subtracted() -> None:
    bank = rfc.make_bank(
        oblique()[None, None],
        channel=("signed",),
        kind="analytic",
        x=np.arange(9) * 2.0 + 30,
        y=np.arange(7.0),
        units="degree",
    )
    # middle of 30, 32 … 46 is 38; of 0 … 6 is 3
    assert bank.attrs["x_center"] == 38 and bank.attrs["y_center"] == 3
    assert bank.x.values[0] == -8 and pitch(bank) == (2.0, 1.0)


def test_a_lazy_array_stays_lazy() -> None:
    lazy = dask.array.zeros((10, 1, 5, 5), chunks=(2, 1, 5, 5))
    assert rfc.make_bank(lazy, channel=("signed",), kind="simulated", rows="down").rf.chunks is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"array": np.zeros((3, 5, 5))}, "array[:, None]"),
        ({"channel": ("on", "off")}, "expected 2 channels"),
        ({"channel": ("red",)}, "expected channel to be one of"),
        ({"kind": "guessed"}, "expected kind to be one of"),
        ({"rows": "left"}, "rows='down'"),
        ({"units": "mm"}, "expected units 'px' or 'degree'"),
        ({"x": [0, 1, 3, 4, 5]}, "expected x uniform"),
        ({"y": [4, 3, 2, 1, 0]}, "expected y ascending"),
        ({"deg_per_px": -1.0}, "expected deg_per_px to be positive"),
        ({"deg_per_px": 1.0, "x": np.arange(5)}, "got both"),
        ({"unit": ["a", "a", "b"]}, "expected unique unit names, got 'a' twice"),
        ({"subject": ["a", "b"]}, "expected 3 values of subject"),
        ({"array": np.full((3, 1, 5, 5), np.nan)}, "got 3 that are not measured"),
        ({"array": np.zeros((3, 1, 5, 5))}, "got 3 that are flat"),
        ({"array": np.array([["a"]])[:, :, None, None]}, "expected real numbers"),
        ({"kind": "measured"}, "expected a stimulus"),
        ({"noise_sd": [1, -1, 1]}, "expected noise_sd of unit 'u001'"),
        ({"noise_acf": np.ones((3, 1, 2, 2))}, "odd numbers of lags"),
        ({"half": np.ones((2, 1))}, "expected half of shape"),
        ({"attrs": {"citation": object()}}, "JSON"),
        ({"attrs": {"kind": "measured"}}, "keywords of their own"),
        ({"attrs": "Lee 2016"}, "a mapping of provenance"),
    ],
)
def test_every_fault_of_an_array_is_one_sentence(change: dict, words: str) -> None:
    given = {
        "array": np.random.default_rng(0).normal(size=(3, 1, 5, 5)),
        "channel": ("signed",),
        "kind": "simulated",
    } | change
    with pytest.raises(rfc.InputError) as error:
        rfc.make_bank(given.pop("array"), **given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_check_lists_all_faults_at_once() -> None:
    bank = full_bank().drop_vars("subject").assign_attrs(kind="guessed", extra=[1, 2])
    bank["noise_sd"] = ("channel", [1.0, 2.0])
    with pytest.raises(rfc.InputError) as error:
        rfc.check(bank)
    for words in ("4 faults", "coordinate 'subject'", "got 'guessed'", "attribute 'extra'", "noise_sd along ('unit',)"):
        assert words in str(error.value)


def test_check_refuses_what_is_no_dataset_of_ours() -> None:
    with pytest.raises(rfc.InputError, match="expected an xarray Dataset, got ndarray"):
        rfc.check(np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(rfc.InputError, match=r"attrs\['schema'\]"):
        rfc.check(xr.Dataset())


def test_a_bad_unit_among_good_ones_is_named_not_refused() -> None:
    maps = np.random.default_rng(0).normal(size=(5, 1, 5, 5))
    maps[1], maps[2], maps[3, 0, 0, 0], maps[4, 0, :2] = np.nan, 4.0, np.inf, np.nan
    bank = rfc.make_bank(maps, channel=("signed",), kind="simulated")
    assert bad_units(bank) == ["", "not measured", "flat", "not finite", ""]


def test_units_far_below_their_layer_are_dead() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(10, 3, 5, 5))
    norms = np.array([1, 2, 3, 4, 5, 6, 7, 1e-4, 2e-5, 0])  # of those above 0 the middle is 4: the line is at 4e-5
    maps *= (norms / np.sqrt((maps**2).sum((1, 2, 3))))[:, None, None, None]
    maps[0, :, 0] = np.nan  # what was not measured has no part in the norm
    bank = rfc.make_bank(maps, channel=("r", "g", "b"), kind="learned")
    dead = np.isin(np.arange(10), (8, 9))
    assert np.array_equal(dead_units(bank), dead) and count_alive(bank) == "8 alive of 10"
    assert np.array_equal(np.array(bad_units(bank)) == "dead", dead)
    assert np.array_equal(dead_units(bank.assign(rf=1e-12 * bank.rf)), dead)
    assert np.array_equal(dead_units(bank.chunk(unit=3)), dead)
    # A part is judged by what was found of the whole; alone, its own median would clear it.
    part = bank.assign(dead=("unit", dead)).isel(unit=[8])
    assert bad_units(part) == ["dead"] and bad_units(part.drop_vars("dead")) == [""]


def test_a_layer_that_is_mostly_dead_is_not_judged_by_its_dead() -> None:
    maps = np.random.default_rng(0).normal(size=(20, 1, 5, 5))
    maps[5:] *= 1e-9
    assert np.array_equal(dead_units(rfc.make_bank(maps, channel=("signed",), kind="learned")), np.arange(20) >= 5)
    # One unit far above the others (a twentieth of them) kills none.
    maps = np.random.default_rng(0).normal(size=(20, 1, 5, 5))
    maps[0] *= 1e9
    assert not dead_units(rfc.make_bank(maps, channel=("signed",), kind="learned")).any()


# ---------------------------------------------------------------------------------------------------------------------
# Keeping


@pytest.mark.parametrize("lag", [False, True])
def test_round_trip_is_identical(tmp_path: Path, lag: bool) -> None:
    bank = full_bank()
    if lag:
        bank = rfc.make_bank(
            np.random.default_rng(0).normal(size=(2, 1, 3, 4, 4)),
            channel=("signed",),
            kind="simulated",
            lag=[0, 0.1, 0.2],
        )
    rfc.save(bank, tmp_path / "bänk.nc")
    back = rfc.load(tmp_path / "bänk.nc")
    assert back.identical(bank)
    assert back.rf.dtype == bank.rf.dtype
    assert fingerprint(back) == fingerprint(bank)
    assert [path.name for path in tmp_path.iterdir()] == ["bänk.nc"]


def test_plain_xarray_and_h5py_read_the_file(tmp_path: Path) -> None:
    bank = full_bank()
    rfc.save(bank, tmp_path / "bank.h5")
    with xr.open_dataset(tmp_path / "bank.h5", engine="h5netcdf") as plain:
        assert np.array_equal(plain.rf.values, bank.rf.values)
    with h5py.File(tmp_path / "bank.h5") as file:
        assert file["rf"].shape == (4, 2, 6, 5)
        assert json.loads(file.attrs["stimulus"])["class"] == "sparse noise"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    path.write_text("before")
    with pytest.raises(RuntimeError), write_beside(path) as part:
        part.write_text("half")
        raise RuntimeError("power cut")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "got the folder"),
        (lambda path: path.touch(), "which is empty"),
        (lambda path: path.write_text("a text file called .h5"), "cannot be read"),
        (lambda path: h5py.File(path, "w").close(), "without a schema"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, make, words: str) -> None:
    make(tmp_path / "x.h5")
    with pytest.raises(rfc.InputError, match=words) as error:
        rfc.load(tmp_path / "x.h5")
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_one_sentence(tmp_path: Path) -> None:
    rfc.save(full_bank(), tmp_path / "x.h5")
    data = (tmp_path / "x.h5").read_bytes()
    (tmp_path / "y.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(rfc.InputError, match="cannot be read"):
        rfc.load(tmp_path / "y.h5")


def test_writing_where_nothing_can_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(rfc.InputError, match="does not exist; create it first"):
        rfc.save(full_bank(), tmp_path / "no" / "x.nc")
    with pytest.raises(rfc.InputError, match="name a file in it"):
        rfc.save(full_bank(), tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# Signed maps


def test_on_minus_off_keeps_dominance_and_drops_baselines() -> None:
    on, off = np.full((5, 5), 1.0), np.full((5, 5), 3.0)  # baselines 1 and 3
    on[1, 1], off[2, 2], on[3, 3], off[3, 3] = 3.0, 7.0, 2.0, 5.0
    signed = rfc.to_signed(rfc.make_bank([[on, off]], channel=("on", "off"), kind="analytic"))
    expected = np.zeros((5, 5))
    # 3-1 = 2 of ON; 7-3 = 4 of OFF; where both answer 1 of ON against 2 of OFF leaves -1
    expected[1, 1], expected[2, 2], expected[3, 3] = 2.0, -4.0, -1.0
    assert np.array_equal(signed.rf.values[0, 0], expected)
    # Σ(ON²+OFF²) = 4 + 16 + (1 + 4) = 25; Σ(ON−OFF)² = 4 + 16 + 1 = 21; discarded = 4/25
    assert float(signed.discarded[0]) == pytest.approx(4 / 25, abs=ROUNDING)
    # Σ min = 1; Σ max = 2 + 4 + 2 = 8
    assert float(signed.overlap[0]) == pytest.approx(1 / 8, abs=ROUNDING)


def test_noise_of_a_difference_adds_up() -> None:
    rng = np.random.default_rng(0)
    bank = rfc.make_bank(
        rng.normal(size=(3, 2, 40, 40)),
        channel=("on", "off"),
        kind="simulated",
        noise_sd=np.ones(3),
        noise_acf=np.ones((3, 2, 1, 1)),
        half=rng.normal(size=(2, 3, 2, 40, 40)),
    )
    signed = rfc.to_signed(bank)
    # sqrt(1² + 1²); the sample SD of 1,600 normals is within 3·σ/√(2·1600) of it
    assert signed.noise_sd.values == pytest.approx(np.sqrt(2))
    assert signed.rf.std(("y", "x")).values == pytest.approx(
        np.sqrt(2), abs=3 * np.sqrt(2) / np.sqrt(3200) + ROUNDING, rel=0
    )
    assert signed.rf_half.dims == ("half", "unit", "channel", "y", "x")
    assert signed.rf_half.shape == (2, 3, 1, 40, 40)


def test_a_color_kernel_becomes_its_profile_and_its_direction() -> None:
    profile = oblique()
    profile -= profile.mean()
    direction = np.array([0.6, -0.8, 0.0])  # red against green: luminance 0.6·0.299 − 0.8·0.587 < 0, so both turn sign
    bank = rfc.make_bank((direction[:, None, None] * profile)[None], channel=("r", "g", "b"), kind="learned")
    signed = rfc.to_signed(bank)
    assert signed.color_direction.values[0] == pytest.approx(-direction, abs=ROUNDING)
    assert signed.rf.values[0, 0] == pytest.approx(-profile, abs=ROUNDING)
    assert float(signed.rank_one_share[0]) == pytest.approx(1, abs=ROUNDING)
    # (w·d)²/|w|² = (0.1794 − 0.4696)² / (0.0894 + 0.3446 + 0.0130) = 0.08422 / 0.44697
    assert float(signed.luminance_share[0]) == pytest.approx(0.2902**2 / (0.299**2 + 0.587**2 + 0.114**2), abs=ROUNDING)
    assert bool(signed.polarity_known[0])


def test_an_equiluminant_kernel_has_no_polarity() -> None:
    direction = np.array([0.587, -0.299, 0.0])  # 0.299·0.587 − 0.587·0.299 = 0
    signed = rfc.to_signed(
        rfc.make_bank((direction[:, None, None] * oblique())[None], channel=("r", "g", "b"), kind="learned")
    )
    assert not bool(signed.polarity_known[0])
    assert float(signed.luminance_share[0]) == pytest.approx(0, abs=ROUNDING)


def test_to_signed_passes_signed_banks_and_keeps_bad_units() -> None:
    bank = rfc.make_bank(oblique()[None, None], channel=("signed",), kind="analytic")
    assert rfc.to_signed(bank) is bank
    maps = np.random.default_rng(0).normal(size=(4, 2, 5, 5))
    maps[0], maps[1], maps[2, 0, 0, 0] = 0, np.nan, np.inf
    assert bad_units(rfc.to_signed(rfc.make_bank(maps, channel=("on", "off"), kind="simulated"))) == [
        "dead", "not measured", "not finite", "",
    ]  # fmt: skip
    color = np.random.default_rng(0).normal(size=(4, 3, 5, 5))
    color[0], color[1], color[2, 0, 0, 0] = 0, np.nan, np.inf
    assert bad_units(rfc.to_signed(rfc.make_bank(color, channel=("r", "g", "b"), kind="learned"))) == [
        "dead", "not measured", "not finite", "",
    ]  # fmt: skip


def test_lags_are_chosen_by_the_caller() -> None:
    bank = rfc.make_bank(np.random.default_rng(0).normal(size=(2, 2, 3, 4, 4)), channel=("on", "off"), kind="simulated")
    with pytest.raises(rfc.InputError, match="at_lag"):
        rfc.to_signed(bank)
    assert rfc.to_signed(bank.isel(lag=1, drop=True)).sizes["channel"] == 1


def test_real_kernels_keep_most_of_their_energy_in_one_color_direction(shared_data: Path) -> None:
    array = np.load(shared_data / "kernels" / "caffenet_conv1_96x3x11x11_bgr_f32.npy")[:, ::-1]
    signed = rfc.to_signed(rfc.make_bank(array, channel=("r", "g", "b"), kind="learned", rows="down"))
    # The profile times its direction is the best rank-one fit: its energy is the share, to float32 rounding.
    energy = (signed.rf.values.astype(float) ** 2).sum((1, 2, 3)) / (array.astype(float) ** 2).sum((1, 2, 3))
    assert energy == pytest.approx(signed.rank_one_share.values, abs=ROUNDING_32)
    assert float(signed.rank_one_share.median()) > 0.9


# ---------------------------------------------------------------------------------------------------------------------
# Choosing and asking


def test_select_records_every_condition_with_its_counts() -> None:
    kept = rfc.select(rfc.select(full_bank(), subject="B"), field_of_view="f2")
    assert json.loads(kept.attrs["selection"]) == [
        {"condition": "subject = B", "before": 4, "after": 2},
        {"condition": "field_of_view = f2", "before": 2, "after": 2},
    ]
    assert list(kept.unit.values) == ["cell 2 é", "cell 3 é"]


@pytest.mark.parametrize(
    ("condition", "words"),
    [({}, "expected a condition"), ({"subject": "Z"}, "got none of 4"), ({"r2": 0.5}, "a variable 'r2'")],
)
def test_select_refuses_what_selects_nothing(condition: dict, words: str) -> None:
    with pytest.raises(rfc.InputError, match=words):
        rfc.select(full_bank(), **condition)


def test_fingerprint_sees_values_names_and_order() -> None:
    bank = full_bank()
    assert fingerprint(bank) == fingerprint(bank.copy(deep=True))
    assert fingerprint(bank) != fingerprint(bank.isel(unit=[1, 0, 2, 3]))
    changed = bank.copy(deep=True)
    changed.rf[0, 0, 0, 0] += 1e-3
    assert fingerprint(bank) != fingerprint(changed)


def test_seeds_are_recorded() -> None:
    rng, recorded = make_rng(None)
    again, _ = make_rng(recorded)
    assert rng.normal() == again.normal()
    with pytest.raises(rfc.InputError, match="seed"):
        make_rng(-1)


def test_two_grids_never_join_silently() -> None:
    a = rfc.make_bank(oblique(7, 9)[None, None], channel=("signed",), kind="analytic")
    b = rfc.make_bank(oblique(9, 9)[None, None], channel=("signed",), kind="analytic")
    with pytest.raises(ValueError, match="exact"):
        a.rf + b.rf


def test_make_bank_leaves_the_callers_coordinates_alone() -> None:
    axis = np.arange(4) * 2.0
    bank = rfc.make_bank(np.ones((2, 1, 4, 4)) * np.arange(4), channel="signed", kind="analytic", x=axis, y=axis)
    assert axis.tolist() == [0.0, 2.0, 4.0, 6.0]
    assert bank.x.values.tolist() == bank.y.values.tolist() == [-3.0, -1.0, 1.0, 3.0]
    assert (bank.attrs["x_center"], bank.attrs["y_center"]) == (3.0, 3.0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"x": np.arange(3.0)}, "4 values of x"),
        ({"y": list("abcd")}, "numbers as y"),
        ({"cortex_x": [1.0, 2.0, 3.0]}, "2 values of cortex_x"),
        ({"noise_sd": "loud"}, "numbers as noise_sd"),
        ({"deg_per_px": "two"}, "a number or"),
        ({"deg_per_px": (1, 2, 3)}, "a number or"),
    ],
)
def test_numbers_that_do_not_fit_are_one_sentence(given: dict[str, object], says: str) -> None:
    with pytest.raises(rfc.InputError, match=says):
        rfc.make_bank(np.ones((2, 1, 4, 4)) * np.arange(4), channel="signed", kind="analytic", **given)


def test_what_is_no_path_is_one_sentence() -> None:
    for given, says in ((5, "a path"), (None, "a path"), ("a" * 5000, "the file system can hold")):
        with pytest.raises(rfc.InputError, match=says):
            rfc.load(given)


@pytest.mark.parametrize(
    "change",
    [
        lambda bank: bank.assign_coords(unit=["a\0b", *bank.unit.values[1:]]),
        lambda bank: bank.assign_attrs(note="Z\udcfcge"),
        lambda bank: bank.assign_attrs(count=2**70),
        lambda bank: bank.rename(subject="animal").assign_coords({"subject": bank.subject}).rename(animal="who/what"),
    ],
)
def test_what_hdf5_cannot_hold_is_one_sentence(tmp_path: Path, change) -> None:
    bank = rfc.make_bank(np.arange(32.0).reshape(2, 1, 4, 4), channel="signed", kind="analytic")
    with pytest.raises(rfc.InputError, match="that HDF5 can hold"):
        rfc.save(change(bank), tmp_path / "bank.nc")
    assert not list(tmp_path.iterdir())


PUBLIC = sorted(
    name for name in rfc.__all__ if callable(getattr(rfc, name)) and not inspect.isclass(getattr(rfc, name))
)


def keywords(function: object) -> list[str]:
    parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return [each.name for each in parameters if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)]


@pytest.mark.parametrize("name", PUBLIC)
def test_no_public_function_swallows_a_keyword(name: str) -> None:
    function = getattr(rfc, name)
    last = keywords(function)[-1]
    if name == "estimate":
        pytest.skip("hands what it has not to make_bank, after both arrays")
    given = {"min_r2": 0.7} if name == "select" else {f"{last}s": None}
    bank = rfc.make_bank(np.eye(3)[None, None], channel="signed", kind="analytic")
    first = {"select": [bank], "likeness": [bank, bank]}.get(name, [])
    with pytest.raises((rfc.InputError, TypeError), match="did you mean") as error:
        function(*first, **given)
    assert isinstance(error.value, TypeError)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"chanel_order": "bgr"}, "channel_order"),
        ({"kernel_dims": "unit y x channel"}, "dims"),
        ({"weight_key": "layer1.0.conv1.weight"}, "key"),
        ({"deg_per_pixel": 0.5}, "deg_per_px"),
    ],
)
def test_a_misspelled_keyword_names_the_one_that_was_meant(given: dict, meant: str) -> None:
    with pytest.raises(rfc.InputError, match=rf"did you mean {meant}\?"):
        rfc.load_kernels(np.ones((2, 3, 5, 5)), **given)


def test_provenance_goes_into_attrs() -> None:
    array = np.arange(9.0).reshape(1, 1, 3, 3)
    with pytest.raises(rfc.InputError, match="did you mean subject"):
        rfc.make_bank(array, channel="signed", kind="analytic", subjects=["a"])
    with pytest.raises(rfc.InputError, match=r"attrs=\{'citation': …\}"):
        rfc.make_bank(array, channel="signed", kind="analytic", citation="A 2001")
    bank = rfc.make_bank(array, channel="signed", kind="analytic", attrs={"citation": "A 2001", "title": "a ramp"})
    assert (bank.attrs["citation"], bank.attrs["title"]) == ("A 2001", "a ramp")
