"""Augmentation: seeded, per image, value-preserving."""

import pytest
import torch

from gossipsim.data import RandomFlip, RandomShift, digits


def images(count: int = 64) -> torch.Tensor:
    return torch.arange(count * 2 * 5 * 6, dtype=torch.float64).view(count, 2, 5, 6)


@pytest.mark.parametrize("augment", [RandomShift(2), RandomFlip()])
def test_the_generator_decides(augment):
    first, again, other = (augment(images(), torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)
    assert first.shape == images().shape
    assert first.dtype == torch.float64


def test_a_shift_moves_each_image_as_a_whole_and_repeats_the_border():
    batch = images()
    shifted = RandomShift(1)(batch, torch.Generator().manual_seed(0))
    seen = set()
    for before, after in zip(batch, shifted, strict=True):
        moves = [
            (dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if after.equal(before[:, (torch.arange(5) + dy).clamp(0, 4)][:, :, (torch.arange(6) + dx).clamp(0, 5)])
        ]
        assert len(moves) == 1
        seen.add(moves[0])
    assert len(seen) == 9


def test_a_flip_mirrors_about_half_of_the_images():
    batch = images(400)
    flipped = RandomFlip()(batch, torch.Generator().manual_seed(0))
    mirrored = sum(after.equal(before.flip(-1)) for before, after in zip(batch, flipped, strict=True))
    kept = sum(after.equal(before) for before, after in zip(batch, flipped, strict=True))
    assert mirrored + kept == 400
    assert 150 < mirrored < 250
    assert RandomShift(0)(batch, torch.Generator()).equal(batch)
    assert RandomFlip(0.0)(batch, torch.Generator()).equal(batch)


def test_parameters_out_of_range():
    with pytest.raises(ValueError, match="pixels"):
        RandomShift(-1)
    with pytest.raises(ValueError, match="probability"):
        RandomFlip(1.5)


def test_the_digits_that_come_with_the_package():
    pictures, labels = digits()
    assert pictures.shape == (1797, 8, 8)
    assert (int(pictures.min()), int(pictures.max())) == (0, 16)
    assert torch.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
