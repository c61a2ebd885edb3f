"""Limits of a study's scores, and its missing runs, in sentences."""

from __future__ import annotations

from reports.formatting import percent
from reports.study_folder import Study


def unfinished(study: Study) -> str | None:
    """One sentence about missing trials or fresh runs, or None for a finished study."""
    left = what_is_left(study)
    return None if left is None else f"This study is unfinished: {left}. All of this may still change."


def what_is_left(study: Study) -> str | None:
    """How far an unfinished study is."""
    wanted, running, pruned = study.summary.wanted_trials, study.count("RUNNING"), study.count("PRUNED")
    if running or (study.done < wanted and not study.stopped):
        others = "".join(f", {count} {word}" for count, word in ((pruned, "pruned"), (running, "running")) if count)
        return f"{len(study.complete)} of {wanted} wanted trials are complete{others}"
    for part, work in (("baselines", study.summary.baselines), ("confirmation", study.summary.confirmation)):
        if work is not None and work.done < work.runs:
            return f"{work.done} of {work.runs} runs of its {part} are done"
    return None


def caveats(study: Study) -> tuple[str, ...]:
    """Limits of the scores on the page."""
    count = study.summary.counts.get("validation")
    images = f" ({count:,} images)" if isinstance(count, int) else ""
    named = [study.victim, *study.controls, *([study.recommended] if study.recommended else [])]
    scores = "Scores without the word test were" if any(point.test for point in named) else "Every score was"
    if study.recommended is None:
        end = ""
    elif study.recommended.test:
        end = ": expect the test scores of the recommended setting"
    else:
        end = ": expect the recommended setting to be worse when rerun"
    return (
        f"{scores} measured on the validation split{images}, the search's objective,"
        f" {'each an estimate over fresh draws' if study.estimated else 'in one run each'}."
        f" The best of many looks better than it is{end}.",
        "The search could see triggered images. A defender without the trigger has none, and could not pick this"
        " setting by its ASR.",
        *_unbalanced(study),
        *(_UNKNOWN_TRAINING if study.summary.victim_file else ()),
    )


_UNKNOWN_TRAINING = (
    "The victim came from a file, and its training images are unknown. They may include the validation images or the"
    " defender’s. Then ACC on them, for the victim and for every setting, is higher than on unseen images.",
)


def _unbalanced(study: Study) -> tuple[str, ...]:
    """Accuracy of guessing one class, for unbalanced classes."""
    guess = study.summary.guess
    if guess is None or not study.unbalanced:
        return ()
    return (
        f"The classes are unbalanced: one answer for every validation image has {percent(guess.acc)} accuracy. So"
        " balanced accuracy, the mean over the classes, bounds the loss, too. A model with at most"
        f" {percent(guess.balanced_acc)} of it only guesses and is not recommended.",
    )
