"""The key that signs marks: of a file, of an operator's command, or of development."""

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from backend.provenance.certificates import make_development_key_pair
from backend.settings.provenance import ProvenanceSettings

HALF = 32  # bytes of each of the two numbers of a signature
COMMAND_SECONDS = 10.0
ES256 = ec.ECDSA(hashes.SHA256())


class SigningFailed(Exception):  # noqa: N818 - the key is away, or signs with something else
    """The message is for the log."""


class SigningKey(Struct, frozen=True, kw_only=True):
    """`chain` is PEM, the signer's certificate first. `sign` raises SigningFailed."""

    chain: str
    sign: Callable[[bytes], Awaitable[bytes]]  # 64 bytes, as COSE has them
    is_development: bool = False


def load_signing_key(settings: ProvenanceSettings) -> SigningKey:
    """Without a certificate, a key of development that lives as long as the process."""
    if not settings.certificate_file:
        made = make_development_key_pair()
        return SigningKey(chain=made.chain, sign=key_of(made.chain, made.key), is_development=True)
    chain = Path(settings.certificate_file).read_text()
    if settings.sign_command:
        command = partial(run_command, shlex.split(settings.sign_command))
        return SigningKey(chain=chain, sign=checked(chain, command))
    return SigningKey(chain=chain, sign=key_of(chain, Path(settings.key_file).read_text()))


def key_of(chain: str, pem: str) -> Callable[[bytes], Awaitable[bytes]]:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SigningFailed("the key is not of an elliptic curve")

    async def sign(data: bytes) -> bytes:
        return key.sign(data, ES256)

    return checked(chain, sign)


def checked(chain: str, sign: Callable[[bytes], Awaitable[bytes]]) -> Callable[[bytes], Awaitable[bytes]]:
    """The same, verified with the certificate: a key that does not belong to it marks nothing."""
    public = x509.load_pem_x509_certificate(chain.encode()).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise SigningFailed("the certificate is not of an elliptic curve")

    async def sign_and_verify(data: bytes) -> bytes:
        signature = await sign(data)
        raw, der = both_forms(signature)
        try:
            public.verify(der, data, ES256)
        except InvalidSignature:
            raise SigningFailed("the signature is not of the certificate's key") from None
        return raw

    return sign_and_verify


def both_forms(signature: bytes) -> tuple[bytes, bytes]:
    """As COSE has it (two numbers of 32 bytes), and as X.509 has it (DER). Either is accepted."""
    if len(signature) == 2 * HALF:
        numbers = int.from_bytes(signature[:HALF], "big"), int.from_bytes(signature[HALF:], "big")
        return signature, utils.encode_dss_signature(*numbers)
    try:
        r, s = utils.decode_dss_signature(signature)
        return r.to_bytes(HALF, "big") + s.to_bytes(HALF, "big"), signature
    except (ValueError, OverflowError):
        raise SigningFailed("not an ES256 signature") from None


async def run_command(command: Sequence[str], data: bytes) -> bytes:
    """The command reads what is to be signed, and writes the signature."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        raise SigningFailed(f"the command does not start: {type(error).__name__}") from error
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            signature, _ = await process.communicate(data)
    except RuntimeError as error:  # of uvloop, where the command ends before it has read what is to be signed
        raise SigningFailed("the command ended before it read its input") from error
    except TimeoutError:
        raise SigningFailed(f"the command took longer than {COMMAND_SECONDS} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise SigningFailed(f"the command ended with {process.returncode}")
    return signature
