"""One self-contained HTML page about a score: numbers, plots and pictures, nothing from outside."""

import base64
import html
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssv_tf import config, viewpoint
from ssv_tf.evaluation import calibration, confidence, drawing, ends, metrics, plots

_PICTURE_SIDE = 160  # pixels; the pictures may be private, so no more than V saw is shown
_LARGEST_TURNTABLE = 8_000_000  # bytes
_STORY_PICTURES = 4  # best and worst ones at the page's head, of each

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;margin:0 auto;
 padding:1rem;max-width:70rem}
h1{font-size:1.5rem;line-height:1.2}h2{font-size:1.15rem;margin:2rem 0 .5rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}tr.own td{font-weight:600}
.words td:last-child,.words th:last-child{text-align:left;white-space:normal;min-width:16rem}
.story{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,28rem),1fr));gap:1rem;
 align-items:start}.story .pictures{grid-template-columns:repeat(auto-fill,minmax(6.5rem,1fr))}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1rem}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.75rem}
figure{margin:0}img{max-width:100%;height:auto}figcaption{font-size:.85rem;color:#444;
 overflow-wrap:anywhere}.large{font-size:1.1rem}
"""


def build(
    folder: Path,
    options: config.Options,
    outcome: Any,
    pictures: int = 12,
    seed: int = 0,
    redraw: Callable[[np.ndarray], np.ndarray] | None = None,
) -> str:
    """The page.

    Args:
      folder: the run folder; its turntable and metrics.jsonl are shown where it has them.
      options: the run's settings.
      outcome: what `scoring.evaluate` returned, `result` with the key "run".
      pictures: worst and random pictures shown, of each; 0 shows none and names none.
      seed: draws the random ones.
      redraw: what S draws of pictures, uint8 [n, R, R, 3] -> the same; None: no S.

    Returns:
      HTML text.
    """
    result = outcome.result
    training = result.get("training", options.training)
    mark = "" if training == config.SELF_SUPERVISED else f", {training}"
    title = f"Viewpoint score of {result['run']}{mark}"
    sections = [
        f"<h1>{_text(title)}</h1>",
        _summary(result),
        _story(outcome, min(pictures, _STORY_PICTURES), redraw),
        _section("Numbers", _numbers(result)),
        _section("Azimuth", _plots(outcome)),
        _confidence_section(result.get("confidence")),
        _turntable(folder),
        _health(folder),
        _training(folder),
        _examples(outcome, pictures, seed),
        _section("Calibration", _calibration(result["calibration"])),
        _section("Settings of the run", _settings(options.flat())),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(filter(None, sections))}</body></html>\n"
    )


def _summary(result: dict[str, Any]) -> str:
    condition = f" where {result['where']}" if result.get("where") else ""
    mirrored = ", each averaged with its mirror image" if result["mirror_average"] else ""
    return (
        f"{_headline(result['azimuth'])}{_doubts(result)}"
        f"<p>{result['pictures']} pictures of {_text(result.get('data', ''))}{_text(condition)}"
        f"{mirrored}; {result['skipped']} could not be used. Calibrated on "
        f"{result['calibrated_on']} others. The constant was fitted on "
        f"{_text(result['baseline_fitted_on'])}. Convention: {_text(result['convention'])}.</p>"
    )


def _headline(azimuth: dict[str, Any]) -> str:
    if "interval_95" not in azimuth:
        return '<p class="large">No picture has a label of azimuth.</p>'
    low, high = azimuth["interval_95"]["median_error_deg"]
    text = (
        f'<p class="large">Median azimuth error <b>{azimuth["median_error_deg"]:.1f}°</b> '
        f"(95 % interval {low:.1f} to {high:.1f}), within 30°: "
        f"<b>{100 * azimuth['within_30']:.0f} %</b>. Best constant answer: "
        f"{azimuth['baseline']['median_error_deg']:.1f}° and "
        f"{100 * azimuth['baseline']['within_30']:.0f} %."
    )
    if "front_rear" in azimuth:
        front_rear, commoner = azimuth["front_rear"], azimuth["commoner_end"]
        text += (
            f" Front told from rear, balanced: <b>{front_rear['balanced_accuracy']:.2f}</b> "
            f"(0.50 is a coin); always called {commoner['end']}, "
            f"{100 * commoner['within_30']:.0f} % are "
            "within 30°."
        )
    return f"{text}</p>"


def _story(outcome: Any, count: int, redraw: Callable[[np.ndarray], np.ndarray] | None) -> str:
    """The score in one look: the ring, and the best and worst pictures beside S's drawings."""
    predicted, true = outcome.predicted_deg[:, 0], np.asarray(outcome.test.angles_deg)[:, 0]
    known = np.flatnonzero(viewpoint.known(true))
    if not len(known):
        return ""
    ring = plots.azimuth_ring(predicted[known], true[known])
    caption = "Around the object, seen from above: lines through the middle take front for rear."
    errors = metrics.error_deg(predicted[known], true[known], outcome.test.label_tolerance_deg)
    order = known[np.argsort(errors, kind="stable")]
    groups = (("Best", order[:count]), ("Worst", order[::-1][:count])) if count else ()
    shown = "".join(
        f"<h2>{heading}{' and what S draws of them' if redraw else ''}</h2>"
        f'<div class="pictures">{_pairs(outcome, indices, redraw)}</div>'
        for heading, indices in groups
    )
    return f'<div class="story">{_figure(ring, "png", caption)}<div>{shown}</div></div>'


