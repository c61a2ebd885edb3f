"""Independent random streams from one study seed, one per named purpose."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, such as derive(0, "split"): the same on every machine, in any order of calls.

    Raises: ValueError for a "/" in a part: it separates parts, and another purpose would share the seed.
    """
    parts = [str(part) for part in (seed, *purpose)]
    if any("/" in part for part in parts):
        raise ValueError(f"a part of a purpose may have no '/', got {purpose}")
    text = "/".join(parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose; see `derive`."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def drawn_from(generator: torch.Generator) -> int:
    """A seed from the generator's state, which is left unchanged."""
    copied = torch.Generator()
    copied.set_state(generator.get_state())
    return int(torch.randint(2**62, (), generator=copied))


@contextmanager
def torch_seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators, as for dropout, inside the block; restore them afterwards."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
