"""What the two networks promise: shapes, saving, geometry, and answers that no batch can change."""

import keras
import numpy as np
import pytest
from keras import ops

from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork

RANDOM = np.random.default_rng(5)
CODE = 6
HEADS = {
    "magnitude_logits": (3, 2),
    "quadrant_logits": (3, 4),
    "style": (2 * CODE,),
    "realness": (1,),
}


def _normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def _pictures(count, resolution=32):
    return RANDOM.uniform(-1, 1, (count, resolution, resolution, 3)).astype(np.float32)


def _analysis(resolution=32, width=0.04):
    network = AnalysisNetwork(resolution=resolution, width=width, style_size=2 * CODE)
    network.build()
    return network


def _synthesis(resolution=32, width=0.03, **settings):
    network = SynthesisNetwork(
        resolution=resolution, width=width, code_size=CODE, mapping_layers=2,
        **{"volume_size": 8, "volume_features": 3, **settings},
    )  # fmt: skip
    network.build()  # `make` and `draw`, unlike a call, do not build
    return network


def _angles(*degrees):
    return np.radians(degrees).astype(np.float32)


def _inputs(count=3):
    return [
        _normal(count, CODE),
        _normal(count, CODE),
        RANDOM.uniform(-2, 2, (count, 3)).astype(np.float32),
    ]


@pytest.fixture(scope="module")
def analysis():
    keras.utils.set_random_seed(1)
    return _analysis()


@pytest.fixture(scope="module", params=["composite", "free"])
def synthesis(request):
    keras.utils.set_random_seed(2)
    return _synthesis(projection=request.param)


@pytest.fixture(scope="module")
def composite():
    keras.utils.set_random_seed(2)
    return _synthesis()


# --- Analysis --------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution, width", [(32, 0.03), (64, 0.06), (128, 0.03)])
def test_analysis_has_its_heads_at_every_size(resolution, width):
    prediction = _analysis(resolution, width)(_pictures(2, resolution))
    assert {name: tuple(x.shape[1:]) for name, x in prediction.items()} == HEADS
    assert all(np.isfinite(x).all() and x.shape[0] == 2 for x in prediction.values())


def test_analysis_of_the_papers_size_has_the_papers_weights():
    network = AnalysisNetwork(resolution=128, width=1.0, style_size=128)
    network.build()
    realness_top = sum(np.prod(w.shape) for w in network.realness_top.weights)
    # The paper counts one 4 x 4 top; realness has one of its own here.
    assert (network.count_params() - realness_top) / 1e6 == pytest.approx(24.65, abs=2)


def test_viewpoint_alone_is_that_of_the_whole_prediction(analysis):
    pictures = _pictures(3)
    whole, alone = analysis(pictures), analysis.viewpoint(pictures)
    assert set(alone) == {"magnitude_logits", "quadrant_logits"}
    for name, value in alone.items():
        np.testing.assert_allclose(value, whole[name], atol=1e-6)
    np.testing.assert_allclose(analysis.realness(pictures), whole["realness"], atol=1e-6)


@pytest.mark.parametrize("trunk", ["paper", "strided"])
def test_answers_are_the_viewpoint_and_what_the_picture_looks_like(trunk):
    network, pictures = AnalysisNetwork(resolution=32, width=0.1, trunk=trunk), _pictures(2)
    alone, answers = network.viewpoint(pictures), network.answers(pictures)
    statistics = answers.pop("channel_statistics", None)
    assert set(answers) == set(alone)
    for name, value in alone.items():
        np.testing.assert_array_equal(value, answers[name])
    assert (statistics is None) == (trunk == "paper")
    assert statistics is None or statistics.shape == (2, 2 * min(32, network.blocks[1].filters))


def test_viewpoint_and_style_of_a_picture_do_not_know_its_batch(analysis):
    pictures = _pictures(8)
    together = analysis(pictures)
    alone = [analysis(pictures[i : i + 1]) for i in range(8)]
    for name in ("magnitude_logits", "quadrant_logits", "style"):
        apart = ops.concatenate([prediction[name] for prediction in alone])
        np.testing.assert_allclose(together[name], apart, atol=1e-5)
    viewpoints = ops.concatenate([analysis.viewpoint(p[None])["quadrant_logits"] for p in pictures])
    np.testing.assert_allclose(together["quadrant_logits"], viewpoints, atol=1e-5)


def test_realness_does_know_its_batch(analysis):
    pictures = _pictures(4)
    alone = analysis(pictures[:1])["realness"]
    assert np.abs(analysis(pictures)["realness"][:1] - alone).max() > 1e-3


