"""The options of a dub, written once for the commands that take them: dub, batch, preview."""

from collections.abc import Callable
from typing import Any

from dubcli.cli.gathered import Command, gathered
from dubcli.cli.options import (
    AdaptOption,
    Allow8bitOption,
    AudioEncoderOption,
    AudioOption,
    BedFadeOption,
    BedLevelOption,
    C2paCertificateOption,
    C2paKeyOption,
    CacheFolderOption,
    CacheLimitOption,
    CloseInSilenceOption,
    CodecOption,
    CoveredOption,
    CrfOption,
    DebugMaskOption,
    DeinterlaceOption,
    DeviceOption,
    FaceOption,
    FaceReferencesOption,
    FrameRateOption,
    LengthOption,
    LipReferencesOption,
    LoudnessOption,
    MaskFeatherOption,
    MaskGrowOption,
    MaxPixelsOption,
    MaxSecondsOption,
    ModelsOption,
    MouthScaleOption,
    OverwriteOption,
    PatchOnlyOption,
    PixelFormatOption,
    PrecisionOption,
    PresetOption,
    ProvenanceOption,
    RangeOption,
    SpeechAtOption,
    ThreadsOption,
    TracksOption,
    UseCacheOption,
)
from dubcli.config import DEFAULTS, CacheOptions, DubOptions

# Name -> type and help, in the order of --help. Names are those of DubOptions' fields; the cache is
# three options, and --range, which may be repeated, is its field's text in pieces.
OF_A_DUB: dict[str, Any] = {
    "device": DeviceOption,
    "models": ModelsOption,
    "audio_encoder": AudioEncoderOption,
    "lip_references": LipReferencesOption,
    "face_references": FaceReferencesOption,
    "mouth_scale": MouthScaleOption,
    "close_in_silence": CloseInSilenceOption,
    "length": LengthOption,
    "face": FaceOption,
    "ranges": RangeOption,
    "speech_at": SpeechAtOption,
    "covered": CoveredOption,
    "mask_grow": MaskGrowOption,
    "mask_feather": MaskFeatherOption,
    "debug_mask": DebugMaskOption,
    "adapt": AdaptOption,
    "loudness": LoudnessOption,
    "audio": AudioOption,
    "bed_level": BedLevelOption,
    "bed_fade": BedFadeOption,
    "provenance": ProvenanceOption,
    "c2pa_certificate": C2paCertificateOption,
    "c2pa_key": C2paKeyOption,
    "max_pixels": MaxPixelsOption,
    "max_seconds": MaxSecondsOption,
    "crf": CrfOption,
    "preset": PresetOption,
    "codec": CodecOption,
    "pixel_format": PixelFormatOption,
    "allow_8bit": Allow8bitOption,
    "deinterlace": DeinterlaceOption,
    "frame_rate": FrameRateOption,
    "tracks": TracksOption,
    "patch_only": PatchOnlyOption,
    "threads": ThreadsOption,
    "precision": PrecisionOption,
    "overwrite": OverwriteOption,
}
OF_THE_CACHE: dict[str, tuple[Any, Any]] = {
    "cache": (UseCacheOption, DEFAULTS.cache.use),
    "cache_folder": (CacheFolderOption, DEFAULTS.cache.folder),
    "cache_limit": (CacheLimitOption, DEFAULTS.cache.limit_mb),
}
# Those that make a file, in which a command that makes none has no say.
OF_THE_FILE = frozenset(
    {
        "loudness",
        "audio",
        "bed_level",
        "bed_fade",
        "provenance",
        "c2pa_certificate",
        "c2pa_key",
        "crf",
        "preset",
        "codec",
        "pixel_format",
        "allow_8bit",
        "tracks",
        "patch_only",
    }
)


def takes_dub_options(
    without: frozenset[str] = frozenset(), **other: Any
) -> Callable[[Command], Command]:
    """Return a decorator that puts a dub's options in the place of a parameter ``options``.

    Args:
        without: Names of options that the command does not take: they keep their defaults.
        other: Name -> another type and help than ``OF_A_DUB``'s.
    """
    taken = {name: other.get(name, kind) for name, kind in OF_A_DUB.items() if name not in without}
    defaults = {name: getattr(DEFAULTS, name) for name in taken} | {"ranges": None}
    options = {name: (kind, defaults[name]) for name, kind in taken.items()} | OF_THE_CACHE
    return gathered("options", options, _gather)


def _gather(values: dict[str, Any]) -> DubOptions:
    """Return a dub's options: the cache is three, and --range may be repeated."""
    cache = CacheOptions(*(values.pop(name) for name in OF_THE_CACHE))
    values["ranges"] = ", ".join(values["ranges"] or ())
    return DubOptions(**values, cache=cache)
