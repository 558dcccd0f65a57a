"""The dual-attention renderer: textures from references, found by geometry, put where they belong.

Letters: N references, C latent channels, H, W the rendered window, h = H/4, w = W/4 latent size,
M tokens that a mask keeps, D key width.

The paper's second stage: two encoders, Lip-Attention and Face-Attention, fusion by the lip mask
(Eq. 4), a decoder that sees the target geometry. Where we differ, and why:

* Keys carry random Fourier features of the PNCC, so that attention finds correspondences before any
  training, and of the position where no face is (neck, collar, background).
* Values carry the references' own pixels (``pixel_unshuffle``) beside their encoding, so that the
  untrained network is a sharp warp and learns only what is missing.
* Off the face the nearer of alike tokens is taken (``prefer_near``): a neck that a closing jaw
  uncovers is in no reference, and the next best key may lie anywhere.
* Queries outside the masks are left out: Eq. 4 multiplies them by zero.
* Lip references whose mouth has the wanted shape count more (``prefer_alike``): learned keys see
  a few pixels only and would average the teeth of closed and open mouths alike.
* A refiner sharpens the mouth after the decoder (``networks.mouth``).
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dubcli.networks.mouth import MouthRefiner, mouth_box, soft_edge

STRIDE = 4  # two stride-2 convolutions
PIXELS = 3 * STRIDE * STRIDE  # channels of a token's own pixels
BRANCHES = ("face", "lip")
# In use the softmax is sharper than in training, which averages references to please L1.
SHARPNESS = 1.6
# How much less a lip reference counts whose mouth has another shape: exp(-LIKENESS d^2), d the root
# mean square distance between the inner lips' rings in cm.
LIKENESS = 50.0
# How much less a token counts that lies d tokens away from where no face is: exp(-NEARNESS d^2).
NEARNESS = 0.2
EMPTY = 1e-3  # share of a token's pixels below which it shows no face


@dataclass(frozen=True, slots=True)
class RendererHyper:
    """Sizes and starting values of the renderer; they travel in the checkpoint."""

    height: int = 168  # of the rendered window, pixels
    width: int = 224
    channels: int = 64
    geometry_channels: int = 32
    decoder_channels: int = 64
    half_channels: int = 32  # decoder at half size
    full_channels: int = 16  # decoder at full size
    key_channels: int = 16  # learned part of a key; keys and values then have the same width, 112
    pncc_frequencies: int = 32
    pncc_scale: float = 9.0  # standard deviation, cycles across the PNCC's [0, 1]
    position_frequencies: int = 16
    position_scale: float = 6.0  # cycles across the window's height
    learned_weight: float = 0.3  # of the learned part of a key, at the start
    temperature: float = 14.0  # softmax scale at the start: about a third of a token wide
    refiner_channels: int = 0  # of the mouth's refiner at full size; 0: there is none


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """Encoded reference tokens of one branch."""

    key: Tensor  # [M, D]
    value: Tensor  # [M, C + 48]
    place: Tensor  # [M, 2] row and column of each token in its window
    log_weight: Tensor | None = None  # [M], or [queries, M]; added to what the keys say


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """What the renderer made of one frame."""

    image: Tensor  # [3, H, W] in [0, 1], the surroundings outside the mask
    warp: Tensor  # [3, H, W] the attended pixels alone, before the decoder
    latent: Tensor  # [C, h, w] what attention found beside the pixels
    choice: Tensor | None = None  # [2 K, H, W] how much of each carried mouth the refiner shows


def join(parts: list[References]) -> References:
    """Put the tokens of several references side by side."""
    return References(
        torch.cat([p.key for p in parts]),
        torch.cat([p.value for p in parts]),
        torch.cat([p.place for p in parts]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class LipBank:
    """Lip references, joined once for all the frames that draw from them."""

    tokens: References
    counts: Tensor  # [K] how many tokens are each reference's


def bank_of(parts: list[References]) -> LipBank:
    """Join K lip references."""
    tokens = join(parts)
    counts = torch.tensor([len(part.key) for part in parts], device=tokens.key.device)
    return LipBank(tokens, counts)


def prefer_alike(bank: LipBank, distance_cm: Tensor) -> References:
    """Return the references of a bank, those with the wanted mouth counting more.

    Args:
        bank: K references; their keys and values are not copied.
        distance_cm: Of each one's mouth shape from the wanted one, [K].
    """
    of_frame = -LIKENESS * distance_cm.to(bank.tokens.key).square()
    weight = of_frame.repeat_interleave(bank.counts)
    return replace(bank.tokens, log_weight=weight)


def prefer_near(references: References, off_face: Tensor) -> References:
    """Return the references for the queries that lie off the face, nearer ones counting more.

    A place that no reference shows, as the neck that a jaw uncovers, resembles others by chance: 16
    random frequencies are few, and a speck of the background across the window would be found. On
    the face nothing changes: a jaw's texture does come from where the jaw was.

    Args:
        references: Face references; their keys and values are not copied.
        off_face: Share of each token that shows no face, [h, w]; the queries are where it is not 0.

    Returns:
        The same tokens with a weight for each query, [queries, M].
    """
    queries = off_face.nonzero()
    apart = torch.cdist(queries.float(), references.place.float()).square()
    weight = -NEARNESS * off_face[off_face > 0][:, None] * apart
    return replace(references, log_weight=weight.to(references.key))


def encoder(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    """Return two stride-2 convolutions, [B, inputs, H, W] -> [B, outputs, H/4, W/4]."""
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 3, 2, 1), nn.SiLU(), nn.Conv2d(middle, outputs, 3, 2, 1)
    )


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity."""

    def __init__(self, channels: int) -> None:
        """Start as the identity: the second convolution is small."""
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, 1, 1)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)
        self.second.weight.data *= 0.1

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus its correction, [B, C, h, w]."""
        corrected: Tensor = x + self.second(F.silu(self.first(F.silu(x))))
        return corrected


class Decoder(nn.Module):
    """D_tex: fused latent, target geometry and surroundings to a correction of the warp."""

    def __init__(self, hyper: RendererHyper) -> None:
        """Start small: the untrained renderer is the plain warp."""
        super().__init__()
        quarter, half, full = hyper.decoder_channels, hyper.half_channels, hyper.full_channels
        inputs = hyper.channels + PIXELS + hyper.geometry_channels + 3 + 2
        self.at_quarter = nn.Sequential(
            nn.Conv2d(inputs, quarter, 3, 1, 1),
            Residual(quarter),
            Residual(quarter),
            nn.SiLU(),
            nn.Conv2d(quarter, half * 4, 3, 1, 1),
            nn.PixelShuffle(2),
        )
        self.at_half = nn.Sequential(
            Residual(half), nn.SiLU(), nn.Conv2d(half, full * 4, 3, 1, 1), nn.PixelShuffle(2)
        )
        self.at_full = nn.Sequential(
            nn.Conv2d(full + 10, full, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(full, full, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(full, 3, 3, 1, 1),
        )
        for parameter, share in zip(self.at_full[-1].parameters(), (0.1, 0.0), strict=True):
            parameter.data *= share  # weight and bias of the last layer

    def forward(self, latent: Tensor, pixels: Tensor) -> Tensor:
        """Return the correction.

        Args:
            latent: [B, C + 48 + G + 5, h, w].
            pixels: Warp, target PNCC, surroundings and mask, [B, 10, H, W].

        Returns:
            [B, 3, H, W].
        """
        upsampled = self.at_half(self.at_quarter(latent))
        correction: Tensor = self.at_full(torch.cat([upsampled, pixels], 1))
        return correction


class DualAttentionRenderer(nn.Module):
    """Lip-Attention and Face-Attention over reference frames, fused by Eq. 4, then decoded."""

    def __init__(self, hyper: RendererHyper | None = None) -> None:
        """Build the layers; Fourier frequencies are drawn from torch's generator."""
        super().__init__()
        self.hyper = hyper = hyper or RendererHyper()
        tokens = (hyper.height // STRIDE, hyper.width // STRIDE)
        self.texture_encoder = encoder(3, 24, hyper.channels)
        self.geometry_encoder = encoder(3, 24, hyper.geometry_channels)
        frequencies = torch.randn(3, hyper.pncc_frequencies) * (2 * torch.pi * hyper.pncc_scale)
        self.register_buffer("pncc_frequencies", frequencies)
        self.pncc_frequencies: Tensor
        spatial = torch.randn(2, hyper.position_frequencies) * (2 * torch.pi * hyper.position_scale)
        rows, columns = torch.meshgrid(
            torch.arange(tokens[0]) / tokens[0], torch.arange(tokens[1]) / tokens[0], indexing="ij"
        )
        phase = torch.einsum("dhw,df->fhw", torch.stack([columns, rows]), spatial)
        place = torch.cat([phase.sin(), phase.cos()]) / hyper.position_frequencies**0.5
        self.register_buffer("place", place)
        self.place: Tensor
        self.project = nn.ModuleDict(
            {b: nn.Conv2d(hyper.geometry_channels, hyper.key_channels, 1) for b in BRANCHES}
        )
        self.position = nn.ParameterDict(
            {b: nn.Parameter(torch.zeros(hyper.key_channels, *tokens)) for b in BRANCHES}
        )
        self.learned_weight = nn.ParameterDict(
            {b: nn.Parameter(torch.tensor(hyper.learned_weight)) for b in BRANCHES}
        )
        self.temperature = nn.ParameterDict(
            {b: nn.Parameter(torch.tensor(hyper.temperature)) for b in BRANCHES}
        )
        self.decoder = Decoder(hyper)
        self.refiner = (
            MouthRefiner(hyper.channels, hyper.refiner_channels) if hyper.refiner_channels else None
        )

    def keys(self, branch: str, pncc: Tensor, geometry: Tensor) -> Tensor:
        """Return the keys (or queries) of pictures.

        Args:
            branch: "face" or "lip".
            pncc: [B, 3, H, W].
            geometry: Encoded PNCC, [B, G, h, w].

        Returns:
            [B, D, h, w]: Fourier features of the face coordinate, of the position where there is no
            face, and the learned part with its positional embedding.
        """
        shows = face_share(pncc)
        coordinate = F.avg_pool2d(pncc, STRIDE) / shows.clamp_min(EMPTY)
        with torch.autocast(pncc.device.type, enabled=False):  # bfloat16 is too coarse for a phase
            phase = torch.einsum("bchw,cf->bfhw", coordinate.float(), self.pncc_frequencies)
        on_face = torch.cat([phase.sin(), phase.cos()], 1) / self.hyper.pncc_frequencies**0.5
        learned = F.normalize(self.project[branch](geometry) + self.position[branch], dim=1)
        return torch.cat(
            [
                on_face * shows,
                self.place * (1 - shows),
                self.learned_weight[branch] * learned,
            ],
            1,
        )

    def encode(self, branch: str, frames: Tensor, pncc: Tensor, masks: Tensor) -> list[References]:
        """Encode reference frames, each once.

        Args:
            branch: "face" or "lip".
            frames: [N, 3, H, W] in [0, 1].
            pncc: Their geometry, [N, 3, H, W].
            masks: Where their pixels may be used, [N, H, W], 1 or 0.

        Returns:
            N sets of tokens.
        """
        key = self.keys(branch, pncc, self.geometry_encoder(pncc)).permute(0, 2, 3, 1)
        value = torch.cat(
            [self.texture_encoder(frames), F.pixel_unshuffle(frames, STRIDE)], 1
        ).permute(0, 2, 3, 1)
        if torch.is_autocast_enabled(key.device.type):  # once, and not each time they are looked at
            precision = torch.get_autocast_dtype(key.device.type)
            key, value = key.to(precision), value.to(precision)
        kept = token_mask(masks)
        return [
            References(k[m], v[m], m.nonzero()) for k, v, m in zip(key, value, kept, strict=True)
        ]

    def attend(self, branch: str, query: Tensor, wanted: Tensor, references: References) -> Tensor:
        """Return attended values where a mask wants them, 0 elsewhere.

        Exact, because Eq. 4 multiplies what is left out by zero.

        Args:
            branch: "face" or "lip".
            query: [D, h, w].
            wanted: [h, w], bool.
            references: Keys and values.

        Returns:
            [C + 48, h, w].
        """
        sharpness = 1.0 if self.training else SHARPNESS
        scaled = (query[:, wanted].t() * (self.temperature[branch] * sharpness)).contiguous()
        bias = references.log_weight
        # Four dimensions (batch, heads, tokens, width): with three, torch takes its slow path.
        found = F.scaled_dot_product_attention(
            scaled[None, None],
            references.key[None, None],
            references.value[None, None],
            attn_mask=None if bias is None else bias.expand(1, 1, len(scaled), -1),
            scale=1.0,
        )[0, 0]
        latent = found.new_zeros(wanted.numel(), found.shape[1])
        latent = latent.index_copy(0, wanted.flatten().nonzero()[:, 0], found)
        return latent.t().reshape(-1, *wanted.shape)

    def forward(
        self,
        target_pncc: Tensor,
        surroundings: Tensor,
        face_mask: Tensor,
        lip_mask: Tensor,
        face: References,
        lip: References,
        mouths: Tensor | None = None,
    ) -> Rendered:
        """Render the lower face of one frame.

        Dual-Attention = Lip-Attention * M^l + Face-Attention * (1 - M^l)         (paper, Eq. 4)

        Args:
            target_pncc: Geometry to render, [3, H, W].
            surroundings: The frame; only pixels outside ``face_mask`` are used, [3, H, W].
            face_mask: 1 where pixels are rendered, [H, W].
            lip_mask: 1 on the lips and a margin, [H, W].
            face: Face references.
            lip: Lip references.
            mouths: Of the references most alike, carried here (``teeth.carry``), [8 K, H, W]; for
                the refiner.

        Returns:
            The picture and its warp.

        Raises:
            ValueError: If there is a refiner and no mouths.
        """
        geometry = self.geometry_encoder(target_pncc[None])
        in_face, in_lip = token_mask(face_mask[None])[0], token_mask(lip_mask[None])[0]
        in_lip = in_lip & in_face
        beside_lips = in_face & ~in_lip
        off_face = (1 - face_share(target_pncc[None])[0, 0]) * beside_lips
        query = self.keys("face", target_pncc[None], geometry)[0]
        from_face = self.attend("face", query, beside_lips & (off_face == 0), face)
        from_face = from_face + self.attend(
            "face", query, off_face > 0, prefer_near(face, off_face)
        )
        from_lip = self.attend("lip", self.keys("lip", target_pncc[None], geometry)[0], in_lip, lip)
        found = from_lip + from_face  # Eq. 4: each is 0 where the other is wanted
        warp = F.pixel_shuffle(found[None, self.hyper.channels :], STRIDE)
        around = (surroundings * (1 - face_mask))[None]
        latent = torch.cat(
            [
                found[None],
                geometry,
                F.avg_pool2d(around, STRIDE),
                in_face.to(found)[None, None],
                in_lip.to(found)[None, None],
            ],
            1,
        )
        pixels = torch.cat([warp, target_pncc[None], around, face_mask[None, None]], 1)
        image = warp + self.decoder(latent, pixels)
        keep = surroundings * (1 - face_mask)
        rendered = Rendered(
            image[0] * face_mask + keep,
            warp[0] * face_mask + keep,
            found[: self.hyper.channels],
        )
        return self.refine(rendered, target_pncc, lip_mask * face_mask, mouths)

    def refine(
        self, rendered: Rendered, target_pncc: Tensor, lip_mask: Tensor, mouths: Tensor | None
    ) -> Rendered:
        """Return the picture with the refiner's correction on the lips, if there is a refiner."""
        if self.refiner is None:
            return rendered
        if mouths is None:
            raise ValueError("this renderer has a refiner, which needs the references' mouths")
        box = mouth_box(lip_mask)
        pixels, latent = refiner_inputs(rendered, target_pncc, lip_mask, mouths)
        correction, share = self.refiner.choose(pixels[None], latent[None])
        edge = box.cut(soft_edge(lip_mask))
        image = rendered.image.clone()
        box.cut(image).add_(correction[0] * edge)
        choice = share.new_zeros(share.shape[1], *lip_mask.shape)
        box.cut(choice).copy_(share[0] * edge)
        return Rendered(image, rendered.warp, rendered.latent, choice)


def refiner_inputs(
    rendered: Rendered, target_pncc: Tensor, lip_mask: Tensor, mouths: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the refiner sees of a rendered window: [10 + 8 K, h, w] and [C, h/4, w/4]."""
    box = mouth_box(lip_mask)
    pixels = torch.cat([rendered.image, rendered.warp, target_pncc, lip_mask[None], mouths])
    return box.cut(pixels), box.cut(rendered.latent, STRIDE)


def channels_last(network: nn.Module) -> None:
    """Lay convolution weights out channels-last: a fifth faster on these CPUs, same results."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def face_share(pncc: Tensor) -> Tensor:
    """Return how much of each token shows a face, [N, 3, H, W] -> [N, 1, h, w], 0 to 1."""
    return F.avg_pool2d((pncc.amax(1, keepdim=True) > 0).to(pncc), STRIDE)


def token_mask(masks: Tensor) -> Tensor:
    """Return the tokens that a mask touches, [N, H, W] -> [N, h, w], bool."""
    return F.max_pool2d(masks[:, None], STRIDE)[:, 0] > 0
