"""torchvision's architectures with fewer and narrower blocks: the same operators in the same order, seconds instead of minutes."""

from functools import partial

import torch
from torchvision.models import ConvNeXt, EfficientNet, MobileNetV3, ResNet, SwinTransformer, VisionTransformer
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.resnet import Bottleneck

SIDE = 112


def _seeded(make, *arguments, **options):
    torch.manual_seed(0)
    return make(*arguments, **options)


def _mobile(*configuration):
    return InvertedResidualConfig(*configuration, dilation=1, width_mult=1.0)


resnet = partial(_seeded, ResNet, Bottleneck, [2, 1, 1, 1])
efficientnet = partial(
    _seeded, EfficientNet, [MBConvConfig(1, 3, 1, 32, 16, 1), MBConvConfig(6, 3, 2, 16, 24, 2), MBConvConfig(6, 5, 2, 24, 40, 1)], 0.2
)
mobilenet = partial(
    _seeded,
    MobileNetV3,
    [
        _mobile(16, 3, 64, 24, False, "RE", 2),
        _mobile(24, 5, 72, 40, True, "RE", 2),
        _mobile(40, 3, 240, 80, False, "HS", 2),
        _mobile(80, 5, 480, 80, True, "HS", 1),
    ],
    1280,
)
convnext = partial(_seeded, ConvNeXt, [CNBlockConfig(32, 64, 1), CNBlockConfig(64, None, 1)])
vit = partial(_seeded, VisionTransformer, SIDE, patch_size=16, num_layers=2, num_heads=2, hidden_dim=64, mlp_dim=128)
swin = partial(_seeded, SwinTransformer, [4, 4], 32, [2, 1], [1, 2], [7, 7])
