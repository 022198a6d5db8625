"""Vision transformers: DeiT's names and arithmetic, other input sizes, earlier blocks."""

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from alseg_fast.errors import RangeError, ShapeError, UsageError  # noqa: E402
from alseg_fast.learn.networks.build import build_network  # noqa: E402
from alseg_fast.learn.networks.vit import VisionTransformer, vit_small, vit_tiny  # noqa: E402

PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def small(depth=4, image_size=32):
    encoder = VisionTransformer(24, depth, 3, patch=8, image_size=image_size)
    encoder.initialise(torch.Generator().manual_seed(0))
    return encoder.eval()


def test_names_and_numbers_are_those_of_deit():
    encoder = vit_tiny()
    blocks = [f"blocks.{i}.{part}.{n}" for i in range(12) for part in PARTS for n in ("weight", "bias")]
    names = ["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", *blocks]
    assert list(encoder.state_dict()) == [*names, "norm.weight", "norm.bias"]
    assert encoder.pos_embed.shape == (1, 197, 192)
    # DeiT-Ti has 5,717,416 with its classifier of 1000 classes, DeiT-S 22,050,664.
    assert sum(p.numel() for p in encoder.parameters()) == 5_717_416 - 193_000
    assert sum(p.numel() for p in vit_small().parameters()) == 22_050_664 - 385_000


def plain_vit(state, x, depth, heads, patch):
    """Token map after each block, and after the final normalisation."""

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    grid = x.shape[2] // patch, x.shape[3] // patch
    x = F.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], patch)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], 1) + state["pos_embed"]
    b, n, d = x.shape
    maps = []
    for i in range(depth):
        parts = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").chunk(3, -1)
        q, k, v = (p.reshape(b, n, heads, d // heads).transpose(1, 2) for p in parts)
        mixed = (q @ k.transpose(-2, -1) / (d // heads) ** 0.5).softmax(-1) @ v
        x = x + linear(mixed.transpose(1, 2).reshape(b, n, d), f"blocks.{i}.attn.proj")
        hidden = F.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
        x = x + linear(hidden, f"blocks.{i}.mlp.fc2")
        maps.append(x[:, 1:].transpose(1, 2).reshape(b, d, *grid))
    return maps, norm(x, "norm")[:, 1:].transpose(1, 2).reshape(b, d, *grid)


def test_it_computes_what_the_names_say():
    encoder = small()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps, last = plain_vit(encoder.state_dict(), x, 4, 3, 8)
        torch.testing.assert_close(encoder(x).stages[0], last, rtol=1e-4, atol=1e-5)
        for block in (-3, 0, 3):
            torch.testing.assert_close(encoder(x, block=block).block, maps[block], rtol=1e-4, atol=1e-5)


def test_other_sizes_resample_the_positions():
    encoder = small()
    with torch.no_grad():
        # An embedding that is the same everywhere stays so, and one that rises to the right does so everywhere.
        encoder.pos_embed.fill_(0.5)
        assert torch.allclose(encoder._positions((3, 7)), torch.full((1, 22, 24), 0.5))
        encoder.pos_embed[:, 1:] = torch.arange(4.0).repeat(4)[None, :, None]
        wide = encoder._positions((4, 8))[0, 1:, 0].reshape(4, 8)
        assert (wide.diff(dim=1) > 0).all()
        torch.testing.assert_close(wide[0], wide[3])
        assert encoder(torch.zeros(1, 3, 24, 56)).stages[0].shape == (1, 24, 3, 7)


def test_sizes_between_patches_are_refused():
    with pytest.raises(ShapeError, match="multiples of the patch size 8; got 33 x 32"):
        small()(torch.zeros(1, 3, 33, 32))
    with pytest.raises(RangeError, match="image_size must be a multiple of patch = 16; got 100"):
        vit_tiny(image_size=100)
    for patch in (0, -4, 2.5):
        with pytest.raises(RangeError, match="patch must be an integer >= 1; got"):
            vit_tiny(patch=patch)


@pytest.mark.parametrize("decoder", ["unet", "belharbi", "icnet"])
def test_decoders_that_need_several_stages_refuse_it(decoder):
    with pytest.raises(UsageError, match=r"must have (several|5) stages; got (one|1)|an encoder of 1 stage"):
        build_network(encoder="vit_tiny", n_tags=2, n_classes=3, decoder=decoder)
