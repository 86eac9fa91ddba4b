"""Layers against slow NumPy oracles and geometry worked out by hand."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ssv_tf import viewpoint
from ssv_tf.models import geometry, layers

RANDOM = np.random.default_rng(11)
SIZE = 6
GRID = geometry.camera_grid(SIZE)


def _normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def _rad(*degrees):
    return np.radians([degrees]).astype(np.float32)


# --- The turned volume -----------------------------------------------------------------------


def _sample(volume, point):
    """Trilinear sample of [d, h, w, c] at an object-space (x, y, z); zero outside. float64."""
    sides = np.array(volume.shape[:3])
    place = (np.array([-point[2], -point[1], point[0]]) + 1.0) / 2.0 * sides - 0.5
    low = np.floor(place).astype(int)
    total = np.zeros(volume.shape[3])
    for step in itertools.product((0, 1), repeat=3):
        cell = low + step
        if (cell >= 0).all() and (cell < sides).all():
            total += np.prod(1.0 - np.abs(place - cell)) * volume[tuple(cell)]
    return total


def _turned_oracle(volumes, angles_rad, grid):
    turned = [
        [_sample(volume, rotation @ point) for point in grid.astype(np.float64)]
        for volume, rotation in zip(
            volumes.astype(np.float64), viewpoint.rotation_matrix(angles_rad), strict=True
        )
    ]
    return np.array(turned)


def _turn(volume, *degrees):
    """One [n, n, n] volume turned by azimuth, elevation, tilt in degrees, as [n, n, n]."""
    turned = geometry.rotate_volume(volume[None, ..., None], _rad(*degrees), GRID)
    return ops.convert_to_numpy(turned).reshape(volume.shape)


def test_turned_volume_is_that_of_the_oracle():
    volumes = _normal(3, SIZE, SIZE, SIZE, 2)
    angles = RANDOM.uniform(-np.pi, np.pi, (3, 3)).astype(np.float32)
    expected = _turned_oracle(volumes, angles, GRID)
    got = geometry.rotate_volume(volumes, angles, GRID)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert np.abs(expected).mean() > 0.05 and (np.abs(expected).sum(-1) == 0).any()


def test_turned_volume_may_have_three_sides_and_points_far_outside():
    volumes = _normal(2, 3, 5, 4, 2)
    points = RANDOM.uniform(-1.6, 1.6, (60, 3)).astype(np.float32)
    angles = RANDOM.uniform(-np.pi, np.pi, (2, 3)).astype(np.float32)
    expected = _turned_oracle(volumes, angles, points)
    got = geometry.rotate_volume(volumes, angles, points)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_a_box_is_sampled_as_the_cube_at_points_divided_by_its_half_sides():
    volumes, extent = _normal(2, SIZE, SIZE, SIZE, 2), (0.5, 0.25, 1.0)
    still = np.zeros((2, 3), np.float32)
    points = RANDOM.uniform(-1.0, 1.0, (1, 60, 3)).astype(np.float32)
    got = geometry.sample_volume(volumes, np.repeat(points, 2, axis=0), extent)
    expected = _turned_oracle(volumes, still, points[0] / np.array(extent, np.float32))
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_zero_angles_leave_the_volume_as_it_is():
    volume = _normal(SIZE, SIZE, SIZE)
    np.testing.assert_allclose(_turn(volume, 0, 0, 0), volume, atol=1e-6)


@pytest.mark.parametrize(
    "degrees, axes, flipped",
    [
        ((90, 0, 0), (2, 1, 0), (0,)),
        ((-90, 0, 0), (2, 1, 0), (2,)),
        ((180, 0, 0), (0, 1, 2), (0, 2)),
        ((0, 90, 0), (1, 0, 2), (1,)),
        ((0, 0, 90), (0, 2, 1), (2,)),
        ((0, 0, 180), (0, 1, 2), (1, 2)),
    ],
)
def test_right_angles_are_permutations_of_the_voxels(degrees, axes, flipped):
    volume = _normal(SIZE, SIZE, SIZE)
    expected = np.flip(np.transpose(volume, axes), flipped)
    np.testing.assert_allclose(_turn(volume, *degrees), expected, atol=1e-5)


def test_front_voxels_go_to_image_left_at_azimuth_90():
    volume = np.zeros((SIZE, SIZE, SIZE), np.float32)
    volume[0] = 1.0  # nearest to the camera: the nose
    turned = _turn(volume, 90, 0, 0)
    np.testing.assert_allclose(turned[:, :, 0], 1, atol=1e-5)
    np.testing.assert_allclose(turned[:, :, 1:], 0, atol=1e-5)


def test_roof_voxels_come_to_the_camera_at_elevation_90():
    volume = np.zeros((SIZE, SIZE, SIZE), np.float32)
    volume[:, 0] = 1.0
    np.testing.assert_allclose(_turn(volume, 0, 90, 0)[0], 1, atol=1e-5)


def test_mirrored_viewpoint_of_a_symmetric_volume_is_the_mirror_image():
    volume = _normal(SIZE, SIZE, SIZE)
    symmetric = volume + volume[:, :, ::-1]
    for degrees in ((40, 20, 10), (-130, -35, 75)):
        azimuth, elevation, tilt = degrees
        there = _turn(symmetric, *degrees)[:, :, ::-1]
        np.testing.assert_allclose(_turn(symmetric, -azimuth, elevation, -tilt), there, atol=2e-5)
        assert np.abs(_turn(volume, -azimuth, elevation, -tilt) - there).max() > 0.1


def test_gradient_in_the_volume_is_the_transposed_sampling():
    volumes, angles = _normal(2, SIZE, SIZE, SIZE, 2), _normal(2, 3)
    weights = _normal(2, len(GRID), 2)
    tensor = tf.constant(volumes)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = tf.reduce_sum(weights * geometry.rotate_volume(tensor, angles, GRID))
    gradient = tape.gradient(value, tensor).numpy()
    for _ in range(3):  # linear in the volume: a directional derivative is one forward pass
        direction = _normal(*volumes.shape)
        expected = (weights * _turned_oracle(direction, angles, GRID)).sum()
        assert (gradient * direction).sum() == pytest.approx(expected, rel=1e-3, abs=1e-2)


@pytest.mark.parametrize(
    ("batch", "dtype"), [(1, "float32"), (5, "float32"), (8, "bfloat16"), (None, "float32")]
)
def test_compiled_gradients_of_a_reading_are_those_of_its_operations(batch, dtype):
    count = batch or 3
    volumes = tf.cast(_normal(count, 3, 4, 5, 2), dtype)
    upstream = tf.cast(_normal(count, 30, 2), dtype)
    points = RANDOM.uniform(-1.2, 1.2, (count, 30, 3)).astype(np.float32)
    cells, weights = geometry.find_cells(points, (3, 4, 5))

    def gradients(read, volumes, cells, weights, upstream):
        with tf.GradientTape() as tape:
            tape.watch((volumes, weights))
            value = read(volumes, cells, weights)
        return tape.gradient(value, (volumes, weights), upstream)

    given = (volumes, cells, weights, upstream)
    shapes = [tf.TensorSpec((batch, *part.shape[1:]), part.dtype) for part in given]
    compiled = tf.function(
        functools.partial(gradients, geometry.read_cells), input_signature=shapes
    )
    expected = gradients(geometry._read, *given)
    for got, wanted in zip(compiled(*given), expected, strict=True):
        assert got.dtype == wanted.dtype
        close = 1e-5 if dtype == "float32" else 0.1
        np.testing.assert_allclose(tf.cast(got, "float32"), tf.cast(wanted, "float32"), atol=close)
        assert np.abs(wanted).max() > 0.5


def test_gradient_in_the_angles_is_that_of_finite_differences():
    volumes = _normal(1, SIZE, SIZE, SIZE, 2)
    points = RANDOM.uniform(-0.8, 0.8, (40, 3)).astype(np.float32)
    weights = _normal(1, len(points), 2)
    angles = _rad(33, 21, -7)
    tensor = tf.constant(angles)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = tf.reduce_sum(weights * geometry.rotate_volume(volumes, tensor, points))
    gradient = tape.gradient(value, tensor).numpy()

    def at(shift):
        return (weights * _turned_oracle(volumes, angles.astype(np.float64) + shift, points)).sum()

    step = 1e-6 * np.eye(3)
    expected = [(at(row) - at(-row)) / 2e-6 for row in step]
    np.testing.assert_allclose(gradient[0], expected, rtol=2e-3, atol=2e-3)
    assert np.abs(expected).min() > 0.1


def test_camera_grid_runs_from_front_top_left():
    grid = geometry.camera_grid(4).reshape(4, 4, 4, 3)
    np.testing.assert_allclose(grid[0, 0, 0], [-0.75, 0.75, 0.75])
    np.testing.assert_allclose(grid[3, 0, 0], [-0.75, 0.75, -0.75])
    np.testing.assert_allclose(grid[0, 3, 0], [-0.75, -0.75, 0.75])
    np.testing.assert_allclose(grid[0, 0, 3], [0.75, 0.75, 0.75])


# --- Rays ------------------------------------------------------------------------------------


def _pixel_plane(rays):
    centres = (np.arange(rays) + 0.5) / rays * 2 - 1
    return np.array([[x, -y, 0.0] for y in centres for x in centres])


def _samples_of_the_ball(rays, samples, distance=0.0):
    *chords, pixel = geometry.ball_rays(rays, distance)
    still = np.zeros((1, 3), np.float32)
    points, piece = geometry.box_samples(chords, still, samples, (1.0, 1.0, 1.0))
    return ops.convert_to_numpy(points)[0], ops.convert_to_numpy(piece)[0], pixel


@pytest.mark.parametrize("distance", [0.0, 1.5, 4.0])
def test_ray_samples_fill_the_chords_of_the_unit_ball(distance):
    rays, samples = 8, 5
    points, piece, pixel = _samples_of_the_ball(rays, samples, distance)
    points = points.reshape(samples, -1, 3).astype(np.float64)
    assert np.linalg.norm(points, axis=-1).max() < 1
    assert pixel.shape == (rays * rays,) and piece.shape == (points.shape[1],)
    for plane, hit in zip(_pixel_plane(rays), pixel, strict=True):
        camera = np.array([0, 0, distance]) if distance else np.add(plane, [0, 0, 5])
        along = (plane - camera) / np.linalg.norm(plane - camera)
        half_squared = (along @ camera) ** 2 - camera @ camera + 1  # from |camera + t along| = 1
        if hit == len(piece):
            assert half_squared <= 1e-9
            continue
        entry = camera + (-(along @ camera) - half_squared**0.5) * along
        assert piece[hit] * samples == pytest.approx(2 * half_squared**0.5, rel=1e-5)
        middles = entry + (np.arange(samples)[:, None] + 0.5) * piece[hit] * along
        np.testing.assert_allclose(points[:, hit], middles, atol=1e-5)


def test_parallel_rays_hit_a_disc_and_measure_the_ball():
    rays = 40
    _, piece, pixel = _samples_of_the_ball(rays, 3)
    hit = pixel < len(piece)
    np.testing.assert_array_equal(hit, (_pixel_plane(rays) ** 2).sum(1) < 1)
    volume = 3 * piece.sum() * (2 / rays) ** 2
    assert volume == pytest.approx(4 / 3 * np.pi, rel=0.01)


def test_a_far_camera_has_almost_parallel_rays():
    parallel, far = geometry.ball_rays(8), geometry.ball_rays(8, 1e4)
    np.testing.assert_array_equal(parallel[3], far[3])
    for ours, others in zip(parallel[:3], far[:3], strict=True):
        np.testing.assert_allclose(ours, others, atol=1e-3)


def test_turned_rays_are_sampled_where_they_cross_the_box():
    """Against a fine march along each ray: length inside the box and the ball, and its middle."""
    *chords, _ = geometry.ball_rays(10, 3.0)
    angles, extent = RANDOM.uniform(-np.pi, np.pi, (3, 3)).astype(np.float32), (0.4, 0.3, 1.0)
    points, piece = (
        ops.convert_to_numpy(x) for x in geometry.box_samples(chords, angles, 6, extent)
    )
    points = points.reshape(3, 6, -1, 3)
    assert (np.abs(points) <= np.array(extent) + 1e-4)[
        np.broadcast_to(piece[:, None, :, None] > 0, points.shape)
    ].all()
    march = np.linspace(-1, 1, 4001)[:, None]
    for view, rotation in enumerate(viewpoint.rotation_matrix(angles)):
        for ray in range(0, len(chords[2]), 7):
            middle, along, half = (np.asarray(part[ray], np.float64) for part in chords)
            place = march * half
            inside = (np.abs((middle + place * along) @ rotation.T) <= extent).all(axis=1)
            assert piece[view, ray] * 6 == pytest.approx(2 * half * inside.mean(), abs=2e-3)
            if inside.sum() > 50:
                centre = rotation @ (middle + place[inside].mean() * along)
                np.testing.assert_allclose(points[view, :, ray].mean(axis=0), centre, atol=2e-3)
    assert (piece == 0).any() and (piece > 0.1).any()


# --- Compositing -----------------------------------------------------------------------------


def _over(density, features):
    """Front to back, one sample after the other."""
    drawn = []
    for density_of_one, features_of_one in zip(density, features, strict=True):
        light, total = np.ones((density.shape[2], 1)), np.zeros(features.shape[2:])
        for d, f in zip(density_of_one, features_of_one, strict=True):
            alpha = 1 - np.exp(-d)
            total = total + light * alpha * f
            light = light * (1 - alpha)
        drawn.append((total, 1 - light))
    return [np.stack(side) for side in zip(*drawn, strict=True)]


def test_composite_is_the_over_operator():
    density = RANDOM.exponential(0.5, (2, 7, 9, 1)).astype(np.float32)
    features = _normal(2, 7, 9, 4)
    expected = _over(density.astype(np.float64), features.astype(np.float64))
    for got, wanted in zip(geometry.composite(density, features), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 1e3])
def test_opacity_stays_between_0_and_1(scale):
    density = scale * RANDOM.exponential(1.0, (2, 12, 9, 1)).astype(np.float32)
    opacity = ops.convert_to_numpy(geometry.composite(density, _normal(2, 12, 9, 1))[1])
    assert opacity.min() >= 0 and opacity.max() <= 1 + 1e-5
    if scale == 0.0:
        assert (opacity == 0).all()
    if scale == 1e3:
        np.testing.assert_allclose(opacity, 1, atol=1e-5)


def test_an_opaque_front_hides_the_back_and_not_the_other_way_round():
    density = np.zeros((1, 3, 2, 1), np.float32)
    density[0, :, 0, 0] = [50, 1, 1]  # ray 0: opaque front
    density[0, :, 1, 0] = [0, 1, 50]  # ray 1: opaque back behind a veil
    features = np.broadcast_to(np.eye(3, dtype=np.float32)[None, :, None], (1, 3, 2, 3))
    drawn, opacity = geometry.composite(density, features)
    veil = 1 - np.exp(-1)
    np.testing.assert_allclose(drawn[0], [[1, 0, 0], [0, veil, 1 - veil]], atol=1e-6)
    np.testing.assert_allclose(opacity, 1, atol=1e-6)


# --- Growing ---------------------------------------------------------------------------------


def test_upsample_is_bilinear_upsampling():
    pictures = _normal(2, 5, 7, 3)
    expected = keras.layers.UpSampling2D(2, interpolation="bilinear")(pictures)
    np.testing.assert_allclose(layers.upsample(pictures), expected, atol=1e-6)


def test_upsample_of_a_volume_is_linear_along_every_axis():
    volume = _normal(2, 3, 4, 5, 2)
    expected = volume
    for axis in (1, 2, 3):
        size = volume.shape[axis]
        places = (np.arange(2 * size) + 0.5) / 2 - 0.5
        expected = np.apply_along_axis(
            lambda line, size=size, places=places: np.interp(places, np.arange(size), line),
            axis, expected,
        )  # fmt: skip
    got = layers.upsample(volume)
    assert got.shape == (2, 6, 8, 10, 2)
    np.testing.assert_allclose(got, expected, atol=1e-5)


# --- Equalised weights -----------------------------------------------------------------------


def _correlate(x, kernel):
    """Valid cross-correlation of [batch, .., in] by [.., in, out], any rank."""
    rank, side = x.ndim - 2, kernel.shape[0]
    out = 0.0
    for offset in itertools.product(range(side), repeat=rank):
        part = tuple(slice(o, o + n - side + 1) for o, n in zip(offset, x.shape[1:-1], strict=True))
        out = out + x[(slice(None), *part)] @ kernel[offset]
    return out


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_equalised_convolution_is_a_scaled_correlation(rank, padding):
    layer = layers.EqualizedConv(4, 3, rank=rank, padding=padding, gain=1.7, bias_start=0.5)
    x = _normal(2, *(5, 4, 6)[:rank], 3)
    got = layer(x)
    kernel = ops.convert_to_numpy(layer.kernel)
    if padding == "same":
        x = np.pad(x, [(0, 0), *[(1, 1)] * rank, (0, 0)])
    expected = _correlate(x, kernel * 1.7 / np.sqrt(3**rank * 3)) + 0.5
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_equalised_weights_start_at_unit_size_and_keep_the_signal():
    for layer, x in (
        (layers.EqualizedConv(64, 3, gain=1.0, padding="valid"), _normal(4, 10, 10, 32)),
        (layers.EqualizedDense(512), _normal(64, 300)),
    ):
        y = ops.convert_to_numpy(layer(x))
        assert ops.convert_to_numpy(layer.kernel).std() == pytest.approx(1.0, rel=0.03)
        assert y.std() == pytest.approx(1.0, rel=0.1)


def test_convolution_without_bias_has_a_kernel_only():
    layer = layers.EqualizedConv(4, use_bias=False)
    layer.build((None, 8, 8, 3))
    assert [tuple(w.shape) for w in layer.weights] == [(3, 3, 3, 4)]


def test_equalised_dense_by_hand():
    layer = layers.EqualizedDense(5, gain=2**0.5, bias_start=-1.0)
    x = _normal(3, 8)
    got = layer(x)
    expected = x @ (ops.convert_to_numpy(layer.kernel) * (2 / 8) ** 0.5) - 1.0
    np.testing.assert_allclose(got, expected, atol=1e-5)


# --- Normalisation ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (3, 2, 3, 4, 6)], ids=["2d", "3d"])
def test_adaptive_instance_norm_by_hand(shape):
    layer = layers.AdaptiveInstanceNorm(6)
    x, style = 3 * _normal(*shape) + 1, _normal(3, 7)
    got = layer([x, style])
    affine = ops.convert_to_numpy(layer.affine(style)).astype(np.float64)
    axes = tuple(range(1, x.ndim - 1))
    mean, std = x.mean(axes, keepdims=True), np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    spread = (slice(None), *[None] * len(axes))
    expected = (1 + affine[:, :6][spread]) * (x - mean) / std + affine[:, 6:][spread]
    np.testing.assert_allclose(got, expected, atol=1e-4)


def _spread_of(group):
    return np.sqrt(group.astype(np.float64).var(axis=0) + 1e-8).mean()


@pytest.mark.parametrize("batch, group", [(8, 4), (4, 4), (6, 2), (2, 2), (3, 1), (1, 1)])
def test_minibatch_deviation_of_groups_of_neighbours(batch, group):
    x = _normal(batch, 3, 3, 5)
    got = ops.convert_to_numpy(layers.MinibatchStandardDeviation()(x))
    np.testing.assert_array_equal(got[..., :-1], x)
    for start in range(0, batch, group):
        own = slice(start, start + group)
        np.testing.assert_allclose(got[own, ..., -1], _spread_of(x[own]), rtol=1e-4)


def test_minibatch_deviation_does_not_know_how_groups_are_spread_over_devices():
    x, layer = _normal(12, 3, 3, 5), layers.MinibatchStandardDeviation()
    parts = [layer(x[:4]), layer(x[4:12])]
    np.testing.assert_allclose(ops.concatenate(parts), layer(x), atol=1e-6)


def test_channel_statistics_are_means_and_logarithms_of_deviations():
    x = np.random.default_rng(4).normal(size=(2, 5, 3, 40)).astype(np.float32)
    x[1, :, :, 7] = 2.5
    found = ops.convert_to_numpy(layers.channel_statistics(x))
    first = x[..., : layers.MOST_CHANNELS].astype(float)
    wanted = [first.mean(axis=(1, 2)), np.log(first.std(axis=(1, 2)) + 0.1)]
    np.testing.assert_allclose(found, np.concatenate(wanted, axis=1), atol=2e-2)
    assert found.shape == (2, 2 * layers.MOST_CHANNELS) and found[1, 7] == pytest.approx(2.5)
    turned = ops.convert_to_numpy(layers.channel_statistics(x[:, ::-1]))
    np.testing.assert_allclose(turned, found, atol=1e-5)  # not of places


def test_pixel_norm_gives_unit_mean_square():
    x = 7 * _normal(3, 9)
    expected = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True))
    np.testing.assert_allclose(layers.pixel_norm(x), expected, atol=1e-5)
    assert np.isfinite(layers.pixel_norm(np.zeros((1, 4), np.float32))).all()


def test_leaky_relu_has_slope_a_fifth():
    np.testing.assert_allclose(layers.leaky_relu(np.array([-5.0, 5.0])), [-1, 5], atol=1e-6)
