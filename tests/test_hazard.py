"""Discrete hazards: survival, the closed case of a logistic fit, and tables that people edit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit

from traffic.model import ModelError
from traffic.warning.hazard import HazardModel, fit_hazard, survive
from traffic.warning.models import WarningModels

LEADS = (300.0, 600.0, 1200.0)


def build_model(weight: float = 1.0) -> HazardModel:
    parts = (np.array([weight, 0.5]), np.array([0.0, -1.0, -2.0]))
    return HazardModel(
        "test", LEADS, ("inflow", "slow"), parts[1], np.zeros(2), np.ones(2), parts[0]
    )


def test_a_constant_hazard_survives_geometrically() -> None:
    """S(k) = (1 - h)^k, so that the chance within k pieces is 1 - (1 - h)^k."""
    hazard = np.full(5, 0.2)
    assert survive(hazard) == pytest.approx(1 - 0.8 ** np.arange(1, 6))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_a_chance_never_falls_with_the_lead_and_stays_a_chance(hazards: list[float]) -> None:
    chance = survive(np.array(hazards))
    assert (np.diff(chance) >= -1e-12).all()
    assert ((chance >= 0) & (chance <= 1)).all()


def test_a_fit_on_a_yes_or_no_feature_finds_the_two_rates() -> None:
    """With one feature of 0 or 1 and no penalty, maximum likelihood gives each group's own rate:
    intercept + weight (x - mean) / scale = log(r / (1 - r))."""
    feature = np.repeat([0.0, 1.0], 100)
    came = np.concatenate((np.arange(100) < 10, np.arange(100) < 40))
    event_s = np.where(came, 100.0, np.inf)
    model = fit_hazard(
        "test", (300.0,), ("x",), feature[:, None, None], event_s, np.full(200, 600.0), ridge=0.0
    )
    for value, rate in ((0.0, 0.1), (1.0, 0.4)):
        assert model.find_chance(np.array([[value]]))[0] == pytest.approx(rate, abs=1e-3)
    assert model.weight[0] / model.scale[0] == pytest.approx(logit(0.4) - logit(0.1), abs=0.01)


def test_a_fit_counts_a_moment_only_as_long_as_it_was_followed() -> None:
    """In the second piece 20 of the 40 that were followed to its end had an event."""
    rng = np.random.default_rng(1)
    feature = rng.normal(size=(100, 2, 1))
    event_s = np.full(100, np.inf)
    event_s[:10], event_s[10:30] = 100.0, 400.0
    known_s = np.where(np.arange(100) < 50, 600.0, 300.0)
    model = fit_hazard("test", (300.0, 600.0), ("x",), feature, event_s, known_s, ridge=1e9)
    chance = model.find_chance(np.zeros((2, 1)))
    assert chance == pytest.approx([0.1, 1 - 0.9 * 0.5], abs=2e-3)


def test_weights_that_would_lower_the_hazard_are_held_at_0() -> None:
    feature = np.repeat([1.0, 0.0], 100)[:, None, None]
    event_s = np.where(np.arange(200) % 100 < np.where(np.arange(200) < 100, 5, 50), 9.0, np.inf)
    model = fit_hazard("test", (300.0,), ("x",), feature, event_s, np.full(200, 600.0))
    assert model.weight[0] == 0.0


def test_what_cannot_be_fitted_is_named_at_once() -> None:
    with pytest.raises(ModelError) as error:
        fit_hazard(
            "test", LEADS, ("x", "y"), np.ones((9, 3, 2)), np.full(9, np.inf), np.full(9, 3e3)
        )
    for part in ("up to 300 s", "up to 600 s", "up to 1200 s", "feature x", "feature y"):
        assert part in str(error.value)


def test_an_unknown_feature_counts_as_its_mean_and_too_many_as_nothing() -> None:
    model = build_model()
    known = model.find_chance(np.zeros((3, 2)))
    values = np.zeros((3, 2))
    values[:, 1] = np.nan
    assert model.find_chance(values) == pytest.approx(known)
    assert np.isnan(model.find_chance(np.full((3, 2), np.nan))).all()


def test_a_table_reads_back_what_was_written() -> None:
    model = build_model(1.23456)
    read = HazardModel.from_table("test", model.to_table(), model.features)
    values = np.linspace(-1, 1, 6).reshape(3, 2)
    assert read.find_chance(values) == pytest.approx(model.find_chance(values), rel=1e-4)


def test_every_fault_of_a_table_is_named_at_once() -> None:
    table = build_model().to_table()
    del table["intercept"]
    table["lead_s"] = ["soon"]
    table["more"] = 1
    table["features"]["inflow"]["weight"] = None
    table["features"]["strange"] = table["features"].pop("slow")
    with pytest.raises(ModelError) as error:
        HazardModel.from_table("test", table, ("inflow", "slow"))
    for part in ("no intercept", "lead_s", "unknown more", "weight is None", "no feature slow",
                 "unknown feature strange"):  # fmt: skip
        assert part in str(error.value)


def test_coefficients_that_cannot_be_are_named_at_once() -> None:
    with pytest.raises(ModelError) as error:
        HazardModel(
            "test", (600.0, 300.0), ("x", "x"), np.array([1.0]), np.array([np.nan, 0.0]),
            np.array([0.0, 1.0]), np.zeros(2),
        )  # fmt: skip
    for part in ("lead_s", "intercept", "mean", "scale", "differ"):
        assert part in str(error.value)


def test_both_parts_of_a_bottlenecks_table_are_checked_at_once() -> None:
    with pytest.raises(ModelError) as error:
        WarningModels.from_table({"breakdown": {}, "strange": 1})
    for part in ("unknown strange", "no queue", "breakdown: has no lead_s"):
        assert part in str(error.value)
