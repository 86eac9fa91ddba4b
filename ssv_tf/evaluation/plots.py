"""Plots of a score as PNG bytes, for reports. Each function draws one figure and keeps no state."""

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ssv_tf import viewpoint
from ssv_tf.evaluation import metrics

# Okabe and Ito's colours, told apart by the colour-blind.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#767676"
_LINE_COLOURS = (BLUE, RED, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#000000", GREY)
_OUTER, _INNER = 1.0, 0.72  # radii of the ring's true and predicted azimuths
_CIRCLE_TICKS = range(-180, 181, 90)


def azimuth_scatter(predicted_deg: np.ndarray, true_deg: np.ndarray) -> bytes:
    """Predicted over true azimuth [pictures]: right answers on the line, half circles dashed."""
    figure, axes = _figure(5.2, 5.0)
    line = np.array([-180.0, 180.0])
    for turn in (-360, 0, 360):
        axes.fill_between(line, line + turn - 30, line + turn + 30, color=GREEN, alpha=0.15, lw=0)
        axes.plot(line, line + turn, color=GREEN, lw=1.5, label=None if turn else "right (±30°)")
    for turn in (-180, 180):
        label = "half a circle off" if turn > 0 else None
        axes.plot(line, line + turn, color=RED, lw=1.2, ls="--", label=label)
    wrapped = viewpoint.wrap_deg(true_deg), viewpoint.wrap_deg(predicted_deg)
    axes.scatter(*wrapped, s=9, alpha=0.5, color=BLUE, lw=0)
    _circle_axis(axes.xaxis)
    _circle_axis(axes.yaxis)
    axes.set(xlim=(-180, 180), ylim=(-180, 180), aspect="equal")
    axes.set(xlabel="true azimuth (degrees)", ylabel="predicted azimuth (degrees)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2, frameon=False)
    return _png(figure)


def azimuth_ring(predicted_deg: np.ndarray, true_deg: np.ndarray) -> bytes:
    """Predicted against true azimuth [pictures] on a ring around the object, seen from above.

    The camera goes around the object: a picture's true azimuth is a dot on the outer ring, and a
    line goes to its predicted azimuth on the inner one. Short green lines are right (within 30
    degrees), red ones are not; those through the middle take one end for the other.
    """
    figure, axes = _figure(5.2, 5.2)
    right = metrics.error_deg(predicted_deg, true_deg) <= metrics.LARGE_DEG
    ends = (_on_ring(true_deg, _OUTER), _on_ring(predicted_deg, _INNER))
    lines = np.stack(ends, axis=1)  # [pictures, end, xy]
    alpha = float(np.clip(60 / max(len(lines), 1), 0.08, 0.7))
    for here, colour in ((right, GREEN), (~right, RED)):
        axes.add_collection(
            LineCollection(list(lines[here]), colors=colour, alpha=alpha, linewidths=1.2)
        )
        axes.scatter(*lines[here, 0].T, s=8, color=colour, lw=0, alpha=min(1.0, 2 * alpha))
    turn = np.linspace(0, 360, 181)
    for radius in (_OUTER, _INNER):
        axes.plot(*_on_ring(turn, radius).T, color=GREY, lw=0.8)
    for degrees, word in ((0, "front 0°"), (90, "90°"), (180, "rear 180°"), (-90, "-90°")):
        axes.annotate(word, _on_ring(np.array([degrees]), 1.12)[0], ha="center", va="center")
    share = 100 * right.mean()
    axes.set_title(f"{share:.0f} % within 30°; outer ring true, inner ring predicted", fontsize=10)
    axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    axes.set_axis_off()
    return _png(figure)


def _on_ring(degrees: np.ndarray, radius: float) -> np.ndarray:
    """Where the camera stands, [n, xy], around an object whose front looks down the page."""
    angles_deg = np.stack([degrees, 0 * degrees, 0 * degrees], axis=-1)
    towards = viewpoint.rotation_matrix(np.radians(angles_deg))[:, :, 2]  # camera, to the object
    return radius * towards[:, [0, 2]] * (1, -1)  # the object's left is right, its front down


def error_histograms(errors_deg: np.ndarray) -> bytes:
    """Distribution of the absolute error of each angle; errors [pictures, 3], NaN is left out."""
    known = viewpoint.known(errors_deg)
    columns = np.flatnonzero(known.any(axis=0))
    figure = Figure(figsize=(5.2, 0.4 + 2.0 * len(columns)), layout="constrained")
    for row, i in enumerate(columns, start=1):
        name = viewpoint.ANGLES[i]
        axes = figure.add_subplot(len(columns), 1, row)
        errors = errors_deg[known[:, i], i]
        last = 180.0 if i == 0 else max(5.0, float(np.ceil(errors.max() / 5) * 5))
        axes.hist(errors, bins=36, range=(0, last), color=BLUE, alpha=0.85)
        median = float(np.median(errors))
        axes.axvline(median, color=RED, lw=1.8, label=f"median {median:.1f}°")
        axes.set(xlim=(0, last), xlabel=f"{name} error (degrees)", ylabel="pictures")
        axes.legend(frameon=False)
        _tidy(axes)
    return _png(figure)


def bin_errors(bins: Sequence[dict[str, Any]]) -> bytes:
    """Median azimuth error by true azimuth, from `metrics.azimuth_bins`, with picture counts."""
    figure, axes = _figure(5.2, 3.6)
    centres = [(row["from_deg"] + row["to_deg"]) / 2 for row in bins]
    heights = [row["median_error_deg"] or 0.0 for row in bins]
    axes.bar(centres, heights, width=0.86 * metrics.BIN_DEG, color=BLUE)
    for row, centre, height in zip(bins, centres, heights, strict=True):
        axes.annotate(
            str(row["pictures"]), (centre, height), (0, 2), textcoords="offset points",
            ha="center", fontsize=8, color="#333333",
        )  # fmt: skip
    axes.axhline(90, color=RED, ls="--", lw=1.2, label="random guess")
    _circle_axis(axes.xaxis)
    axes.set(xlim=(-180, 180), ylim=(0, max(100.0, 1.12 * max(heights))))
    axes.set(xlabel="true azimuth (degrees)", ylabel="median error (degrees)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), frameon=False)
    return _png(figure)


def confusion(counts: Sequence[Sequence[int]]) -> bytes:
    """Counts by quadrant, coloured by the share of each true quadrant [4, 4]."""
    table = np.asarray(counts)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure(4.6, 4.2)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(table.shape):
        axes.text(
            column, row, f"{table[row, column]}\n{100 * shares[row, column]:.0f} %",
            ha="center", va="center", color="white" if shares[row, column] > 0.55 else "black",
        )  # fmt: skip
    axes.set_xticks(range(4), metrics.QUADRANTS)
    axes.set_yticks(range(4), metrics.QUADRANTS)
    axes.set(xlabel="predicted side seen", ylabel="true side seen")
    return _png(figure)


def reliability(bins: Sequence[dict[str, Any]]) -> bytes:
    """Share of right azimuths over confidence, from `confidence.reliability`'s bins."""
    figure, axes = _figure(4.6, 4.2)
    axes.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.2, label="calibrated")
    points = [(row["confidence"], row["right"]) for row in bins]
    axes.plot(*zip(*points, strict=True), color=BLUE, marker="o", lw=1.3, label="measured")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share that is right")
    axes.legend(frameon=False)
    return _png(figure)


def risk_coverage(rows: Sequence[dict[str, float]]) -> bytes:
    """Median error and share right of the surest answers, from `confidence.risk_coverage`."""
    figure, axes = _figure(5.2, 3.6)
    coverage = [row["coverage"] for row in rows]
    axes.plot(coverage, [row["median_error_deg"] for row in rows], color=BLUE, marker="o")
    axes.set(xlabel="share of pictures answered, the surest first", xlim=(0, 1.02))
    axes.set(ylim=(0, None))
    axes.set_ylabel("median azimuth error (degrees)", color=BLUE)
    right = axes.twinx()
    right.plot(coverage, [1 - row["right"] for row in rows], color=RED, marker="s")
    right.set(ylim=(0, None))
    right.set_ylabel("share that is wrong", color=RED)
    right.spines[["top"]].set_visible(False)
    return _png(figure)


def azimuth_histograms(predicted_deg: np.ndarray, true_deg: np.ndarray) -> bytes:
    """Shares of predicted beside true azimuths, by 30 degrees: a collapse shows at once."""
    figure, axes = _figure(5.2, 3.4)
    edges = np.arange(-180, 181, metrics.BIN_DEG)
    centres, width = edges[:-1] + metrics.BIN_DEG / 2, 0.42 * metrics.BIN_DEG
    for angles, shift, colour, label in (
        (true_deg, -0.5, GREY, "true"),
        (predicted_deg, 0.5, BLUE, "predicted"),
    ):
        counts, _ = np.histogram(viewpoint.wrap_deg(angles), edges)
        share = counts / max(len(angles), 1)
        axes.bar(centres + shift * width, share, width, color=colour, label=label)
    _circle_axis(axes.xaxis)
    axes.set(xlim=(-180, 180), xlabel="azimuth (degrees)", ylabel="share of pictures")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=2, frameon=False)
    return _png(figure)


def training_curve(records: Sequence[dict[str, Any]]) -> bytes | None:
    """Scores, health and losses over steps, from the lines of metrics.jsonl; None without any."""
    scores = _series(records, "score", lambda name: name.endswith("_deg"))
    health = _series(records, "health", lambda name: not name.endswith("_deg") and name != "step")
    losses = _series(records, "train", lambda name: name.startswith(("v_", "s_")))
    offered = ("error (degrees)", scores), ("health, no label", health), ("loss (mean)", losses)
    panels = [panel for panel in offered if panel[1]]
    if not panels:
        return None
    figure = Figure(figsize=(5.2, 3.4 * len(panels)), layout="constrained")
    for row, (label, lines) in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, row)
        for i, (name, points) in enumerate(lines.items()):
            # The colours come round again as dashes.
            axes.plot(
                *zip(*points, strict=True), lw=1.3, ms=3, marker="o" if len(points) < 40 else None,
                color=_LINE_COLOURS[i % len(_LINE_COLOURS)], label=name.replace("_", " "),
                ls="--" if i >= len(_LINE_COLOURS) else "-",
            )  # fmt: skip
        axes.set(xlabel="step", ylabel=label, ylim=(0, None) if label[0] == "e" else None)
        axes.legend(
            fontsize=7, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2)
        )
        _tidy(axes)
    return _png(figure)


def _series(
    records: Iterable[dict[str, Any]], kind: str, wanted: Callable[[str], bool]
) -> dict[str, list[tuple[float, float]]]:
    """(step, value) of each finite number of the lines of a kind, by name."""
    series: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        step = record.get("step")
        if not isinstance(step, (int, float)) or record.get("kind") != kind:
            continue
        for name, value in record.items():
            if wanted(name) and isinstance(value, (int, float)) and np.isfinite(value):
                series.setdefault(name, []).append((step, value))
    return series


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    _tidy(axes)
    return figure, axes


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _circle_axis(axis: Any) -> None:
    axis.set_ticks(_CIRCLE_TICKS)


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, facecolor="white")
    return stream.getvalue()
