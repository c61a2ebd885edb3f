"""One study's settings: frozen, validated once, and the command line made from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
import tyro
from optuna.trial import FixedTrial, FrozenTrial

import search_spaces
from nad import models
from nad.attacks import ATTACKS, Attack
from nad.attacks import make as make_attack
from nad.cores import cores
from nad.data import DATASETS
from nad.defences import DEFENCES, FineTuning
from nad.errors import ConfigError, require_range, unknown_name
from nad.models.normalisation import Normalisation
from nad.precision import PRECISIONS, Precision, computes_in_bfloat16
from nad.victim import VictimConfig
from reports.analysis.convergence import LEAST_TRIALS
from search_spaces import Domain, Point
from study.options import attack_settings
from study.options.durations import duration
from study.options.helptext import documented
from study.options.own_parts import USUAL_IMAGE_SIZE, chosen_normalisation, require_own_parts
from study.options.paths import expanded
from study.options.storage_url import masked, require_storage

BASELINES = tuple(name for name in DEFENCES if name != FineTuning.name)
"""Defences that a study can run beside its trials; fine-tuning is among the trials, as the control with beta = 0."""
MOST_WORKERS = 4096
_ADDRESS = re.compile(r"[^\s/:]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

SAMPLERS = ("tpe", "gp", "nsga2", "quasi-random", "random")
"""Names of the samplers in `study.search.samplers`."""


SAMPLERS = ("tpe", "gp", "nsga2", "quasi-random", "random")
"""How settings may be proposed; `study.search.samplers` makes them."""


@documented
@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Study how well Neural Attention Distillation erases a backdoor.

    Trains a backdoored model (or takes it from the cache, or yours from --victim), searches the settings of the erase,
    and writes a report on the frontier between attack success rate and accuracy. The same command goes on where it
    stopped; more --trials extends a finished study. `nad-study list`, `show NAME`, `stop NAME` and `resume NAME` look
    after the studies that there are; `nad-study apply --help` says how to use a setting found here on another model,
    `nad-study defend --help` how to run another defence on one.
    """

    attack: str = "refool"
    """The backdoor: badnets, blend, cl, refool, sig, trojan, or custom with a --trigger of your own. --help says more
    of the one that is given with it."""
    dataset: str = "fashion-m"
    """The images: fashion-m (comes with the tool), cifar10, gtsrb, or folder."""
    data_dir: Path | None = None
    """Where the images are: a folder with train/ and test/, each with one folder per class; or torchvision's own."""
    image_size: int | None = None
    """Images of a folder are resized to this many pixels a side. Default: what --victim says it was trained on, or
    32."""
    flip: Annotated[bool | None, tyro.conf.DisallowNone] = None
    """Train on mirrored images, too (never of gtsrb); --no-flip where a mirrored one is of another class, as of letters
    or traffic signs. Default: what --victim says it was trained on, or --flip."""
    model: str | None = None
    """The victim's architecture: wrn-DEPTH-WIDTH with 10-1, 10-2, 16-1, 16-2, 40-1 or 40-2; preact-resnet-18;
    resnet-18 or resnet-34. Default: that of --victim, or wrn-16-1."""
    teacher_model: str | None = None
    """The teachers' architecture. Default: the victim's; they are copies of it, fine-tuned on clean images. For another
    one, a second victim is trained by the same recipe and attack, and the teachers are copies of that."""

    target: int = 0
    """The label that triggered images are to be given."""
    poison_rate: float | None = None
    """Share of the victim's training images poisoned: of the target class's (clean label), else of all. Default: the
    attack's."""
    label_mode: Literal["clean", "dirty", "all-to-all"] | None = None
    """clean: only the target class is poisoned and no label changes; dirty: others are relabelled as the target;
    all-to-all: each class is relabelled as the next one, and ASR counts all images. Default: the attack's."""
    reflections: Path | None = None
    """Your own photographs for the refool attack. Default: photographs that come with scikit-image."""
    trigger: Path | None = None
    """Your own trigger for the custom attack: an image, whose alpha channel is the mask, or an npz with pattern and
    mask, and perhaps a blend_ratio."""
    attack_args: tuple[str, ...] = ()
    """Settings of the attack's own as NAME=VALUE, such as epsilon=8 steps=100."""

    victim: Path | None = None
    """A backdoored model of your own, instead of training one: what this tool, the released NAD code or BackdoorBench
    wrote, a state dict, or safetensors."""
    victim_mean: tuple[float, float, float] | None = None
    """Mean of each channel, in [0, 1], that the model in --victim was trained with. Default: what its format says."""
    victim_std: tuple[float, float, float] | None = None
    """Standard deviation of each channel, likewise."""
    trust_checkpoint: bool = False
    """Unpickle --victim in full where nothing else will do. That runs any code that its maker put into it."""
    victim_epochs: int = 16
    """Epochs of the victim's training."""
    reference: bool = False
    """Also train a clean model, and refuse a victim more than 3 points less accurate."""
    allow_weak_backdoor: bool = False
    """Study a victim whose backdoor did not take all the same."""

    space: str = "nad"
    """What may vary: nad (layers, betas, schedule, epochs, clean data); nad-steps adds batch size, nad-wide more."""
    clean_fractions: tuple[float, ...] | None = None
    """Shares of the training set that the defender may own. Default: the space's (0.01 0.05 0.1 0.2)."""
    sampler: str = "tpe"
    """How settings are proposed: tpe, gp, nsga2, quasi-random or random."""
    trials: int = 24
    """The wanted number of trials, complete or pruned, controls included."""
    prune: bool = False
    """Stop a trial that is in the worse half after 4, 8 or 16 epochs, or that still guesses after half of its own; it
    counts as one of --trials, and controls run to their end."""
    time_budget: str | None = None
    """Start no further trial after this long, such as 90s, 30m or 8h; running ones finish and count."""
    trial_timeout: str | None = None
    """End a trial that runs for longer than this, such as 20m: its process is killed, and its setting is asked again
    once. Default: no limit."""
    until_converged: bool = False
    """Stop before --trials when the front has stopped growing: when, of at least 30 complete trials, the last half
    added less than 1% to its hypervolume. The same command then starts no more trials."""
    warm_start: tuple[Path, ...] = ()
    """Folders of earlier studies, whose ten best settings are asked right after the controls; scores are not copied."""
    max_acc_drop: float = 0.03
    """The recommended setting loses at most this much accuracy against the victim; the sampler aims there too."""
    confirm: int = 3
    """Fresh seeds with which the points that matter are run again, on test images, when the trials are done; the time
    budget does not limit it. Also trains a clean model, for as long as the victim's training takes, to say what the
    recommended setting costs where there is no backdoor. 0: none."""
    baselines: tuple[str, ...] = ()
    """Other defences to run beside NAD, once at every clean fraction and again in the confirmation: fine-pruning,
    mode-connectivity, anp. None by default: the last two take many times as long as a trial. The time budget does not
    limit them, and a finished study takes them in later."""
    baseline_fractions: tuple[float, ...] | None = None
    """Run the baselines at these clean fractions alone, such as that of the recommended setting. Default: all of the
    study's."""
    seed: int = 0
    """Seeds everything: the split, the victim, the trials, the sampler."""

    output: Path = Path("runs")
    """Folder of all studies."""
    name: str | None = None
    """The study's folder in it; the same name resumes. Default: ATTACK-DATASET."""
    storage: str | None = field(default=None, repr=False)
    """Where the record is kept: postgresql+psycopg://USER@HOST/DATABASE, mysql+pymysql://USER@HOST/DATABASE,
    sqlite:///FILE, or journal:FILE for network file systems. Default: SQLite in the study's folder."""
    take_over: bool = False
    """Take over a study in a shared storage whose driver on another host may still run, or that belongs to another
    folder; a driver that does still run stops by itself."""
    fork: str | None = None
    """Start a new study of this name with the settings given here, and ask again every point that the study --name has
    completed; scores are not copied. The same command goes on with it."""
    cache: Path | None = None
    """Folder of victims, teachers and downloads. Default: this user's cache folder."""
    address: str | None = None
    """HOST:PORT of a running Ray cluster to run on, or auto for this machine's. Default: none, this machine alone."""
    wait_for_nodes: str | None = None
    """How long to wait, such as 10m, until a cluster has room for --workers trials, or for one; then it starts with the
    room that there is. Default: not at all; a cluster with room for none is refused."""
    workers: int | None = None
    """Trials at a time. Default: as many as the processor has cores for, or as the cluster holds when they start."""
    cpus_per_trial: int = 1
    """Threads of one trial."""
    gpus_per_trial: float = 0.0
    """GPU of one trial: 1, or a share of one, such as 0.25. Default: none, trials compute on the processor."""
    precision: str = "auto"
    """What a network's passes in training compute in: float32, bfloat16, or auto, which is bfloat16 where trials use
    GPUs, or a processor of this machine, that have its arithmetic. Scores are always taken in float32."""

    json: bool = False
    """Say what happens in lines of JSON, for other programs, instead of for a person."""
    tensorboard: bool = False
    """Also write every trial for TensorBoard, into the study's folder. Takes the extra tensorboard."""

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("attack", self.attack, ATTACKS),
            ("data set", self.dataset, DATASETS),
            ("search space", self.space, search_spaces.SPACES),
            ("sampler", self.sampler, SAMPLERS),
            ("precision", self.precision, ("auto", *PRECISIONS)),
        ):
            if name not in known:
                raise unknown_name(kind, name, known)
        for name in (self.architecture, self.teacher_architecture):
            models.require_name(name)
        self.attack_settings  # noqa: B018 - raises for a text that is no setting of the attack
        for name in self.baselines:
            if name not in BASELINES:
                raise unknown_name("baseline", name, BASELINES)
        if self.poison_rate is not None:
            _require_share("--poison-rate", self.poison_rate, low_open=True)
        require_range("--image-size", self.used_image_size, 16, 512)
        require_range("--target", self.target, 0, 1_000_000)
        require_range("--victim-epochs", self.victim_epochs, 1, 1000)
        require_range("--trials", self.trials, 1, 1_000_000)
        require_range("--confirm", self.confirm, 0, 1000)
        _require_share("--max-acc-drop", self.max_acc_drop)
        require_range("--seed", self.seed, 0, 2**31 - 1)
        require_range("--cpus-per-trial", self.cpus_per_trial, 1, 4096)
        self._require_gpus()
        require_own_parts(self)
        self.normalisation  # noqa: B018 - raises for numbers that are out of range
        self._require_fractions()
        if self.workers is not None:
            require_range("--workers", self.workers, 1, MOST_WORKERS)
        self._require_cluster()
        for option, given in (("--name", self.name), ("--fork", self.fork)):
            if given is not None and not _NAME.fullmatch(given):
                raise ConfigError(
                    f"{option} {given!r} must be letters, digits, dots, dashes and underscores, at most 100"
                )
        if self.storage is not None:
            require_storage(self.storage)
        if self.until_converged and self.trials <= LEAST_TRIALS:
            raise ConfigError(
                f"--until-converged cannot stop a study before {LEAST_TRIALS} trials are complete, and --trials"
                f" {self.trials} ends it by then; give a higher limit, such as --trials 200"
            )
        self.budget_seconds  # noqa: B018 - raises for a text that is not a duration
        self.trial_seconds  # noqa: B018 - likewise

    def _require_fractions(self) -> None:
        if self.clean_fractions == ():
            raise ConfigError(
                "--clean-fractions needs at least one share, such as 0.05; the space has its own without it"
            )
        for fraction in self.fractions:
            _require_share("--clean-fractions", fraction, low_open=True)
        if self.baseline_fractions is None:
            return
        if not self.baselines or not self.baseline_fractions:
            raise ConfigError(
                "--baseline-fractions says at which shares, such as 0.05, the defences named with --baselines run; give"
                " both, or neither"
            )
        for fraction in self.baseline_fractions:
            if fraction not in self.fractions:
                known = ", ".join(f"{known:g}" for known in self.fractions)
                raise ConfigError(
                    f"--baseline-fractions {fraction:g} is none of the study's clean fractions: give one of {known}"
                )

    def _require_gpus(self) -> None:
        """Raise ConfigError for more GPUs than a trial uses."""
        try:
            require_range("--gpus-per-trial", self.gpus_per_trial, 0.0, 1.0)
        except ConfigError as error:
            raise ConfigError(f"{error}; a trial computes on one GPU: give 1, or a share of it such as 0.25") from error

    def _require_cluster(self) -> None:
        """Raise ConfigError for an address that is none, and for a wait that has nothing to wait for."""
        if self.address is not None and self.address != "auto" and not _ADDRESS.fullmatch(self.address):
            raise ConfigError(f"--address {self.address!r} must be auto, or HOST:PORT such as 10.0.0.5:6379")
        if self.wait_for_nodes is not None and self.address is None:
            raise ConfigError("--wait-for-nodes waits for a cluster's nodes; name the cluster with --address")
        self.wait_seconds  # noqa: B018 - raises for a text that is not a duration

    def shown(self) -> dict[str, Any]:
        """All settings as they may be written down: without the storage's password."""
        return {**asdict(self), "storage": None if self.storage is None else masked(self.storage)}

    @property
    def architecture(self) -> str:
        """The victim's, a key of MODELS."""
        return self.model or "wrn-16-1"

    @property
    def recipe(self) -> VictimConfig:
        """Of a victim that is trained here."""
        return VictimConfig(epochs=self.victim_epochs, precision=self.used_precision)

    @property
    def used_precision(self) -> Precision:
        """What auto comes to.

        A cluster's nodes may have several processors, of which this machine's tells nothing. GPUs of trials are taken
        for what this machine's are; where it has none, as a cluster's head, for ones that have bfloat16's arithmetic.
        """
        if self.precision != "auto":
            return cast("Precision", self.precision)
        if self.gpus_per_trial > 0:
            able = not torch.cuda.is_available() or computes_in_bfloat16(torch.device("cuda"))
        else:
            able = self.address is None and computes_in_bfloat16(torch.device("cpu"))
        return "bfloat16" if able else "float32"

    @property
    def used_image_size(self) -> int:
        """Pixels a side."""
        return USUAL_IMAGE_SIZE if self.image_size is None else self.image_size

    @property
    def used_flip(self) -> bool:
        """Whether mirrored images are trained on, too, if the data set allows it."""
        return self.flip is not False

    @property
    def normalisation(self) -> Normalisation | None:
        """What the user says that the model in --victim was trained with."""
        return chosen_normalisation(self.victim_mean, self.victim_std)

    @property
    def attack_settings(self) -> dict[str, Any]:
        """What is given of the attack's settings, by name; None for what is left to its default."""
        return {
            "target": self.target,
            "poison_rate": self.poison_rate,
            "label_mode": self.label_mode,
            "reflections": self.reflections and expanded(self.reflections, "--reflections"),
            "pattern": self.trigger and expanded(self.trigger, "--trigger"),
            **attack_settings.parse(self.attack, self.attack_args),
        }

    @cached_property
    def made_attack(self) -> Attack:
        """The attack itself, made of its settings and of the files that they name.

        Raises: ConfigError for a setting out of its range, DataError for a file that cannot be used.
        """
        return make_attack(self.attack, **self.attack_settings)

    @property
    def study_name(self) -> str:
        return self.name or f"{self.attack}-{self.dataset}"

    @property
    def directory(self) -> Path:
        """The study's own folder."""
        return (expanded(self.output, "--output") / self.study_name).resolve()

    @property
    def fractions(self) -> tuple[float, ...]:
        """The clean fractions that the study searches, ascending, each once."""
        return tuple(sorted(set(self.clean_fractions or search_spaces.get(self.space).clean_fractions)))

    @property
    def teacher_architecture(self) -> str:
        """The model that teachers are."""
        return self.teacher_model or self.architecture

    @property
    def domain(self) -> Domain:
        """What the study's space varies over: of the victim's layers, those that have a partner in the teacher."""
        return Domain(tuple(models.layer_pairs(self.architecture, self.teacher_architecture)), self.fractions)

    def point_of(self, trial: FrozenTrial) -> Point:
        """The settings that a recorded trial of this study ran with."""
        return self.point_at(trial.params)

    def point_at(self, params: Mapping[str, Any]) -> Point:
        """The settings that these hyperparameters of the study's space stand for."""
        return search_spaces.get(self.space).suggest(FixedTrial(dict(params)), self.domain)

    @property
    def slots(self) -> int:
        """Trials at a time, at most: a cluster may hold fewer."""
        if self.address is not None:
            return self.workers or MOST_WORKERS
        return self.workers or max(1, cores() // self.cpus_per_trial)

    @property
    def cpus(self) -> int:
        """CPUs that an embedded Ray hands out; more than there are only where --workers asks for that."""
        return cores() if self.workers is None else self.workers * self.cpus_per_trial

    @property
    def budget_seconds(self) -> float | None:
        """The time budget in seconds; None for no limit."""
        return None if self.time_budget is None else duration(self.time_budget, "--time-budget")

    @property
    def trial_seconds(self) -> float | None:
        """The longest that a trial may run, in seconds; None for no limit."""
        return None if self.trial_timeout is None else duration(self.trial_timeout, "--trial-timeout")

    @property
    def wait_seconds(self) -> float:
        """How long to wait for a node that can hold a trial."""
        return 0.0 if self.wait_for_nodes is None else duration(self.wait_for_nodes, "--wait-for-nodes")


def _require_share(option: str, value: float, *, low_open: bool = False) -> None:
    """Raise ConfigError for what is no share; a percentage is told how to write it."""
    if 1.0 < value <= 100.0:
        bracket = "(" if low_open else "["
        raise ConfigError(
            f"{option} must be in {bracket}0, 1], got {value:g}; write {value / 100:g} where you mean {value:g}%"
        )
    require_range(option, value, 0.0, 1.0, low_open=low_open)
