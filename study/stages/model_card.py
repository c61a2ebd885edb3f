"""Model cards in Markdown: the setting, the scores, and wrong conclusions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from reports.formatting import percent, readable_params, seeds, wanted_class, with_interval

Summary = Mapping[str, Any]


ScoreKind = Literal["accuracy", "ASR"]


class Score(NamedTuple):
    """A model before and after the work; shares in [0, 1]."""

    kind: ScoreKind
    images: str
    """What they are, for people."""
    before: float
    after: float


LIMITS = (
    "An erase lowers the success of one trigger; it proves nothing about triggers that were not tried.",
    "The search saw triggered validation images. No real defender enjoys that: who does not know the trigger has none,"
    " and could not have picked this setting by its attack success rate.",
    "The setting was tuned on this attack, this victim and these images; elsewhere it may do nothing, or ruin a model.",
    "The victim was backdoored on purpose, to study the defence. Do not put this model to use.",
)


def of_recommended(
    summary: Summary, measured: Mapping[str, float], recorded: Mapping[str, float], seed: int, digest: str
) -> str:
    """The card of a study's recommended model.

    summary: contents of summary.json.  measured: this model's validation scores.  recorded: its trial's.  seed: too.
    digest: sha256 of its weights.
    """
    point, victim = summary["recommended"], _no_defence(summary)
    return _card(
        f"Erased model of the study {summary['study']}",
        [
            f"A {summary['model']} with a backdoor, which Neural Attention Distillation was to erase: the student of"
            f" trial {point['number']}, the study's recommended setting. {point['why']}",
        ],
        {
            "attack": _settings(summary["attack_settings"]),
            "data set": f"{summary['dataset']}, {summary['counts']['train']:,} training images",
            "victim": f"sha256 {summary['victim_sha256']}",
            **_own_teacher(summary.get("teacher_sha256")),
            "setting": _settings(readable_params(point["params"])),
            "seeds": f"study {summary['seed']}, trial {seed}",
            "this model": f"sha256 {digest}",
            "made with": _settings(summary["versions"]),
            "revision, machine": f"{summary['git'] or 'unknown'}, {summary['host']}",
            "command": summary["command"],
        },
        {
            "Scores": [
                _table(("", "ASR", "ACC", "images, runs"), _score_rows(summary, measured)),
                _what_scores_are(summary["attack_settings"]),
                "Validation scores are what the search optimised: the best of many noisy runs looks better than it is."
                f" {_reproduced(measured, recorded)}",
                _test_sentence(point["test"], victim.get("test")),
                *_clean_sentences(point.get("clean_model")),
            ],
            "What not to conclude": [_bullets(LIMITS)],
            "Licence": [_licence(summary["dataset"])],
        },
    )


def _own_teacher(digest: str | None) -> dict[str, str]:
    return {} if digest is None else {"teacher": f"from a file, sha256 {digest}"}


def of_none(summary: Summary) -> str:
    """The text instead of a card, without a kept model of the recommended setting.

    summary: contents of summary.json.
    """
    point = summary["recommended"]
    blocks = [
        f"# No erased model of the study {summary['study']}",
        f"The study recommends the setting of trial {point['number']}, whose model is not kept: the study ended before"
        " it was made, or the trial diverged when it was run again. The study's command makes it where it is missing.",
        _table(("", ""), [("setting", _settings(readable_params(point["params"]))), ("command", summary["command"])]),
    ]
    return "\n\n".join(blocks) + "\n"


def of_applied(facts: Mapping[str, str], scores: Sequence[Score]) -> str:
    """The card of a model erased with a setting from a study.  facts: by name."""
    opening = "A model after Neural Attention Distillation, with a setting that a study found on another model."
    return _of_own("Erased model", opening, facts, scores, LIMITS[1:3])


def of_defended(defence: str, facts: Mapping[str, str], scores: Sequence[Score]) -> str:
    """The card of a model after another defence; facts and scores likewise."""
    return _of_own("Defended model", f"A model after the defence {defence}.", facts, scores, ())


def _of_own(
    title: str,
    opening: str,
    facts: Mapping[str, str],
    scores: Sequence[Score],
    limits: Sequence[str],
) -> str:
    accuracies, asrs = (_before_and_after(scores, kind) for kind in ("accuracy", "ASR"))
    of_backdoor = (
        "ASR is of the one trigger above: it proves nothing about triggers that were not tried."
        if asrs
        else "Whether a backdoor is gone was not measured: that takes triggered images."
    )
    return _card(
        title,
        [opening],
        facts,
        {
            "Scores": [
                accuracies,
                "Accuracy on images that the defence trained on says little; test images it never saw.",
                asrs,
            ],
            "What not to conclude": [
                _bullets(
                    (
                        of_backdoor,
                        "An unchanged accuracy says nothing of a backdoor: a backdoored model is accurate too.",
                        *limits,
                    )
                )
            ],
            "Licence": ["The licence of the tool does not cover the model: that of the model you gave does."],
        },
    )


def _before_and_after(scores: Sequence[Score], kind: str) -> str:
    """The table of the scores of this kind; empty without any."""
    rows = [(each.images, percent(each.before), percent(each.after)) for each in scores if each.kind == kind]
    return _table(("images", f"{kind} before", f"{kind} after"), rows) if rows else ""


def _card(title: str, opening: Sequence[str], facts: Mapping[str, str], parts: Mapping[str, Sequence[str]]) -> str:
    blocks = [f"# {title}", *opening, "## What was done", _table(("", ""), list(facts.items()))]
    for heading, paragraphs in parts.items():
        blocks += [f"## {heading}", *paragraphs]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text on one line, escaped: it cannot leave its cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    )


def _no_defence(summary: Summary) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(control for control in summary["controls"] if control["name"] == "no-defence")
    return found


def _what_scores_are(attack_settings: Mapping[str, Any]) -> str:
    others = "" if attack_settings.get("label_mode") == "all-to-all" else ", true class not the target,"
    return (
        f"ASR: share of triggered images{others} that are given {wanted_class(attack_settings)} (lower is better). ACC:"
        " share of clean images that are given their true class."
    )


def _score_rows(summary: Summary, measured: Mapping[str, float]) -> list[tuple[str, str, str, str]]:
    point, victim = summary["recommended"], _no_defence(summary)
    validation = f"validation, {summary['counts']['validation']:,}, one run"
    rows = [
        ("victim", percent(victim["validation"]["asr"]), percent(victim["validation"]["acc"]), validation),
        ("this model", percent(measured["asr"]), percent(measured["acc"]), validation),
    ]
    images = f"test, {summary['counts']['test']:,}"
    for name, test in (("victim", victim.get("test")), ("the same setting", point["test"])):
        if test and test["seeds"]:
            asr, acc = (with_interval(test[score], test[f"{score}_ci"]) for score in ("asr", "acc"))
            rows.append((name, asr, acc, f"{images}, {'one run' if name == 'victim' else seeds(test['seeds'])}"))
    return rows


def _reproduced(measured: Mapping[str, float], recorded: Mapping[str, float]) -> str:
    if all(measured[name] == recorded[name] for name in ("asr", "acc")):
        return "This model was made by running the trial again, and its scores equal the record's to the last digit."
    return differs(measured, recorded)


def differs(measured: Mapping[str, float], recorded: Mapping[str, float]) -> str:
    """The sentence for a trial with other scores when run again."""
    return (
        f"The recommended trial, run again, has {percent(measured['asr'], 2)} ASR and {percent(measured['acc'], 2)} ACC"
        f" on the validation images, where the record has {percent(recorded['asr'], 2)} and"
        f" {percent(recorded['acc'], 2)}: another kind of machine takes its sums in another order."
    )


def _test_sentence(test: Mapping[str, Any] | None, victim: Mapping[str, Any] | None) -> str:
    if not test or not victim or not test["seeds"]:
        return "The setting was not confirmed on test images: expect it to be worse when it is run again."
    return (
        "Test scores are of the setting, not of this file: it was run again with fresh seeds by defenders with other"
        " clean images, and scored on images that nothing was tuned on. In brackets: 95% intervals. They are what to"
        " expect of the setting."
    )


def _clean_sentences(clean: Mapping[str, Any] | None) -> list[str]:
    if not clean or clean["acc_change"] is None:
        return []
    before, after = clean["before"], clean["after"]
    return [
        f"On a clean model of the same recipe the same erase takes test ACC from {percent(before['acc'])} to"
        f" {percent(after['acc'])} ({seeds(after['seeds'])}): that is what it does where there is no backdoor."
    ]


def _licence(dataset: str) -> str:
    where = (
        "Fashion-MNIST is under the MIT licence of Zalando SE; Refool's photographs come from scikit-image."
        if dataset == "fashion-c"
        else "Read their terms before you pass this file on."
    )
    return (
        "The tool is under Apache-2.0. It sets no terms for this model; what the images it was trained on allow"
        f" may bind it. {where}"
    )
