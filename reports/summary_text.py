"""A study's report in Markdown, summary.md: to paste into an issue, or into a paper's appendix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.analysis.frontier import hypervolume
from reports.answer import BESIDE, Rival, answer
from reports.caveats import caveats, unfinished
from reports.formatting import NONE, STATE_LABELS, duration, label, percent, setting, signed, with_interval
from reports.markdown import bullets, code_block, escaped, table
from reports.study_folder import FreshScores, Study
from reports.tables import front_rows
from reports.trial_table import trial_costs

TESTED = "Test scores are means over fresh seeds with their 95% intervals, on images not used for tuning."


def summary_text(study: Study) -> str:
    """The whole file."""
    return "\n\n".join(_parts(study)) + "\n"


def _parts(study: Study) -> Iterator[str]:
    summary, found = study.summary, answer(study)
    yield f"# NAD study {escaped(study.name)}"
    states = (f"{study.count(state)} {name}" for state, name in STATE_LABELS.items() if study.count(state))
    yield escaped(
        f"{summary.attack} attack on {summary.dataset}, {summary.model}, seed {summary.seed};"
        f" trials: {', '.join(states)}."
    )
    warning = unfinished(study)
    if warning:
        yield f"**{escaped(warning)}**"
    if study.stopped:
        yield escaped(study.stopped)
    yield "## The answer"
    yield escaped(found.headline)
    yield from (escaped(reason) for reason in found.reasons)
    if found.beside:
        yield escaped(BESIDE)
        yield bullets(found.beside)
    if found.params:
        yield table(("setting", "value"), found.params.items())
    yield "## Against no defence and the controls"
    yield _controls(found.rivals, unbalanced=study.unbalanced)
    yield "ΔACC: points above or below the victim’s." + (f" {TESTED}" if study.confirmed else "")
    if len(study.complete):
        yield "## The front"
        yield _front(study)
        volume = hypervolume(trial_costs(study.reliable))
        yield f"Hypervolume {volume:.4f}: the share of the square of ASR and ACC dominated by these settings."
    yield "## How far to trust this"
    yield bullets(caveats(study))
    yield "## How to reproduce it"
    yield code_block(summary.command, "console")
    yield bullets(_provenance(study))


def _controls(rivals: Sequence[Rival], *, unbalanced: bool) -> str:
    rows = [
        (
            rival.label,
            NONE if rival.number is None else str(rival.number),
            rival.clean_fraction,
            *_scores(rival.scores.asr, rival.scores.acc, rival.acc_change, rival.test),
            *([_balanced(rival)] if unbalanced else []),
        )
        for rival in rivals
    ]
    heads = ("what", "setting", "clean data", *_SCORE_HEADS, *(["balanced ACC"] if unbalanced else []))
    return table(heads, rows, numeric=range(1, len(heads)))


def _balanced(rival: Rival) -> str:
    return NONE if rival.scores.balanced_acc is None else percent(rival.scores.balanced_acc)


def _front(study: Study) -> str:
    rows = []
    for row in front_rows(study):
        texts = [f"{name}: {text}" for name, text in row.setting.items()]
        notes = f" ({', '.join(row.notes)})" if row.notes else ""
        found = with_interval(row.scores.asr, row.asr_ci), with_interval(row.scores.acc, row.acc_ci)
        scores = (*found, *_scores(row.scores.asr, row.scores.acc, row.acc_change, row.test)[2:])
        rows.append((f"{row.number}{notes}", str(row.draws), *scores, "; ".join(texts)))
    return table(("setting", "draws", *_SCORE_HEADS, "values"), rows, numeric=range(1, 7))


_SCORE_HEADS = ("ASR", "ACC", "ΔACC", "test ASR", "test ACC")


def _scores(asr: float, acc: float, change: float, test: FreshScores | None) -> tuple[str, ...]:
    validation = (percent(asr), percent(acc), signed(change))
    if test is None:
        return (*validation, NONE, NONE)
    return (
        *validation,
        with_interval(test.asr, test.asr_ci),
        with_interval(test.acc, test.acc_ci),
    )


def _provenance(study: Study) -> Iterator[str]:
    """Facts a rerun must share, without the private name of the machine."""
    summary = study.summary
    yield f"revision {summary.git or 'not known'}, {summary.created}"
    yield f"victim: SHA-256 {summary.victim_sha256}"
    settings = ((name, value) for name, value in summary.attack_settings.items() if name != "name")
    yield f"{summary.attack}: " + ", ".join(f"{label(name)} {setting(name, value)}" for name, value in settings)
    yield "time: " + ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in summary.seconds.items())
    yield "versions: " + ", ".join(f"{name} {version}" for name, version in summary.versions.items())