def test_dropout_changes_angles_in_training_alone(analysis):
    pictures = _pictures(4)
    at_rest, again = analysis(pictures), analysis(pictures)
    training = analysis(pictures, training=True)
    np.testing.assert_array_equal(at_rest["quadrant_logits"], again["quadrant_logits"])
    assert np.abs(training["quadrant_logits"] - at_rest["quadrant_logits"]).max() > 1e-3
    np.testing.assert_allclose(training["style"], at_rest["style"], atol=1e-6)


# --- Synthesis -------------------------------------------------------------------------------


@pytest.mark.parametrize("projection", ["composite", "free"])
@pytest.mark.parametrize(
    "resolution, volume, width", [(32, 8, 0.06), (64, 16, 0.03), (128, 8, 0.03)]
)
def test_synthesis_draws_pictures_of_every_size(projection, resolution, volume, width):
    network = _synthesis(resolution, width, volume_size=volume, projection=projection)
    pictures = network(_inputs(2))
    assert tuple(pictures.shape) == (2, resolution, resolution, 3)
    assert np.isfinite(pictures).all() and np.std(pictures) > 0.01


def test_volume_as_large_as_the_picture_is_drawn():
    for projection in ("composite", "free"):
        network = _synthesis(32, 0.03, volume_size=32, projection=projection)
        assert tuple(network(_inputs(1)).shape) == (1, 32, 32, 3)


def test_make_then_draw_is_the_call(synthesis):
    z1, z2, angles = _inputs()
    drawn = synthesis.draw(synthesis.make(z1, z2), angles)
    np.testing.assert_allclose(drawn, synthesis([z1, z2, angles]), atol=1e-5)


def test_picture_does_not_know_its_batch(synthesis):
    inputs = _inputs(4)
    alone = ops.concatenate([synthesis([x[i : i + 1] for x in inputs]) for i in range(4)])
    np.testing.assert_allclose(synthesis(inputs), alone, atol=1e-4)


def test_viewpoint_and_both_codes_change_the_picture(synthesis):
    z1, z2, angles = _inputs(2)
    picture = ops.convert_to_numpy(synthesis([z1, z2, angles]))
    for changed in ([-z1, z2, angles], [z1, -z2, angles], [z1, z2, angles + 1]):
        assert np.abs(synthesis(changed) - picture).max() > 1e-3


def test_a_full_turn_changes_nothing(synthesis):
    z1, z2, angles = _inputs(2)
    turned = synthesis([z1, z2, angles + np.float32(2 * np.pi)])
    np.testing.assert_allclose(turned, synthesis([z1, z2, angles]), atol=1e-3)


# --- The composite projection ----------------------------------------------------------------


def _silhouette(network, z1, angles):
    volume = network.make(z1, z1)[0]
    return ops.convert_to_numpy(network.projection.opacity(volume, angles))


def _lively(**settings):
    """A network whose untrained object has holes and lumps, so that silhouettes can differ."""
    keras.utils.set_random_seed(4)
    network = _synthesis(**settings)
    head = network.projection.voxel_head
    head.kernel.assign(4.0 * head.kernel)
    head.bias.assign(head.bias - 2.0)
    return network


@pytest.mark.parametrize("symmetric", [True, False])
def test_silhouettes_from_opposite_sides_are_mirror_images(symmetric):
    network, z1 = _lively(symmetric_volume=symmetric), _normal(3, CODE)
    angles = _angles((0, 0, 0), (35, 0, 0), (-110, 0, 0))
    front = _silhouette(network, z1, angles)
    rear = _silhouette(network, z1, angles + _angles((180, 0, 0)))
    np.testing.assert_allclose(rear, front[:, :, ::-1], atol=1e-4)
    assert np.abs(_silhouette(network, z1, angles + _angles((90, 0, 0))) - front).max() > 0.05


@pytest.mark.parametrize("distance", [0.0, 3.0])
def test_mirrored_viewpoints_of_a_symmetric_volume_have_mirrored_silhouettes(distance):
    angles = _angles((50, 20, 10), (-140, -5, 30))
    mirrored = angles * np.array([-1, 1, -1], np.float32)
    z1 = _normal(2, CODE)
    network = _lively(camera_distance=distance)
    there = _silhouette(network, z1, mirrored)
    np.testing.assert_allclose(there, _silhouette(network, z1, angles)[:, :, ::-1], atol=1e-4)
    lopsided = _lively(camera_distance=distance, symmetric_volume=False)
    apart = _silhouette(lopsided, z1, mirrored) - _silhouette(lopsided, z1, angles)[:, :, ::-1]
    assert np.abs(apart).max() > 0.05


def test_silhouette_is_an_opacity_inside_the_disc():
    opacity = _silhouette(_lively(), _normal(2, CODE), _angles((0, 0, 0), (80, 30, 5)))
    assert opacity.shape == (2, 32, 32, 1)
    assert opacity.min() >= 0 and opacity.max() <= 1 + 1e-5
    y, x = np.mgrid[0:32, 0:32] / 16 - 1 + 1 / 32
    assert (opacity[:, x**2 + y**2 >= 1] == 0).all()
    assert opacity.std() > 0.05