def _pairs(
    outcome: Any, indices: np.ndarray, redraw: Callable[[np.ndarray], np.ndarray] | None
) -> str:
    """Pictures with their axes, S's drawing of each right of it."""
    drawings = redraw(outcome.test.images[indices]) if redraw else [None] * len(indices)
    figures = []
    for i, drawing_of_it in zip(indices, drawings, strict=True):
        side = (_PICTURE_SIDE,) * 2
        image = drawing.draw_axes(outcome.test.images[i], outcome.predicted_deg[i], side)
        if drawing_of_it is not None:
            pair = Image.new("RGB", (2 * image.width, image.height), "white")
            pair.paste(image, (0, 0))
            pair.paste(Image.fromarray(drawing_of_it).resize(image.size), (image.width, 0))
            image = pair
        azimuths = outcome.predicted_deg[i, 0], outcome.test.angles_deg[i, 0]
        caption = "predicted {:.0f}°, true {:.0f}°".format(*azimuths)
        figures.append(_figure(_jpeg(image), "jpeg", caption))
    return "".join(figures)


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _doubts(result: dict[str, Any]) -> str:
    sentences = [_text(doubt) for doubt in result.get("doubts", [])]
    sentences += [f"azimuth: {_text(text)}" for text in metrics.tolerance_sentence(result)]
    unknown = [name for name in viewpoint.ANGLES if name not in metrics.scored(result)]
    if unknown:
        sentences.append(f"not scored, for want of labels: {', '.join(unknown)}")
    return f"<p><b>Doubts.</b> {'; '.join(sentences)}.</p>" if sentences else ""


def _numbers(result: dict[str, Any]) -> str:
    shares = [f"within {t}°" for t in metrics.TOLERANCES_DEG]
    rows = []
    for name in metrics.scored(result):
        scores = result[name]
        low, high = scores["interval_95"]["median_error_deg"]
        constant = scores["baseline"]
        rows.append(("own", name, f"{low:.1f} to {high:.1f}", scores))
        rows.append(("", f"best constant ({constant['constant_deg']:.0f}°)", "", constant))
        rows.append(("", "random guess", "", scores["random_guess"]))
        if "commoner_end" in scores:
            end = scores["commoner_end"]["end"]
            rows.append(("", f"own axis, always called {end}", "", scores["commoner_end"]))
    head = _row(["", "median", "mean", *shares, "95 % of the median"], cell="th")
    table = _table(head, (_row(_cells(*row[1:]), row[0]) for row in rows))
    return table + _front_rear(result["azimuth"].get("front_rear"))


def _front_rear(scores: dict[str, Any] | None) -> str:
    """Table of how well the ends are told apart, beside a coin."""
    if scores is None:
        return ""
    rows = [
        _row([title, f"{scores[key]:.3f}", "{:.3f} to {:.3f}".format(*scores["interval_95"][key]),
              f"{ends.COIN:.3f}"])
        for title, key in (("balanced accuracy", "balanced_accuracy"), ("AUC", "auc"))
    ]  # fmt: skip
    rows += [
        _row([f"{scores[count]:,} {count}, called so", f"{scores[f'{count}_right']:.3f}", "", ""])
        for count in ("fronts", "rears")
    ]
    head = _row(["front or rear", "", "95 %", "coin, constant, always one end"], cell="th")
    rule = (
        f"<p>True azimuths within {ends.END_DEG:.0f}° of 0 are fronts, within {ends.END_DEG:.0f}° "
        "of 180 rears, side views are left out; a prediction less than 90° from 0 says front.</p>"
    )
    return _table(head, rows) + rule


def _cells(label: str, interval: str, numbers: dict[str, Any]) -> list[str]:
    shares = [f"{100 * numbers[f'within_{t}']:.0f} %" for t in metrics.TOLERANCES_DEG]
    median, mean = numbers["median_error_deg"], numbers["mean_error_deg"]
    return [label, f"{median:.1f}°", f"{mean:.1f}°", *shares, interval]


