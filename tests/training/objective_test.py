"""The whole objective with tiny networks: what each loss sees, and whom its gradient reaches."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ssv_tf import config
from ssv_tf.models import encoding
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import losses
from ssv_tf.training import objective as objective_module
from ssv_tf.training.objective import Objective, viewpoint_range_rad

OPTIONS = config.Options.of(
    azimuth_range_deg=170.0, elevation_min_deg=-10.0, elevation_max_deg=40.0, tilt_range_deg=6.0,
    prior_rate=0.0, gradient_penalty_weight=10.0,
)  # fmt: skip
METHOD = dataclasses.replace(OPTIONS.method, synthesis_symmetry_weight=0.5)
BATCH = 4
NO_V = {"viewpoint_weight": 0.0, "symmetry_weight": 0.0, "style_weight": 0.0, "image_weight": 0.0}


def _features(pictures):
    return ops.reshape(ops.average_pool(pictures, 8), (-1, 48))


def _realness_gradient(function, pictures):
    with tf.GradientTape() as tape:
        tape.watch(pictures)
        total = tf.reduce_sum(function(pictures))
    return tape.gradient(total, pictures)


def _networks(projection):
    keras.utils.set_random_seed(8)
    analysis = AnalysisNetwork(resolution=32, width=0.03, style_size=8, dropout=0.0)
    synthesis = SynthesisNetwork(
        resolution=32, width=0.03, code_size=4, mapping_layers=2, volume_size=8,
        projection=projection, volume_features=3,
    )  # fmt: skip
    analysis.build()
    synthesis.build()
    return analysis, synthesis


@pytest.fixture(scope="module")
def networks():
    return _networks("composite")


@pytest.fixture
def objective(networks):
    """Makes an Objective with other settings, or another Method, around the same networks."""
    return functools.partial(_objective, networks)


def _objective(networks, features=_features, **changes):
    settings = {name: changes.pop(name) for name in set(changes) & set(config.SETTINGS)}
    options, (analysis, synthesis) = OPTIONS.replace(**settings), networks
    return Objective(
        analysis=analysis, synthesis=synthesis, features=features,
        realness_gradient=_realness_gradient, losses=options.losses,
        viewpoints=options.viewpoints, method=dataclasses.replace(METHOD, **changes),
        mirror_data=options.pictures.mirror_data,
    )  # fmt: skip


@pytest.fixture(scope="module")
def real():
    numbers = np.random.default_rng(1).uniform(-1, 1, (BATCH, 32, 32, 3))
    return tf.constant(numbers, tf.float32)


def _drawn(shapes, seed=2):
    random = np.random.default_rng(seed)
    kinds = {"normal": random.normal, "uniform": lambda size: random.uniform(-1, 1, size)}
    return {
        name: tf.constant(kinds[kind](size=shape), tf.float32)
        for name, (kind, shape) in shapes.items()
    }


def _analysis_loss(objective, real, penalise=False, **changed):
    draws = _drawn(objective.analysis_draws(BATCH)) | changed
    return objective.analysis_loss(real, objective.draw_fakes(draws), draws, penalise)


def _analysis_gradients(objective, real, sources, penalise=False):
    """Gradients of V's loss by path of the weight, with S's pictures drawn outside."""
    draws = _drawn(objective.analysis_draws(BATCH))
    fake = objective.draw_fakes(draws)
    with tf.GradientTape() as tape:
        loss, _ = objective.analysis_loss(real, fake, draws, penalise)
    gradients = tape.gradient(loss, [w.value for w in sources])
    return {w.path: g for w, g in zip(sources, gradients, strict=True)}


def _learns(gradients, word):
    own = [g for path, g in gradients.items() if f"/{word}/" in path]
    assert own, f"no weight of {word}"
    return any(g is not None and np.any(g) for g in own)


# --- Viewpoints and random numbers -----------------------------------------------------------


def test_viewpoints_cover_the_ranges_from_end_to_end(objective):
    ends = np.array([[-1, -1, -1], [1, 1, 1], [0, 0, 0]], np.float32)
    degrees = np.degrees(objective().viewpoints(ends))
    np.testing.assert_allclose(degrees, [[-170, -10, -6], [170, 40, 6], [0, 15, 0]], atol=1e-4)


def test_range_is_that_of_the_options():
    low, high = viewpoint_range_rad(OPTIONS.viewpoints)
    np.testing.assert_allclose(np.degrees(low), [-170, -10, -6], atol=1e-4)
    np.testing.assert_allclose(np.degrees(high), [170, 40, 6], atol=1e-4)


def test_random_numbers_are_asked_for_by_kind_with_the_batch_first(objective):
    made = objective()
    for shapes, rows in ((made.analysis_draws(8), 8), (made.synthesis_draws(8), 4)):
        assert all(kind in ("normal", "uniform") for kind, _ in shapes.values())
        assert all(shape[0] == rows for _, shape in shapes.values())
    assert made.analysis_draws(8)["style"] == ("normal", (8, 8))
    assert made.synthesis_draws(8)["viewpoint_second"] == ("uniform", (4, 3))


def test_style_is_split_into_the_codes_of_object_and_background(objective):
    style = np.arange(16, dtype=np.float32).reshape(2, 8)
    z1, z2 = objective().codes(style)
    np.testing.assert_array_equal(z1, style[:, :4])
    np.testing.assert_array_equal(z2, style[:, 4:])


# --- V's loss --------------------------------------------------------------------------------


@pytest.mark.parametrize("wasserstein", [False, True])
def test_loss_of_the_analysis_network_is_the_weighted_sum_of_its_parts(
    objective, real, wasserstein, monkeypatch
):
    monkeypatch.setattr(objective_module, "DRIFT_WEIGHT", 0.0)
    o = objective(wasserstein=wasserstein)
    loss, parts = _analysis_loss(o, real, penalise=True)
    weights = {"v_adversarial": 1.0, "v_viewpoint": 0.8, "v_style": 0.8, "v_symmetry": 0.4}
    weights |= {"v_image": 0.4, "v_penalty": 10.0 if wasserstein else 80.0}
    assert set(parts) == {*weights, "real_score", "fake_score"}
    expected = sum(weight * float(parts[name]) for name, weight in weights.items())
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_parts_of_the_analysis_loss_are_the_losses_of_its_predictions(objective, networks, real):
    analysis, synthesis = networks
    o = objective(augment=0.0)
    draws = _drawn(o.analysis_draws(BATCH))
    angles = o.viewpoints(draws["viewpoint"])
    z1, z2 = draws["style"][:, :4], draws["style"][:, 4:]
    _, parts = _analysis_loss(o, real)
    on_fake, on_real = analysis(synthesis([z1, z2, angles])), analysis(real)
    on_mirrored = analysis(real[:, :, ::-1])
    decoded = encoding.decode(on_real["magnitude_logits"], on_real["quadrant_logits"])
    again = synthesis([on_real["style"][:, :4], on_real["style"][:, 4:], decoded])
    expected = {
        "v_viewpoint": losses.viewpoint_consistency(on_fake, angles),
        "v_style": losses.style_consistency(on_fake, draws["style"]),
        "v_symmetry": losses.symmetry(on_real, on_mirrored),
        "v_image": losses.image_consistency(_features(real[:2]), _features(again[:2])),
        "v_adversarial": losses.logistic_analysis(on_real["realness"], on_fake["realness"]),
        "real_score": ops.mean(on_real["realness"]),
    }
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize("penalise", [True, False])
def test_logistic_penalty_is_lazy(objective, real, penalise):
    _, parts = _analysis_loss(objective(), real, penalise)
    assert ("v_penalty" in parts) == penalise


def test_wasserstein_penalty_is_taken_between_real_and_drawn(objective, networks, real):
    o = objective(wasserstein=True, augment=0.0)
    fake = o.draw_fakes(_drawn(o.analysis_draws(BATCH)))
    for end, pictures in ((-1.0, real), (1.0, fake), (0.0, 0.5 * (real + fake))):
        mix = tf.fill((BATCH, 1, 1, 1), end)
        gradient = _realness_gradient(networks[0].realness, pictures)
        _, parts = _analysis_loss(o, real, mix=mix)
        expected = float(losses.gradient_penalty(gradient))
        assert float(parts["v_penalty"]) == pytest.approx(expected, rel=1e-3)


def test_drift_holds_real_scores_of_the_wasserstein_loss(objective, real, monkeypatch):
    values = []
    for weight in (0.0, 5.0):
        monkeypatch.setattr(objective_module, "DRIFT_WEIGHT", weight)
        loss, parts = _analysis_loss(objective(wasserstein=True), real)
        values.append(float(loss))
    assert values[1] - values[0] >= 5.0 * float(parts["real_score"]) ** 2 > 0


@pytest.mark.slow
@pytest.mark.parametrize("wasserstein", [False, True])
def test_every_weight_of_the_analysis_network_learns(objective, networks, real, wasserstein):
    made = objective(wasserstein=wasserstein)
    gradients = _analysis_gradients(made, real, networks[0].trainable_weights, penalise=True)
    assert all(g is not None and np.isfinite(g).all() for g in gradients.values())
    assert [path for path, g in gradients.items() if not np.any(g)] == []


@pytest.mark.parametrize(
    "weight, heads",
    [
        (None, set()),
        ("style_weight", {"style"}),
        ("viewpoint_weight", {"magnitude", "quadrant"}),
        ("symmetry_weight", {"magnitude", "quadrant"}),
        ("image_weight", {"style", "magnitude"}),  # the quadrant is an argmax
    ],
)
def test_each_loss_teaches_only_the_heads_it_is_about(objective, networks, real, weight, heads):
    made = objective(**(NO_V | ({weight: 1.0} if weight else {})))
    gradients = _analysis_gradients(made, real, networks[0].trainable_weights)
    learning = {h for h in ("style", "magnitude", "quadrant") if _learns(gradients, h)}
    assert learning == heads
    assert _learns(gradients, "realness") and _learns(gradients, "from_rgb")


def test_image_consistency_reaches_the_viewpoint_through_the_drawing(objective, networks, real):
    """Blind features of the drawn picture would leave V nothing to learn."""
    analysis = networks[0]
    blind = _objective(
        networks, lambda x: ops.stop_gradient(_features(x)), **NO_V | {"image_weight": 1.0}
    )
    assert not _learns(_analysis_gradients(blind, real, analysis.trainable_weights), "magnitude")


def test_analysis_loss_does_not_reach_the_synthesis_network_but_by_the_image(
    objective, networks, real
):
    weights = networks[1].trainable_weights
    gradients = _analysis_gradients(objective(image_weight=0.0), real, weights)
    assert all(g is None for g in gradients.values())
    through = _analysis_gradients(objective(), real, weights)
    assert any(g is not None for g in through.values())  # the step does not ask for these


def test_without_mirrored_pictures_there_is_no_symmetry(objective, real):
    loss, parts = _analysis_loss(objective(mirror_data=False), real)
    assert "v_symmetry" not in parts
    whole, parts = _analysis_loss(objective(), real)
    assert float(whole - loss) == pytest.approx(0.4 * float(parts["v_symmetry"]), abs=1e-4)


def test_image_weight_0_leaves_the_drawing_out(objective, real):
    loss, parts = _analysis_loss(objective(image_weight=0.0), real)
    assert "v_image" not in parts
    other, parts = _analysis_loss(objective(), real)
    assert float(other - loss) == pytest.approx(0.4 * float(parts["v_image"]), abs=1e-4)


# --- S's loss --------------------------------------------------------------------------------


def _synthesis_gradients(objective):
    weights = objective.synthesis.trainable_weights
    with tf.GradientTape() as tape:
        loss, _ = objective.synthesis_loss(_drawn(objective.synthesis_draws(8)))
    gradients = tape.gradient(loss, [w.value for w in weights])
    return {w.path: g for w, g in zip(weights, gradients, strict=True)}


@pytest.mark.parametrize("wasserstein", [False, True])
def test_loss_of_the_synthesis_network_is_the_weighted_sum_of_its_parts(objective, wasserstein):
    o = objective(wasserstein=wasserstein)
    loss, parts = o.synthesis_loss(_drawn(o.synthesis_draws(8)))
    weights = {"s_adversarial": 1.0, "s_viewpoint": 0.3, "s_style": 0.8, "s_pair": 0.1,
               "s_symmetry": 0.5}  # fmt: skip
    assert set(parts) == set(weights)
    expected = sum(weight * float(parts[name]) for name, weight in weights.items())
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_parts_of_the_synthesis_loss_are_those_of_its_triplets(objective, networks):
    analysis, synthesis = networks
    o = objective(augment=0.0)
    draws = _drawn(o.synthesis_draws(8))
    _, parts = o.synthesis_loss(draws)
    one, two = (draws[f"style_{name}"] for name in ("first", "second"))
    here, there = (o.viewpoints(draws[f"viewpoint_{name}"]) for name in ("first", "second"))
    pictures = [
        synthesis([z[:, :4], z[:, 4:], v]) for z, v in ((one, here), (one, there), (two, here))
    ]
    a, b, c = (analysis(p) for p in pictures)
    mirrored = synthesis([one[:, :4], one[:, 4:], here * [-1.0, 1.0, -1.0]])
    angles = zip((a, b, c), (here, there, here), strict=True)
    styles = zip((a, b, c), (one, one, two), strict=True)
    expected = {
        "s_viewpoint": np.mean([losses.viewpoint_consistency(p, v) for p, v in angles]),
        "s_style": np.mean([losses.style_consistency(p, z) for p, z in styles]),
        "s_pair": losses.same_viewpoint(a, c) + losses.same_style(a, b),
        "s_symmetry": losses.synthesis_symmetry(pictures[0], mirrored),
        "s_adversarial": np.mean([losses.logistic_synthesis(p["realness"]) for p in (a, b, c)]),
    }
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("projection", ["composite", "free"])
def test_every_weight_of_the_synthesis_network_learns(projection):
    gradients = _synthesis_gradients(_objective(_networks(projection)))
    assert all(g is not None and np.isfinite(g).all() for g in gradients.values())
    assert [path for path, g in gradients.items() if not np.any(g)] == []


@pytest.mark.parametrize(
    "weight, part", [("pair_weight", "s_pair"), ("synthesis_symmetry_weight", "s_symmetry")]
)
def test_weight_0_leaves_a_loss_of_the_synthesis_network_out(objective, weight, part):
    o = objective(**{weight: 0.0})
    loss, parts = o.synthesis_loss(_drawn(o.synthesis_draws(8)))
    assert part not in parts
    whole, parts = objective().synthesis_loss(_drawn(o.synthesis_draws(8)))
    expected = getattr(METHOD, weight) * float(parts[part])
    assert float(whole - loss) == pytest.approx(expected, abs=1e-4)


def test_dropout_of_the_frozen_analysis_network_is_off(objective):
    made = objective()
    made.analysis = AnalysisNetwork(resolution=32, width=0.03, style_size=8, dropout=0.5)
    made.analysis.build()
    draws = _drawn(made.synthesis_draws(8))
    assert float(made.synthesis_loss(draws)[0]) == float(made.synthesis_loss(draws)[0])
