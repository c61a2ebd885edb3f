"""Options of the images, the attack and the victim."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nad.attacks import Attack
from nad.attacks import make as make_attack
from nad.models.normalisation import Normalisation
from study.options import attack_settings
from study.options.helptext import documented
from study.options.own_parts import USUAL_IMAGE_SIZE, chosen_normalisation
from study.options.paths import expanded


@documented
@dataclass(frozen=True, kw_only=True)
class VictimOptions:
    """Images, attack and backdoored model."""

    attack: str = "refool"
    """The backdoor: badnets, blend, cl, refool, sig, trojan, or custom with a --trigger of your own. --attack NAME
    --help describes it."""
    dataset: str = "fashion-c"
    """The images: fashion-c (comes with the tool), cifar10, gtsrb, or folder."""
    data_dir: Path | None = None
    """Folder of the images: train/ and test/ with one folder per class, or torchvision's own layout."""
    image_size: int | None = None
    """Images of a folder are resized to this many pixels a side. Default: the size recorded in --victim, or 32."""
    flip: Annotated[bool | None, tyro.conf.DisallowNone] = None
    """Train on mirrored images, too (never of gtsrb). Give --no-flip if mirroring changes the class, as with letters or
    traffic signs. Default: as recorded in --victim, or --flip."""
    model: str | None = None
    """The victim's architecture: wrn-DEPTH-WIDTH with 10-1, 10-2, 16-1, 16-2, 40-1 or 40-2; preact-resnet-18;
    resnet-18 or resnet-34. Default: that of --victim, or wrn-16-1."""
    teacher_model: str | None = None
    """The teachers' architecture. Default: the victim's; teachers are copies of it, fine-tuned on clean images. For
    another one, a second victim is trained by the same recipe and attack; the teachers are copies of that one."""
    teacher: Path | None = None
    """A teacher of your own for every erase: a file as for --victim, with its architecture and classes. Default:
    teachers are made."""

    target: int = 0
    """The attack's target label."""
    poison_rate: float | None = None
    """Share of the victim's training images poisoned: of the target class's (clean label), else of all. Default: the
    attack's."""
    label_mode: Literal["clean", "dirty", "all-to-all"] | None = None
    """clean: only the target class is poisoned and no label changes; dirty: others are relabelled as the target;
    all-to-all: each class is relabelled as the next one, and ASR counts all images. Default: the attack's."""
    reflections: Path | None = None
    """Your own photographs for the refool attack. Default: photographs from scikit-image."""
    trigger: Path | None = None
    """Your own trigger for the custom attack: an image with its mask in the alpha channel, an npz with pattern, mask
    and optionally blend_ratio, an npz with x to be added, or an npy of one pattern."""
    attack_args: tuple[str, ...] = ()
    """More settings of the attack as NAME=VALUE, such as epsilon=8 steps=100."""

    victim: Path | None = None
    """A backdoored model of your own, instead of training one: a file of this tool, the released NAD code or
    BackdoorBench, a state dict, or safetensors."""
    victim_mean: tuple[float, float, float] | None = None
    """Mean of each channel, in [0, 1], in the training of --victim. Default: its format's."""
    victim_std: tuple[float, float, float] | None = None
    """Standard deviation of each channel, likewise."""
    trust_checkpoint: bool = False
    """Unpickle --victim or --teacher in full if nothing else works. This runs any code in the file."""
    victim_epochs: int = 16
    """Epochs of the victim's training."""
    reference: bool = False
    """Also train a clean model, and refuse a victim more than 3 points less accurate."""
    allow_weak_backdoor: bool = False
    """Study the victim even if its backdoor is weak."""

    @property
    def architecture(self) -> str:
        """The victim's, a key of MODELS."""
        return self.model or "wrn-16-1"

    @property
    def teacher_architecture(self) -> str:
        """The teachers', likewise."""
        return self.teacher_model or self.architecture

    @property
    def used_image_size(self) -> int:
        """Pixels a side."""
        return USUAL_IMAGE_SIZE if self.image_size is None else self.image_size

    @property
    def used_flip(self) -> bool:
        """Train on mirrored images, too, if the data set allows it."""
        return self.flip is not False

    @property
    def normalisation(self) -> Normalisation | None:
        """Normalisation of the model in --victim, if given."""
        return chosen_normalisation(self.victim_mean, self.victim_std)

    @property
    def attack_settings(self) -> dict[str, Any]:
        """The attack's settings by name; None stands for a default."""
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
        """The attack, made from its settings and their files.

        Raises: ConfigError for a setting out of its range, DataError for an unusable file.
        """
        return make_attack(self.attack, **self.attack_settings)