def _plots(outcome: Any) -> str:
    predicted, true = outcome.predicted_deg, np.asarray(outcome.test.angles_deg)
    each = metrics.error_deg(predicted, true)
    tolerance_deg = outcome.test.label_tolerance_deg
    each[:, 0] = metrics.error_deg(predicted[:, 0], true[:, 0], tolerance_deg)
    errors = plots.error_histograms(each)
    if "large_errors" not in outcome.result["azimuth"]:
        return _figure(errors, "png", "Errors of the angles that have labels.")
    has_azimuth = viewpoint.known(true[:, 0])
    azimuth, large = outcome.result["azimuth"], outcome.result["azimuth"]["large_errors"]
    circle = predicted[has_azimuth, 0], true[has_azimuth, 0]
    figures = [
        (plots.azimuth_scatter(*circle), "Predicted over true azimuth, a dot a picture."),
        (plots.bin_errors(azimuth["bins"]),
         "Median azimuth error by true azimuth; above each bar, its pictures."),
        (plots.confusion(azimuth["confusion"]), "Side seen: true in rows, predicted in columns."),
        (plots.azimuth_histograms(*circle), "Predicted beside true azimuths: one tall bar of "
         "predictions would mean that V answers the same for all."),
        (errors, "Errors of the angles that have labels."),
    ]  # fmt: skip
    causes = (
        f"<p>{large['pictures']} azimuths are more than 30° off; of these "
        f"{100 * large['half_circle']:.0f} % lie half a circle off, "
        f"{100 * large['mirrored_front_back']:.0f} % are mirrored front-back, "
        f"{100 * large['mirrored_left_right']:.0f} % mirrored left-right, "
        f"{100 * large['other']:.0f} % none of these (a picture may count twice).</p>"
    )
    drawn = "".join(_figure(png, "png", caption) for png, caption in figures)
    return f'{causes}<div class="plots">{drawn}</div>'


def _confidence_section(score: dict[str, Any] | None) -> str:
    """Whether the confidence is a probability, and what refusing the unsure brings."""
    if not score:
        return ""
    within = f"{score['within_deg']:.0f}°{confidence.beyond(score)}"
    figures = [
        (plots.reliability(score["bins"]),
         f"Right means within {within}. A dot is a tenth of the pictures; expected calibration "
         f"error {score['expected_calibration_error']:.3f}{confidence.of_even(score)}."),
        (plots.risk_coverage(score["risk_coverage"]),
         "What is left wrong where the least sure answers are refused."),
    ]  # fmt: skip
    drawn = "".join(_figure(png, "png", caption) for png, caption in figures)
    return _section("Confidence", f'<div class="plots">{drawn}</div>')


def _turntable(folder: Path) -> str:
    """The run's newest turntable, moving if there is one."""
    paths = [p for p in folder.glob("pictures/turntable*") if p.suffix in (".gif", ".png")]
    small = [path for path in paths if path.stat().st_size <= _LARGEST_TURNTABLE]
    if not small:
        return ""
    newest = max(small, key=lambda p: (p.suffix == ".gif", p.stat().st_mtime_ns, p.name))
    caption = "Objects that S draws, turned by the viewpoint: the shape should stay one object."
    return _section("Turntable", _figure(newest.read_bytes(), newest.suffix[1:], caption))


_FORMER_SIGNALS = {"handed": "handedness", "steady": "stability"}
_HEALTH_MEANINGS = {
    "health": "0 collapsed to 1: explained above chance, times coverage",
    "explained": "share of other azimuths whose drawing is less like a real picture than the "
    "drawing from the azimuth V gives it; 0.5 is chance",
    "front_rear": "the same against the opposite azimuth alone",
    "ends": "0 to 1: the same of end-on views against the other end in the same outline, above "
    "chance, fronts and rears weighing the same; 0 where V calls nearly everything one end",
    "handedness": "the same of slanting views against their mirrored azimuth; low where S turns "
    "its object the wrong way round or has it lie across",
    "stability": "share of real pictures whose azimuth moved by less than 30 degrees since the "
    "measurement before; V that takes fronts for rears keeps changing its mind",
    "coverage": "how evenly V's azimuths of real pictures go around the circle",
    "turning": "change of a drawing with azimuth over its change with style",
    "drawn_error_deg": "median azimuth error of V on S's own pictures",
    "mirror_error_deg": "how far the azimuths of a picture and its mirror image are from mirrored",
}


def _health(folder: Path) -> str:
    """What the run measured without a label when it last looked."""
    measurements = [r for r in records(folder / "metrics.jsonl") if r.get("kind") == "health"]
    if not measurements:
        return ""
    last = measurements[-1]
    rows = [
        _row([name.replace("_", " "), f"{last[name]:.2f}", meaning])
        for name, meaning in _HEALTH_MEANINGS.items()
        if isinstance(last.get(name), (int, float))
    ]
    head = _row(["signal", f"step {last.get('step')}", "meaning"], cell="th")
    return _section("Health, measured without labels", _table(head, rows, "words"))


