import numpy as np
import torch
from transformers import MobileNetV2Config, MobileNetV2Model

from dubcli.networks.mobilenet_v2 import DEVIATION, MEAN, WIDTH, MobileNetV2


def test_features_are_those_of_transformers_with_the_same_weights() -> None:
    torch.manual_seed(0)
    ours = MobileNetV2().eval().requires_grad_(False)
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.1, 0.5)
    config = MobileNetV2Config(tf_padding=False, layer_norm_eps=1e-5, finegrained_output=True)
    theirs = MobileNetV2Model(config).eval()
    # Both list their layers in the order in which they come.
    values = ours.state_dict().values()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)))
    rgb = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    with torch.inference_mode():
        found = ours(rgb)
        expected = theirs((rgb - mean) / deviation).pooler_output
    assert found.shape == (2, WIDTH)
    assert found.std() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)
