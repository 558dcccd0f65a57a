"""Signing what a file says about itself: a C2PA manifest, with a certificate that the user brings.

Nothing is sent anywhere: there is no time stamp from a server, and no certificate is looked up.
"""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dubcli.config import DubOptions
from dubcli.errors import InputError, MediaError, MissingExtraError
from dubcli.media.files import check_readable
from dubcli.media.provenance import ISO_CONTAINERS, SOURCE_TYPE, Credentials, Mark

if TYPE_CHECKING:
    import c2pa

ALGORITHMS = (b"es256", b"ps256", b"es384", b"es512", b"ed25519")
TRIAL_PX = 8
VALID = frozenset({"Valid", "Trusted"})  # signed in order; whether the signer is known: Trusted


def credentials_of(options: DubOptions, output: Path) -> Credentials | None:
    """Return what an output is to be signed with, tried on a small picture; None: it is not.

    Args:
        options: ``c2pa_certificate``, ``c2pa_key`` and ``provenance``.
        output: The file to be written.

    Raises:
        InputError: If one of the two is missing, or they or the output's container do not do.
        MissingExtraError: If the signer is not installed.
    """
    names = {"--c2pa-certificate": options.c2pa_certificate, "--c2pa-key": options.c2pa_key}
    if not any(names.values()):
        return None
    for option, name in names.items():
        if not name:
            raise InputError(f"{option} is missing: signing takes a certificate and its key")
        check_readable(Path(name))
    if not options.provenance:
        raise InputError("--no-provenance leaves nothing to sign; leave out --c2pa-certificate")
    if output.suffix.lower() not in ISO_CONTAINERS:
        known = ", ".join(sorted(ISO_CONTAINERS))
        raise InputError(f"{output}: this container cannot be signed; write one of {known}")
    found = Credentials(Path(options.c2pa_certificate or ""), Path(options.c2pa_key or ""))
    _try(found)
    return found


def _try(credentials: Credentials) -> None:
    """Sign a picture in memory, so that nobody waits for a dub that cannot be signed."""
    signer = _signer(credentials)
    import c2pa

    picture = cv2.imencode(".png", np.zeros((TRIAL_PX, TRIAL_PX, 3), np.uint8))[1].tobytes()
    signed = io.BytesIO()
    try:
        builder = c2pa.Builder(_manifest(Mark("dubcli")))
        builder.sign(signer, "image/png", io.BytesIO(picture), signed)
        signed.seek(0)
        state = json.loads(c2pa.Reader("image/png", signed).json()).get("validation_state")
    except c2pa.C2paError as error:
        raise InputError(_refusal(credentials, str(error))) from error
    if state not in VALID:
        raise InputError(_refusal(credentials, f"the signature is {state}"))


def _refusal(credentials: Credentials, reason: str) -> str:
    return (
        f"{credentials.certificate}: cannot sign with {credentials.key} "
        f"({' '.join(reason.split())}); give a chain of certificates in PEM, the signer's first, "
        "and its key in PKCS#8 PEM"
    )


def _signer(credentials: Credentials) -> "c2pa.Signer":
    """Return a signer of whichever algorithm the key is for."""
    try:
        import c2pa
    except ImportError as error:
        raise MissingExtraError("c2pa") from error
    chain, key = credentials.certificate.read_bytes(), credentials.key.read_bytes()
    reasons = []
    for algorithm in ALGORITHMS:
        try:
            return c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, chain, key, None))
        except c2pa.C2paError as error:
            reasons.append(str(error))
    raise InputError(_refusal(credentials, reasons[0]))


def _manifest(mark: Mark) -> str:
    """Return what is signed, as the C2PA library takes it."""
    name, _, version = mark.software.partition(" ")
    agent = {"name": name, "version": version}
    action = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPE,
        "softwareAgent": agent,
        "description": mark.comment,
    }
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [action]}}
    return json.dumps({"claim_generator_info": [agent], "assertions": [actions]})


def signed_path(partial: Path) -> Path:
    """Return where the signed copy of an unfinished output is written.

    Example:
        >>> signed_path(Path("films/.out.partial.mp4")).name
        '.out.partial.signed.mp4'
    """
    return partial.with_name(f"{partial.stem}.signed{partial.suffix}")


def sign(path: Path, mark: Mark, credentials: Credentials) -> None:
    """Put a signed manifest into a whole .mp4 or .mov; nothing may be changed in it afterwards.

    Args:
        path: The file; a copy takes its place.
        mark: What is said.
        credentials: Tried, by ``credentials_of``.

    Raises:
        MediaError: If it cannot be signed.
    """
    import c2pa

    copy = signed_path(path)
    try:
        c2pa.Builder(_manifest(mark)).sign_file(path, copy, _signer(credentials))
        copy.replace(path)
    except (c2pa.C2paError, OSError) as error:
        raise MediaError(f"it could not be signed: {error}") from error
    finally:
        copy.unlink(missing_ok=True)