def _training(folder: Path) -> str:
    curve = plots.training_curve(records(folder / "metrics.jsonl"))
    if curve is None:
        return ""
    caption = "Scores on labelled pictures, health and losses over training steps."
    return _section("Training", f'<div class="plots">{_figure(curve, "png", caption)}</div>')


def renamed(record: dict[str, Any]) -> dict[str, Any]:
    """A line of a run of any version, with the names that its signals have today."""
    return {_FORMER_SIGNALS.get(name, name): value for name, value in record.items()}


def records(path: Path) -> list[dict[str, Any]]:
    """The readable lines of metrics.jsonl; a killed run may leave half a line."""
    records = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(renamed(record))
    return records


def _examples(outcome: Any, count: int, seed: int) -> str:
    if not count:
        return ""
    tolerance_deg = outcome.test.label_tolerance_deg
    azimuths = outcome.predicted_deg[:, 0], outcome.test.angles_deg[:, 0]
    errors = metrics.error_deg(*azimuths, tolerance_deg)
    worst = np.argsort(-errors, kind="stable")[:count]  # unknown ones last
    drawn = np.random.default_rng(seed).permutation(len(errors))[:count]
    return "".join(
        _section(heading, f'<div class="pictures">{_pictures(outcome, indices)}</div>')
        for heading, indices in (("Random pictures", drawn), ("Worst pictures", worst))
    )


def _pictures(outcome: Any, indices: Iterable[int]) -> str:
    figures = []
    for i in indices:
        predicted, true = outcome.predicted_deg[i], outcome.test.angles_deg[i]
        image = drawing.draw_axes(outcome.test.images[i], predicted, (_PICTURE_SIDE,) * 2)
        truth = ["unknown" if np.isnan(angle) else f"{angle:.0f}°" for angle in true]
        uncalibrated = outcome.result.get("uncalibrated", ())
        angles = (
            f"{name} {predicted_deg:.0f}°{' (not calibrated)' if name in uncalibrated else ''}, "
            f"true {true_text}"
            for name, predicted_deg, true_text in zip(
                viewpoint.ANGLES, predicted, truth, strict=True
            )
        )
        caption = f"{outcome.test.names[i]}: {'; '.join(angles)}"
        figures.append(_figure(_jpeg(image), "jpeg", caption))
    return "".join(figures)


def _calibration(data: dict[str, Any]) -> str:
    rows = []
    for name in viewpoint.ANGLES:
        entry = data[name]
        if "pictures" in entry and entry["residual_deg"] is None:
            rows.append([name, "not calibrated", "", "", f"{entry['pictures']} labels"])
            continue
        residual = entry["residual_deg"]
        beyond = data.get("label_tolerance_deg") if name == viewpoint.ANGLES[0] else None
        rest = f" beyond {beyond:g}°" if beyond else ""
        rows.append(
            [name, entry["kind"], f"{entry['scale']:.3f}", f"{entry['offset_deg']:.1f}°",
             "" if residual is None else f"{residual:.1f}°{rest}"]
        )  # fmt: skip
    head = _row(["", "kind", "scale", "offset", "median error, fitted pictures"], cell="th")
    table = _table(head, map(_row, rows))
    warp = tuple(data[viewpoint.ANGLES[0]].get("warp", calibration.NO_WARP))
    if warp == calibration.NO_WARP:
        return table
    low, high = calibration.warped(np.array([30.0, 60.0]), warp)
    return f"{table}<p>Azimuth's quarters are warped: 30° becomes {low:.0f}°, 60° {high:.0f}°.</p>"


def _settings(options: dict[str, Any]) -> str:
    head = _row(["setting", "value"], cell="th")
    rows = _table(head, (_row([name, str(value)]) for name, value in options.items()))
    return f"<details><summary>{len(options)} settings</summary>{rows}</details>"


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{_text(heading)}</h2>{content}</section>"


def _table(head: str, rows: Iterable[str], name: str = "") -> str:
    """A table; one whose last column is words, which may wrap, is named "words"."""
    body = "".join(rows)
    content = f"<thead>{head}</thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table class="{name}">{content}</table></div>'


def _row(cells: Iterable[str], name: str = "", cell: str = "td") -> str:
    joined = "".join(f"<{cell}>{_text(text)}</{cell}>" for text in cells)
    return f'<tr class="{name}">{joined}</tr>' if name else f"<tr>{joined}</tr>"


def _figure(data: bytes, kind: str, caption: str) -> str:
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    text = _text(caption)
    return f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'


def _text(value: str) -> str:
    return html.escape(str(value), quote=True)
