"""Makes test/vectors/sealed-stream.json with Google's Tink, in both directions.

    python3 -m venv /tmp/tink && /tmp/tink/bin/pip install tink
    /tmp/tink/bin/python test/interop/tink-vectors.py

"sealedByTink": Tink seals seeded content under a seeded key; its header is random, so it is recorded, and the rest of the
ciphertext follows from it. "openedByTink": streams of test/interop/seal-for-tink.ts, each opened by Tink here; and cut, added
to or reordered, each refused by Tink here, with one exception: after a last segment that is full, Tink reads no further, so it
doesn't notice bytes that were added. Apotheca refuses those too. A stream over 4 KiB is recorded by its SHA-256.
"""

import hashlib
import importlib.metadata
import io
import json
import pathlib
import struct
import subprocess
import tempfile

import tink
from tink import secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
HEADER_BYTES = 40
INLINE_BYTES_MAX = 4096
TYPE_URL = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
TINK_SIZES = [0, 1, 31, 1000, MIB - 56, MIB - 55, 2 * MIB - 72, 2 * MIB - 71, 3 * MIB + 17]


def seeded_bytes(seed: str, length: int) -> bytes:
    out = bytearray()
    block = 0
    while len(out) < length:
        out += hashlib.sha256(seed.encode() + struct.pack(">I", block)).digest()
        block += 1
    return bytes(out[:length])


def primitive(key: bytes) -> streaming_aead.StreamingAead:
    """Tink's AES256_GCM_HKDF_1MB over exactly these 32 key bytes."""
    streaming_key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0,
        key_value=key,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=MIB, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
        ),
    )
    keyset = tink_pb2.Keyset(
        primary_key_id=1,
        key=[
            tink_pb2.Keyset.Key(
                key_data=tink_pb2.KeyData(
                    type_url=TYPE_URL,
                    value=streaming_key.SerializeToString(),
                    key_material_type=tink_pb2.KeyData.SYMMETRIC,
                ),
                status=tink_pb2.ENABLED,
                key_id=1,
                output_prefix_type=tink_pb2.RAW,
            )
        ],
    )
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


class Kept(io.BytesIO):
    """Tink closes its destination; this one keeps what was written."""

    def close(self) -> None:
        self.kept = self.getvalue()
        super().close()


def tink_seal(key: bytes, plaintext: bytes) -> bytes:
    destination = Kept()
    with primitive(key).new_encrypting_stream(destination, b"") as stream:
        stream.write(plaintext)
    return destination.kept


def tink_open(key: bytes, ciphertext: bytes) -> bytes:
    with primitive(key).new_decrypting_stream(io.BytesIO(ciphertext), b"") as stream:
        return stream.read()


def tink_refuses(key: bytes, ciphertext: bytes) -> bool:
    try:
        tink_open(key, ciphertext)
    except tink.TinkError:
        return True
    return False


def recorded(ciphertext: bytes) -> dict:
    record = {"ciphertextBytes": len(ciphertext), "ciphertextSha256": hashlib.sha256(ciphertext).hexdigest()}
    if len(ciphertext) <= INLINE_BYTES_MAX:
        record["ciphertext"] = ciphertext.hex()
    return record


def sealed_by_tink() -> list:
    cases = []
    for size in TINK_SIZES:
        name = f"tink-{size}"
        ciphertext = tink_seal(seeded_bytes(f"key {name}", 32), seeded_bytes(f"plaintext {name}", size))
        cases.append(
            {"name": name, "plaintextBytes": size, "header": ciphertext[:HEADER_BYTES].hex(), **recorded(ciphertext)}
        )
    return cases


def damages(ciphertext: bytes) -> dict:
    """The same damages as in test/unit/crypto/sealed-stream.test.ts."""
    result = {"empty": b"", "lastByteCut": ciphertext[:-1]}
    if len(ciphertext) % MIB != 0:
        result["byteAdded"] = ciphertext + b"\0"
    if len(ciphertext) > 2 * MIB:
        result["cutAfterSegment0"] = ciphertext[:MIB]
        result["segments1And2Swapped"] = (
            ciphertext[:MIB] + ciphertext[2 * MIB : 3 * MIB] + ciphertext[MIB : 2 * MIB] + ciphertext[3 * MIB :]
        )
    return result


def opened_by_tink() -> list:
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        node = ROOT / "node_modules" / ".bin" / "node"
        subprocess.run([node, ROOT / "test" / "interop" / "seal-for-tink.ts", folder], check=True)
        for path in sorted(pathlib.Path(folder).glob("*.sealed"), key=lambda one: one.stat().st_size):
            name = path.stem
            size = int(name.removeprefix("ours-"))
            ciphertext = path.read_bytes()
            key = seeded_bytes(f"key {name}", 32)
            if tink_open(key, ciphertext) != seeded_bytes(f"plaintext {name}", size):
                raise SystemExit(f"Tink read something else from {name}")
            accepted = [what for what, bad in damages(ciphertext).items() if not tink_refuses(key, bad)]
            if accepted:
                raise SystemExit(f"Tink accepted {name} with {accepted}")
            cases.append({"name": name, "plaintextBytes": size, **recorded(ciphertext)})
    return cases


def main() -> None:
    streaming_aead.register()
    vectors = {
        "source": f"Tink {importlib.metadata.version('tink')} for Python, by test/interop/tink-vectors.py",
        "content": "key, plaintext and our headers: SHA-256(utf8(seed) || u32be(block)), block after block; "
        "seeds 'key NAME', 'plaintext NAME', 'header NAME' (39 bytes after the byte 40)",
        "sealedByTink": sealed_by_tink(),
        "openedByTink": opened_by_tink(),
    }
    (ROOT / "test" / "vectors" / "sealed-stream.json").write_text(json.dumps(vectors, indent=2) + "\n")


main()
