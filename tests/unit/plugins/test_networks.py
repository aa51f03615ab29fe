"""What the stages that run a network share: a bundle that is refused in words, a batch that is halved, pictures that are turned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from dermanode_networks.backend import Eager
from dermanode_networks.merging import merged
from dermanode_networks.opening import open_network
from dermanode_networks.runner import Runner
from dermanode_networks.symmetry import COUNTS, shown, taken_back
from safetensors.torch import load_file
from torch import nn

from dermanode.errors import BundleError, DeviceOutOfMemory

NAME = "lesion_segmentation"
CPU = torch.device("cpu")


@dataclass
class SmallDevice:
    """A backend that holds only so many pictures, and counts what it was given."""

    most: int
    asked: list[int] = field(default_factory=list)

    def __call__(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.asked.append(len(pictures))
        if len(pictures) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return pictures.mean((1, 2, 3)), pictures[:, :1]


def test_bundle_opens_with_its_weights_in_float32(tiny_models: Any) -> None:
    tiny_models.publish(NAME, {name: value.half() if value.is_floating_point() else value for name, value in weights(tiny_models).items()})
    opened = open_network(tiny_models.open(NAME))
    assert not opened.network.training
    assert {value.dtype for value in opened.network.parameters()} == {torch.float32}
    assert opened.told("is_mirrored") is False


def test_missing_weights_are_refused(tiny_models: Any) -> None:
    tiny_models.weights(NAME).unlink()
    with pytest.raises(BundleError, match=r"model\.safetensors cannot be read.*Restore"):
        open_network(tiny_models.open(NAME))


def test_one_altered_byte_is_refused(tiny_models: Any) -> None:
    path = tiny_models.weights(NAME)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"were altered: their SHA-256 is .*metadata\.json says"):
        open_network(tiny_models.open(NAME))


def test_bundle_of_another_version_is_refused(tiny_models: Any) -> None:
    tiny_models.tell(NAME, "metadata", version="1.0.0")
    with pytest.raises(BundleError, match=r"version is 1\.0\.0.*knows 0\.x.*one release"):
        open_network(tiny_models.open(NAME))


def test_weights_of_another_network_are_refused_with_what_does_not_fit(tiny_models: Any) -> None:
    tiny_models.publish(NAME, load_file(tiny_models.weights("lesion_classifier")))
    with pytest.raises(BundleError, match=r"do not fit .*\d+ of \d+ tensors are missing .*are not of this network"):
        open_network(tiny_models.open(NAME))


def test_weights_of_a_wider_network_are_refused_with_both_shapes(tiny_models: Any) -> None:
    wider = weights(tiny_models)
    name = next(name for name, value in wider.items() if value.dim() == 4)
    tiny_models.publish(NAME, wider | {name: torch.cat([wider[name]] * 2)})
    with pytest.raises(BundleError, match=rf"1 have another shape \({name} is 8 x .*, the network wants 4 x"):
        open_network(tiny_models.open(NAME))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tiny_models: Any, value: float) -> None:
    spoilt = weights(tiny_models)
    name = next(name for name, tensor in spoilt.items() if tensor.is_floating_point())
    spoilt[name].view(-1)[0] = value
    tiny_models.publish(NAME, spoilt)
    with pytest.raises(BundleError, match=rf"{name} hold values that are no numbers"):
        open_network(tiny_models.open(NAME))


def test_file_that_is_no_safetensors_is_refused(tiny_models: Any) -> None:
    tiny_models.publish(NAME, {})
    tiny_models.weights(NAME).write_bytes(b"\x80\x04pickle")
    tiny_models.seal(NAME)
    with pytest.raises(BundleError, match="are no safetensors"):
        open_network(tiny_models.open(NAME))


def test_network_that_cannot_be_built_is_refused_with_the_reason(tiny_models: Any) -> None:
    tiny_models.tell(NAME, "inference", network_def={"_target_": "UNet", "levels": 5})
    with pytest.raises(BundleError, match=r"does not build 'network_def' \(.*levels"):
        open_network(tiny_models.open(NAME))


@pytest.mark.parametrize("value", ["1", None, True, float("inf")])
def test_settings_that_are_no_numbers_are_refused(tiny_models: Any, value: object) -> None:
    tiny_models.tell(NAME, "inference", limit=value)
    with pytest.raises(BundleError, match="'limit'"):
        open_network(tiny_models.open(NAME)).number("limit")


def test_batch_runs_at_once_where_it_fits() -> None:
    device = SmallDevice(most=8)
    ran = Runner("net", device, CPU).run(torch.rand(8, 3, 4, 4))
    assert device.asked == [8]
    assert ran.remarks == ()


@pytest.mark.parametrize(("most", "asked"), [(4, [8, 4, 4]), (3, [8, 4, 2, 2, 2, 2]), (1, [8, 4, 2, *[1] * 8])])
def test_batch_is_halved_until_it_fits_and_gives_the_same(most: int, asked: list[int]) -> None:
    pictures, device = torch.rand(8, 3, 4, 4), SmallDevice(most)
    ran = Runner("net", device, torch.device("cuda:0") if torch.cuda.is_available() else CPU).run(pictures)
    assert device.asked == asked
    for found, whole in zip(ran.answers, SmallDevice(8)(pictures), strict=True):
        assert torch.equal(found, whole)
    assert f"did not hold 8 pictures at once: they were run {min(asked)} at a time" in ran.remarks[0]


def test_device_that_holds_not_one_picture_is_named() -> None:
    with pytest.raises(DeviceOutOfMemory, match=r"cpu has no memory for one picture of net \(3 x 4 x 4\)\. Free it"):
        Runner("net", SmallDevice(0), CPU).run(torch.rand(3, 3, 4, 4))


def test_answer_that_is_no_number_is_refused_and_never_read_as_nothing_found() -> None:
    with pytest.raises(BundleError, match="answer on cpu is not a number"):
        Runner("net", lambda pictures: (pictures / 0,), CPU).run(torch.zeros(2, 3, 4, 4))


def test_eager_backend_gives_what_the_network_gives() -> None:
    network = torch.nn.Conv2d(3, 2, 3).eval()
    pictures = torch.rand(2, 3, 8, 8)
    (found,) = Eager(network, CPU)(pictures)
    assert torch.allclose(found, network(pictures), atol=1e-6)


@pytest.mark.parametrize("count", COUNTS)
def test_what_is_said_of_turned_pictures_is_laid_back_over_them(count: int) -> None:
    pictures = torch.rand(2, 1, 5, 5)
    turned = shown(pictures, count)
    assert turned.shape == (2 * count, 1, 5, 5)
    assert len({one.numpy().tobytes() for one in turned[::2]}) == count
    assert torch.equal(turned[:2], pictures)
    assert torch.allclose(taken_back(turned, count), pictures)


def weights(tiny_models: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(tiny_models.weights(NAME))
    return found


# Merging


def test_merged_network_answers_as_before_with_fewer_layers() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))
    )
    pictures = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        network(pictures)  # moves the normalisations' mean and deviation away from 0 and 1
        before = network.eval()(pictures)
        assert merged(network) is network
        assert torch.allclose(network(pictures), before, atol=1e-6)
    assert not any(isinstance(one, nn.BatchNorm2d) for one in network.modules())


def test_normalisation_that_follows_no_convolution_stays() -> None:
    network = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)).eval()
    assert isinstance(merged(network)[1], nn.BatchNorm2d)
