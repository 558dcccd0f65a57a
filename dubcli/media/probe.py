"""What a media file holds: VideoInfo and AudioInfo, or one sentence on why it cannot be used."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dubcli.errors import InputError
from dubcli.media.binary import find_ffmpeg
from dubcli.media.command import ALPHA_DECODERS, count_audio
from dubcli.media.files import open_media, open_picture
from dubcli.media.process import FfmpegProcess
from dubcli.media.sequence import find_pictures, is_pictures, is_sequence
from dubcli.media.stills import Still
from dubcli.media.timeline import Timeline, choose_rate, first_picture_stream, read_timeline
from dubcli.pace import Pace
from dubcli.records import AudioInfo, Pictures, VideoInfo
from dubcli.timecode import parse_rate

# Numbers of ITU-T H.273, names of ffmpeg; 2 is "unspecified".
_SPACES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
}
_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
_TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
_RANGES = {1: "tv", 2: "pc"}
_RIGHT_ANGLES = (0, 90, 180, 270)
_COUNTED_BYTES = 2**20
_MASTERING_INTEGERS = 22
_CHROMATICITY_UNIT, _LUMINANCE_UNIT = 50_000, 10_000  # of SMPTE ST 2086: 0.00002, 0.0001 cd/m2


def probe_video(path: Path) -> VideoInfo:
    """Return what the first video stream of a file is.

    Reads every packet once (for the exact frame count and rate) and decodes one frame.
    ``frame_count`` counts the frames that ``FrameReader`` gives.

    Args:
        path: The file.

    Raises:
        InputError: If there is no video that can be decoded.
    """
    if is_pictures(path):
        raise InputError(f"{path}: a picture, where a video file is needed; make a video of it")
    with open_media(path) as container:
        stream = first_picture_stream(container)
        if stream is None:
            raise InputError(f"{path}: no video stream; give a video file")
        frame = _first_decoded(container, stream)
        if not isinstance(frame, VideoFrame):
            raise InputError(f"{path}: no picture can be decoded; check that the file is complete")
        timeline = read_timeline(path)
        frame_rate, variable_rate = choose_rate(timeline, stream)
        stamps = timeline.stamps() if timeline is not None and variable_rate else None
        count, duration_s = _extent(container, stream, timeline, Pace(frame_rate, stamps))
        # As ffmpeg's autorotate does: right angles turn the picture, others keep its size.
        rotation_deg = frame.rotation % 360 if frame.rotation % 360 in _RIGHT_ANGLES else 0
        turned = rotation_deg in {90, 270}
        aspect = stream.sample_aspect_ratio or Fraction(1)
        pixel_format = frame.format.name
        if stream.codec_context.name in ALPHA_DECODERS and _has_hidden_alpha(stream):
            pixel_format = "yuva420p"  # which only another decoder than PyAV's gives
        full = pixel_format.startswith("yuvj")
        tags = stream.codec_context  # now those of the coded stream, not only the container's
        return VideoInfo(
            path=path,
            width=frame.height if turned else frame.width,
            height=frame.width if turned else frame.height,
            frame_rate=frame_rate,
            frame_count=count,
            duration_s=duration_s,
            rotation_deg=rotation_deg,
            variable_rate=variable_rate,
            has_audio=len(container.streams.audio) > 0,
            codec=stream.codec_context.name,
            pixel_format=pixel_format,
            colour_space=_SPACES.get(tags.colorspace),
            colour_primaries=_PRIMARIES.get(tags.color_primaries),
            colour_transfer=_TRANSFERS.get(tags.color_trc),
            colour_range="pc" if full else _RANGES.get(tags.color_range),
            pixel_aspect=1 / aspect if turned else aspect,
            profile=stream.codec_context.profile,
            interlaced=frame.interlaced_frame,
            mastering_display=_mastering_display(frame),
            content_light=_content_light(frame),
            stamps=stamps,
        )


def probe_source(path: Path, frame_rate: str | None) -> VideoInfo:
    """Return what a video to be dubbed is: a file, or a picture sequence.

    Args:
        path: A video file; or a sequence's pattern, first picture or folder.
        frame_rate: Of a picture sequence, as the user wrote it; None: not said.

    Raises:
        InputError: If it cannot be used, or the frame rate is missing or not to be given.
    """
    if not is_sequence(path):
        if frame_rate is not None:
            raise InputError(f"{path}: has its own frame rate; leave out --frame-rate")
        return probe_video(path)
    pictures, still, notes = find_pictures(path)
    if frame_rate is None:
        raise InputError(
            f"{path}: pictures do not say how fast they play; give --frame-rate, such as 25, "
            "23.976 or 30000/1001"
        )
    return _as_video(path, pictures, still, parse_rate(frame_rate, "--frame-rate"), notes)


def _as_video(
    path: Path, pictures: Pictures, still: Still, frame_rate: Fraction, notes: tuple[str, ...]
) -> VideoInfo:
    """Return what a picture sequence is as a video; its first picture is decoded."""
    first = pictures.names.path(pictures.first)
    with open_picture(first, still) as container:
        stream = container.streams.video[0]
        frame = _first_decoded(container, stream)
        if not isinstance(frame, VideoFrame):
            raise InputError(f"{first}: cannot be decoded; make the picture again")
        pixel_format = frame.format.name
        if pixel_format == "pal8":  # its colours may have alpha
            pixel_format = "rgba"
        tags = stream.codec_context
        return VideoInfo(
            path=path,
            width=frame.width,
            height=frame.height,
            frame_rate=frame_rate,
            frame_count=pictures.count,
            duration_s=pictures.count / frame_rate,
            rotation_deg=0,  # pixels are read and written as they are stored
            variable_rate=False,
            has_audio=False,
            codec=stream.codec_context.name,
            pixel_format=pixel_format,
            colour_space=_SPACES.get(tags.colorspace),
            colour_primaries=_PRIMARIES.get(tags.color_primaries),
            colour_transfer=_TRANSFERS.get(tags.color_trc),
            colour_range=_RANGES.get(tags.color_range),
            pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
            pictures=pictures,
            notes=notes,
        )


def _has_hidden_alpha(stream: VideoStream) -> bool:
    """Return whether a WebM track says that its pictures have alpha, coded beside them."""
    told = {key.lower(): value for key, value in stream.metadata.items()}
    return told.get("alpha_mode") == "1"


def _mastering_display(frame: VideoFrame) -> str | None:
    """Return the screen that a picture was made on, as x264 and x265 write it."""
    data = _side_data(frame, "MASTERING_DISPLAY_METADATA")
    if len(data) != 4 * _MASTERING_INTEGERS:
        return None
    # AVMasteringDisplayMetadata: fractions of x and y of red, green, blue and white, of the least
    # and the greatest luminance; then whether there are colours, and luminances.
    *numbers, has_colours, has_luminance = struct.unpack(f"={_MASTERING_INTEGERS}i", data)
    if not (has_colours and has_luminance) or 0 in numbers[1::2]:
        return None
    values = [Fraction(n, d) for n, d in zip(numbers[::2], numbers[1::2], strict=True)]
    points = [round(value * _CHROMATICITY_UNIT) for value in values[:8]]
    red, green, blue, white = (f"({x},{y})" for x, y in zip(points[::2], points[1::2], strict=True))
    low, high = (round(value * _LUMINANCE_UNIT) for value in values[8:])
    return f"G{green}B{blue}R{red}WP{white}L({high},{low})"


def _content_light(frame: VideoFrame) -> tuple[int, int] | None:
    """Return the greatest luminance of a pixel and of a frame's mean, cd/m2 (CTA-861.3)."""
    data = _side_data(frame, "CONTENT_LIGHT_LEVEL")
    if len(data) != struct.calcsize("=2I"):
        return None
    brightest, frame_average = struct.unpack("=2I", data)
    return brightest, frame_average


