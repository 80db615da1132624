"""The picture of a report on variants."""

from pathlib import Path

# Told apart without colours as well; a file's colour is the same in both parts.
_COLORS = ("#1b5fa8", "#d98c21", "#3a8f5c", "#b3261e", "#7a4fa3", "#5f6b76")
_MARKERS = "osD^vP"
_LINE = "#9aa3ad"


def draw_variants(report, path: Path) -> None:
    """Draws accuracy against latency, and the sizes, into a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    scatter, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_front(scatter, report)
    _draw_sizes(bars, report.variants)
    where = f" of {report.data}, {report.split}" if report.data else ""
    figure.suptitle(f"{report.model} on {report.images:,} images{where}", fontsize=12)
    figure.savefig(path, dpi=130, format="png")


def _draw_front(axes, report) -> None:
    threads = next(iter(report.variants[0].latency))
    axes.axhline(
        100 * report.model_accuracy,
        color=_LINE,
        linewidth=0.9,
        linestyle="--",
        label="the Keras model",
    )
    places = [(1000 * v.latency[threads], 100 * v.accuracy) for v in report.variants]
    front = sorted(
        place
        for place, variant in zip(places, report.variants, strict=True)
        if variant.on_front
    )
    axes.step(
        *zip(*front, strict=True),
        where="post",
        color=_LINE,
        linewidth=1.2,
        label="Pareto front",
    )
    for number, (variant, place) in enumerate(
        zip(report.variants, places, strict=True)
    ):
        axes.plot(
            *place,
            _MARKERS[number % len(_MARKERS)],
            markeredgecolor=_COLORS[number % len(_COLORS)],
            markerfacecolor="none",
            markeredgewidth=2,
            markersize=10,
            label=variant.name + (" (on the front)" if variant.on_front else ""),
        )
    axes.margins(0.1, 0.2)
    axes.set_xlim(left=0)
    word = "thread" if threads == 1 else "threads"
    axes.set_xlabel(f"latency of one image, ms ({threads} {word})")
    axes.set_ylabel("top-1 accuracy, %")
    axes.set_title("Accuracy against latency", fontsize=10)
    axes.legend(fontsize=8, loc="best", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_sizes(axes, variants) -> None:
    names = [variant.name for variant in variants]
    sizes = [variant.size_bytes / 1e6 for variant in variants]
    colors = [_COLORS[number % len(_COLORS)] for number in range(len(names))]
    drawn = axes.barh(names, sizes, color=colors, height=0.6)
    axes.bar_label(drawn, fmt=" %.2f", fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("size, MB")
    axes.set_title("Size of the file", fontsize=10)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
