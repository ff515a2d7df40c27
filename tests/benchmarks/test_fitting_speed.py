"""Time per map of the fitter and its peers: ``pytest tests/benchmarks --benchmark-only``.

Beside rfcompare's engines stand SciPy with and without care, lmfit and xarray's curvefit, each on as many maps as it
does in about a second. The time per map is the median divided by the ``maps`` in the extra information.
"""

import numpy as np
import pytest

import rfcompare as rfc
from rfcompare.fitting import benchmark as bench
from rfcompare.fitting.engines import Engine, Maps, run
from rfcompare.models import MODELS

SIZES = (11, 32)
MAPS = {"rfcompare, compiled": 2000, "rfcompare, batched": 200}
FEW = 4


def fit_lmfit(bank):
    """lmfit's Model from one start, with bounds."""
    import lmfit

    pixels, (low, high) = bench._pixels(bank), bench._bounds(bank)

    def one(values):
        model = lmfit.Model(lambda x, y, **p: bench.gabor((x, y), *(p[name] for name in bench.PARAMETERS)), ["x", "y"])
        start = np.clip(bench.starts(values, bank, 1)[0], low + 1e-6, high - 1e-6)
        parameters = lmfit.Parameters()
        for name, value, least, most in zip(bench.PARAMETERS, start, low, high, strict=True):
            parameters.add(name, value, min=least, max=most)
        best = model.fit(values, parameters, x=pixels[0], y=pixels[1], max_nfev=2000).best_values
        return [best[name] for name in bench.PARAMETERS]

    return np.array([one(values) for values in bank.rf.values.reshape(bank.sizes["unit"], -1)])


def fit_xarray(bank):
    """xarray's curvefit from one start per map."""
    maps = bank.rf.isel(channel=0, drop=True)
    first = np.array([bench.starts(values.ravel(), bank, 1)[0] for values in maps.values])

    def gabor(pixels, x0, y0, orientation, frequency, sigma_x, sigma_y, phase, amplitude, offset):
        return bench.gabor(pixels, x0, y0, orientation, frequency, sigma_x, sigma_y, phase, amplitude, offset)

    start = {name: maps.unit.copy(data=first[:, i]).astype(float) for i, name in enumerate(bench.PARAMETERS)}
    fitted = maps.curvefit(["x", "y"], gabor, p0=start, errors="ignore", kwargs={"maxfev": 4000})
    return fitted.curvefit_coefficients.values


PEERS = {**bench.FITTERS, "lmfit, 1 start": fit_lmfit, "xarray curvefit, 1 start": fit_xarray}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PEERS)
def test_time_per_map(benchmark, name, size):
    bank = bench.make_cases((size,), n=MAPS.get(name, FEW))[0].bank
    benchmark.extra_info["maps"] = bank.sizes["unit"]
    found = benchmark.pedantic(PEERS[name], (bank,), warmup_rounds=1, rounds=3 if name in MAPS else 1)
    assert np.isfinite(bench.residuals(bank, found)).mean() >= 0.5


@pytest.mark.parametrize("size", [7, 11, 16, 32, 64])
def test_time_of_the_engine_alone_by_size(benchmark, size):
    maps = Maps.of(bench.make_cases((size,), n=512)[0].bank)
    benchmark.extra_info["maps"] = len(maps.values)
    found, _ = benchmark.pedantic(run, (MODELS["gabor"], maps, Engine("compiled")), warmup_rounds=1, rounds=3)
    assert found.converged.mean() > 0.9


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("engine", ["compiled", "batched"])
@pytest.mark.parametrize("model", [name for name in MODELS if MODELS[name].parameters])
def test_time_of_every_model(benchmark, model, engine, size):
    bank = bench.make_cases((size,), n=256 if engine == "compiled" else 64)[0].bank
    benchmark.extra_info["maps"] = bank.sizes["unit"]
    fits = benchmark.pedantic(
        rfc.fit, (bank, model), {"seed": 0, "engine": engine}, warmup_rounds=1, rounds=3 if engine == "compiled" else 1
    )
    assert (fits.r2 >= 0).all()


@pytest.mark.parametrize("n", [500, 5_000, 50_000])
def test_time_per_map_is_flat_in_their_number(benchmark, n):
    bank = bench.make_cases((11,), n=500)[0].bank
    many = bank.isel(unit=np.arange(n) % 500).assign_coords(unit=[f"u{i}" for i in range(n)])
    benchmark.extra_info["maps"] = n
    benchmark.pedantic(bench.FITTERS["rfcompare, compiled"], (many,), warmup_rounds=1, rounds=1)
