"""Two networks in plain torch with seeded random weights: what is measured is speed and agreement, not a diagnosis."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SEED = 20261126


class _Twice(nn.Module):
    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (taken, given):
            layers += [nn.Conv3d(channels, given, 3, padding=1), nn.InstanceNorm3d(given, affine=True), nn.LeakyReLU(0.1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class UNet3d(nn.Module):
    """A 3-D U-Net of five levels, one input channel, two classes."""

    def __init__(self, features: Sequence[int] = (32, 32, 64, 128, 256)) -> None:
        super().__init__()
        f = list(features)
        self.down = nn.ModuleList(_Twice(a, b) for a, b in zip([1, *f[:-1]], f, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose3d(f[i], f[i - 1], 2, 2) for i in range(4, 0, -1))
        self.join = nn.ModuleList(_Twice(2 * f[i - 1], f[i - 1]) for i in range(4, 0, -1))
        self.pool, self.last = nn.MaxPool3d(2), nn.Conv3d(f[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            kept.append(x)
        for level, (up, join) in enumerate(zip(self.up, self.join, strict=True)):
            x = join(torch.cat([kept[3 - level], up(x)], 1))
        result: Tensor = self.last(x)
        return result


class _Dense(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 4 * growth, 1, bias=False)),
            *(nn.BatchNorm2d(4 * growth), nn.ReLU(), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layers(x)], 1)


class DenseNet121(nn.Module):
    """DenseNet-121 with 14 outputs. Source: doi 10.1109/CVPR.2017.243, table 1."""

    def __init__(self, growth: int = 32, blocks: Sequence[int] = (6, 12, 24, 16), classes: int = 14) -> None:
        super().__init__()
        channels = 2 * growth
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        for number, count in enumerate(blocks):
            for _ in range(count):
                layers.append(_Dense(channels, growth))
                channels += growth
            if number < len(blocks) - 1:
                layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
                channels //= 2
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


@dataclass(frozen=True, slots=True)
class Measured:
    """A network, the shape of one input without its batch, and the batch that throughput is measured with."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    batch: int


def measured_networks(*, small: bool) -> list[Measured]:
    """The two networks; small ones where there is no GPU."""
    torch.manual_seed(SEED)
    if small:
        unet, dense = UNet3d((4, 4, 8, 16, 32)), DenseNet121(blocks=(2, 2, 2, 2))
        return [
            Measured("3-D U-Net 32^3, small", unet.eval(), (1, 32, 32, 32), 2),
            Measured("DenseNet 96^2, small", dense.eval(), (3, 96, 96), 4),
        ]
    return [
        Measured("3-D U-Net 96^3", UNet3d().eval(), (1, 96, 96, 96), 4),
        Measured("DenseNet121 224^2", DenseNet121().eval(), (3, 224, 224), 32),
    ]


def export(network: Measured, path: Path) -> None:
    """Write the network as ONNX with an open batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options: dict[str, Any] = {"dynamo": False, "opset_version": 18, "input_names": ["x"], "output_names": ["y"]}
        axes = {"x": {0: "batch"}, "y": {0: "batch"}}
        torch.onnx.export(network.module, (torch.zeros(1, *network.shape),), str(path), dynamic_axes=axes, **options)
