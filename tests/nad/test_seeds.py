import pytest
import torch

from nad.seeds import derive, generator


def test_purposes_are_independent_and_reproducible() -> None:
    seeds = [derive(seed, *purpose) for seed in range(50) for purpose in (("a",), ("b",), ("a", "b"), ("a", 1))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert torch.equal(torch.rand(3, generator=generator(1, "x")), torch.rand(3, generator=generator(1, "x")))


def test_no_purpose_has_the_seed_of_another() -> None:
    for drawn in (derive, generator):
        with pytest.raises(ValueError, match=r"no '/', got \('a/b',\)"):
            drawn(0, "a/b")


def test_values_never_change() -> None:
    # A change here would silently make every recorded study irreproducible.
    assert derive(0, "split") == 3769940940748469125