def _side_data(frame: VideoFrame, name: str) -> bytes:
    """Return what a decoder says beside a picture; nothing where it does not say it."""
    container = cast(SideDataContainer, frame.side_data)
    said = [container[place] for place in range(len(container))]
    return next((bytes(data) for data in said if data.type.name == name), b"")


def _first_decoded(
    container: InputContainer, stream: VideoStream | AudioStream
) -> VideoFrame | AudioFrame | None:
    """Return the first picture or stretch of sound; None if none can be decoded."""
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue  # a damaged packet; ffmpeg goes on too
            for frame in frames:
                if isinstance(frame, VideoFrame | AudioFrame):
                    return frame
    except av.FFmpegError:
        pass  # a damaged end
    return None


def _extent(
    container: InputContainer,
    stream: VideoStream,
    timeline: Timeline | None,
    pace: Pace,
) -> tuple[int | None, Fraction | None]:
    """Return the number of frames and the duration in seconds."""
    if timeline is not None:
        return len(timeline.pts), pace.begins_s(len(timeline.pts))
    duration_s = None
    if stream.duration is not None and stream.time_base is not None:
        duration_s = stream.duration * stream.time_base
    elif container.duration is not None:
        duration_s = Fraction(container.duration, 1_000_000)
    return stream.frames or None, duration_s


def probe_audio(path: Path) -> AudioInfo:
    """Return what the first audio stream of a file is.

    Has ffmpeg decode it through once, in constant memory, to count its samples: containers round
    their durations, AAC and MP3 hold samples that are not to be played, and libraries of
    different versions disagree on which (PyAV 18 plays the padding at the end of AAC in .mp4,
    ffmpeg 9 does not). So the count is that of the ffmpeg which reads and writes for us.

    Args:
        path: The file.

    Raises:
        InputError: If there is no sound that can be decoded.
        MediaError: If ffmpeg is not found.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            raise InputError(f"{path}: no audio stream; give a file with speech")
        stream = container.streams.audio[0]
        first = _first_decoded(container, stream)
        if not isinstance(first, AudioFrame):
            raise InputError(f"{path}: the sound has no samples; check that the file is complete")
        return AudioInfo(
            path=path,
            rate_hz=first.sample_rate,
            channels=first.layout.nb_channels,
            sample_count=_count_samples(path),
            codec=stream.codec_context.name,
            sample_format=first.format.packed.name,
            layout=first.layout.name,
        )


def _count_samples(path: Path) -> int:
    buffer = bytearray(_COUNTED_BYTES)
    total = 0
    with FfmpegProcess(count_audio(find_ffmpeg(), path)) as process:
        while count := process.read_into(buffer):
            total += count
        if total == 0:
            reason = process.complaint() or "it gave no sample"
            raise InputError(
                f"{path}: ffmpeg could not decode the sound ({reason}); "
                "check that the file is complete"
            )
    return total