def test_nothing_lies_outside_the_box():
    network = _lively(volume_width=0.5, volume_height=0.3)
    front, side = _silhouette(network, _normal(2, CODE), _angles((0, 0, 0), (90, 0, 0)))[..., 0]
    y, x = np.abs(np.mgrid[0:32, 0:32] / 16 - 1 + 1 / 32)
    voxel = 2 / 8  # the edge of the box falls off over one voxel of the cube's eight a side
    for opacity in (front, side):
        assert opacity[y > 0.3 * (1 + voxel)].max() < 0.02
    assert front[x > 0.5 * (1 + voxel)].max() < 0.02
    assert front[(x < 0.4) & (y < 0.2)].max() > 0.2
    assert side[(x > 0.7) & (x < 0.9) & (y < 0.2)].max() > 0.1


def test_background_is_of_z2_alone(composite):
    z1, z2, angles = _inputs(2)
    corners = (slice(None), [0, 0, -1, -1], [0, -1, 0, -1])
    pictures = [ops.convert_to_numpy(composite(x))[corners]
                for x in ([z1, z2, angles], [-z1, z2, angles + 1], [z1, -z2, angles])]  # fmt: skip
    np.testing.assert_allclose(pictures[0], pictures[1], atol=1e-5)
    assert np.abs(pictures[0] - pictures[2]).max() > 1e-3


def test_object_is_of_z1_alone(composite):
    z1, z2, angles = _inputs(2)
    first, second = composite.make(z1, z2), composite.make(z1, -z2)
    np.testing.assert_allclose(first[0], second[0], atol=1e-6)
    opacity = ops.convert_to_numpy(composite.projection.opacity(first[0], angles))
    # Where two pictures differ only by their background, the difference fades as 1 - opacity.
    apart = ops.convert_to_numpy(composite.draw(first, angles) - composite.draw(second, angles))
    background = [
        ops.convert_to_numpy(composite.projection._background(made[2])) for made in (first, second)
    ]
    np.testing.assert_allclose(apart, (1 - opacity) * (background[0] - background[1]), atol=1e-4)
    assert np.abs(apart).max() > 1e-3


def test_free_projection_draws_the_volume_of_z1(synthesis):
    z1, z2, _ = _inputs(2)
    np.testing.assert_allclose(synthesis.make(z1, z2)[0], synthesis.make(z1, -z2)[0], atol=1e-6)
    assert np.abs(synthesis.make(z1, z2)[0] - synthesis.make(-z1, z2)[0]).max() > 1e-3


# --- Saving ----------------------------------------------------------------------------------


def _settings_of(network):
    return {name: value for name, value in network.get_config().items() if name != "name"}


def test_config_of_the_analysis_network_makes_it_again():
    settings = {
        "resolution": 64, "width": 0.05, "style_size": 10, "dropout": 0.4,
        "trunk": "strided", "centre_rad": (0.0, 0.3, 0.0), "stretch": (1.0, 4.0, 9.0),
    }  # fmt: skip
    assert _settings_of(AnalysisNetwork(**settings)) == settings
    again = AnalysisNetwork.from_config(AnalysisNetwork(**settings, name="v").get_config())
    assert again.name == "v" and _settings_of(again) == settings


def test_config_of_the_synthesis_network_makes_it_again():
    settings = {
        "resolution": 64, "width": 0.05, "code_size": 5, "mapping_layers": 3, "volume_size": 8,
        "projection": "free", "volume_features": 4, "symmetric_volume": False,
        "camera_distance": 2.5, "volume_width": 0.6, "picture_reach": 0.9,
        "volume_height": 0.4,
    }  # fmt: skip
    assert _settings_of(SynthesisNetwork(**settings)) == settings
    again = SynthesisNetwork.from_config(SynthesisNetwork(**settings, name="s").get_config())
    assert again.name == "s" and _settings_of(again) == settings


def test_saved_analysis_answers_the_same(analysis, tmp_path):
    pictures = _pictures(4)
    expected = analysis(pictures)
    analysis.save(tmp_path / "v.keras")
    loaded = keras.saving.load_model(tmp_path / "v.keras", compile=False)
    for name, value in loaded(pictures).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)


def test_saved_synthesis_draws_the_same(synthesis, tmp_path):
    inputs = _inputs()
    expected = synthesis(inputs)
    synthesis.save(tmp_path / "s.keras")
    loaded = keras.saving.load_model(tmp_path / "s.keras", compile=False)
    np.testing.assert_allclose(loaded(inputs), expected, atol=1e-5)
