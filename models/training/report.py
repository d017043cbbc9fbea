"""What a training came to, as figures and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_auc_score, roc_curve

from saferank.models.training.examples import Example
from saferank.models.training.fit import Fitted
from saferank.plots import as_png, as_svg, render


def area(fitted: Fitted, truth: Sequence[bool]) -> float:
    """Area under the ROC curve of the best evaluation, 0 to 1.

    Args:
        fitted: the training.
        truth: whether each example of the validation part is of the positive class.
    """
    return float(roc_auc_score(truth, fitted.evaluations[fitted.best].probabilities))


def draw_losses(fitted: Fitted) -> Figure:
    """Losses of both parts by step, with the best evaluation marked."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    numbers = [each.step for each in fitted.evaluations]
    axes.plot(numbers, [each.training_loss for each in fitted.evaluations], "o--", label="training")
    axes.plot(
        numbers, [each.validation_loss for each in fitted.evaluations], "s-", label="validation"
    )
    axes.axvline(numbers[fitted.best], color="gray", linestyle=":", label="best")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    return figure


def draw_roc(fitted: Fitted, truth: Sequence[bool]) -> Figure:
    """The ROC curve of the best evaluation."""
    false, true, _ = roc_curve(truth, fitted.evaluations[fitted.best].probabilities)
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(false, true, drawstyle="steps-post")
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":")
    axes.set_xlabel("false alarms: share of the other classes")
    axes.set_ylabel("found: share of the positive class")
    axes.set_title(f"area {area(fitted, truth):.4f}")
    axes.grid(visible=True, alpha=0.3)
    return figure


def write_report(
    folder: Path,
    fitted: Fitted,
    validation: Sequence[Example],
    *,
    positive: int,
    facts: Mapping[str, str],
) -> Path:
    """Write ``losses.png``, ``roc.png`` and ``report.html``.

    Args:
        folder: to write to.
        fitted: the training.
        validation: the part that it was judged by.
        positive: place of the positive class.
        facts: what the page says of the training, by its heading.

    Returns:
        The path of the page.
    """
    truth = [example.label == positive for example in validation]
    losses, roc = draw_losses(fitted), draw_roc(fitted, truth)
    best = fitted.evaluations[fitted.best]
    # The examples that the net is most wrong about: mislabelled ones are among them.
    judged = sorted(
        zip(validation, best.probabilities, truth, strict=True),
        key=lambda one: one[1] if one[2] else 1 - one[1],
    )
    page = render(
        Path(__file__).with_name("report.html"),
        facts=facts,
        evaluations=fitted.evaluations,
        best=best,
        area=area(fitted, truth),
        losses=as_svg(losses),
        roc=as_svg(roc),
        hardest=judged[:20],
    )
    (folder / "losses.png").write_bytes(as_png(losses))
    (folder / "roc.png").write_bytes(as_png(roc))
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path
