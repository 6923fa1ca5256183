"""Makes test/vectors/erasure.json with galois, a library for finite fields that knows nothing of Apotheca.

    python3 -m venv /tmp/galois && /tmp/galois/bin/pip install galois==0.4.11
    /tmp/galois/bin/python test/interop/erasure-vectors.py

The generator is made from its definition in docs/spec/erasure.md: a Cauchy matrix, its columns scaled, then its rows. Parity is a product of
matrices over the field. The script also solves for the data from what is left after erasures, with galois, and ends with a failure
where that doesn't give the data again. A shard over 64 bytes is recorded by its SHA-256.
"""

import hashlib
import importlib.metadata
import itertools
import json
import pathlib
import random
import struct

import galois
import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
CHUNK = 16 * 1024
INLINE_BYTES_MAX = 64
ROWS, COLUMNS = 5, 10
PATTERNS = 12

# The codes of the placement table with parity, and what its shortened stripes come to.
FULL_CODES = [(1, 1), (1, 2), (2, 2), (4, 3), (6, 4), (10, 5)]
SHORTENED_CODES = [(1, 4), (2, 4), (3, 5), (5, 5), (9, 5), (3, 3), (5, 4)]

FIELD = galois.GF(2**8, irreducible_poly="x^8 + x^4 + x^3 + x^2 + 1", primitive_element="x")


def seeded_bytes(seed: str, length: int) -> bytes:
    out = bytearray()
    block = 0
    while len(out) < length:
        out += hashlib.sha256(seed.encode() + struct.pack(">I", block)).digest()
        block += 1
    return bytes(out[:length])


def generator(rows: int, columns: int):
    x = FIELD(list(range(rows)))
    y = FIELD([255 - column for column in range(columns)])
    cauchy = FIELD.Ones((rows, columns)) / (x.reshape(-1, 1) + y.reshape(1, -1))
    columns_scaled = cauchy / cauchy[0:1, :]
    return columns_scaled / columns_scaled[:, 0:1]


def recorded(shard: bytes) -> dict:
    return {"bytes": shard.hex()} if len(shard) <= INLINE_BYTES_MAX else {"sha256": hashlib.sha256(shard).hexdigest()}


def parity_of(matrix, sizes: list, name: str):
    longest = max(sizes)
    shards = [seeded_bytes(f"data {name} {i}", size).ljust(longest, b"\0") for i, size in enumerate(sizes)]
    data = FIELD([list(shard) for shard in shards]) if longest < MIB else stacked(shards)
    return data, matrix @ data


def stacked(shards: list):
    return numpy.vstack([numpy.frombuffer(shard, dtype=numpy.uint8) for shard in shards]).view(FIELD)


def check_rebuild(matrix, data, parity) -> None:
    """Any k of n tell the data: by solving with galois, for some patterns of erasures."""
    k, m = data.shape[0], parity.shape[0]
    full = numpy.vstack([FIELD.Identity(k), matrix])
    shards = numpy.vstack([data, parity])
    patterns = list(itertools.combinations(range(k + m), k))
    for kept in random.Random(4).sample(patterns, min(PATTERNS, len(patterns))):
        solved = numpy.linalg.solve(full[list(kept), :], shards[list(kept), :64])
        if not numpy.array_equal(solved, data[:, :64]):
            raise SystemExit(f"{k}+{m} is not rebuilt from {kept}")


def case(k: int, m: int, sizes: list) -> dict:
    name = f"{k}+{m} {max(sizes)}"
    matrix = generator(m, k)
    data, parity = parity_of(matrix, sizes, name)
    check_rebuild(matrix, data, parity)
    return {
        "name": name,
        "dataBytes": sizes,
        "parity": [recorded(numpy.asarray(row).astype(numpy.uint8).tobytes()) for row in parity],
    }


def main() -> None:
    cases = []
    for k, m in FULL_CODES + SHORTENED_CODES:
        cases.append(case(k, m, [40] * k))
        # The last data shard ends before the others, and the longest across the edge of a chunk.
        cases.append(case(k, m, [CHUNK + 33] * (k - 1) + [CHUNK - 7 if k > 1 else CHUNK + 33]))
    cases.append(case(10, 5, [MIB] * 10))
    vectors = {
        "source": f"galois {importlib.metadata.version('galois')} for Python, by test/interop/erasure-vectors.py",
        "content": "data shard i of a case: SHA-256(utf8(seed) || u32be(block)), block after block; seed 'data NAME i'",
        "generator": [bytes(int(value) for value in row).hex() for row in generator(ROWS, COLUMNS)],
        "cases": cases,
    }
    (ROOT / "test" / "vectors" / "erasure.json").write_text(json.dumps(vectors, indent=2) + "\n")


main()
