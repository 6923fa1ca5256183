/** `seal`: seal + SHA-256 + CID of a stream in memory, beside what one thread does with the two primitives alone. */
import { randomBytes } from 'node:crypto'
import { sha256 } from '../src/crypto/hash.ts'
import { SegmentSealer, ciphertextLength, segmentCapacity, segmentCount } from '../src/crypto/sealed-stream.ts'
import { buildFileTree } from '../src/shards/unixfs-tree.ts'
import { type Figure, median, reaches } from './figure.ts'
import { mbPerS, sealAndHashLimit } from './limits.ts'

const MIB = 1024 * 1024

export async function benchSeal(options: { quick: boolean }): Promise<Figure[]> {
  const bytes = (options.quick ? 64 : 1024) * MIB
  const rounds = options.quick ? 3 : 5
  const ours: number[] = []
  const limits: number[] = []
  await sealAndName(16 * MIB)
  sealAndHashLimit(16 * MIB)
  for (let round = 0; round < rounds; round++) {
    limits.push(sealAndHashLimit(bytes))
    ours.push(await sealAndName(bytes))
  }
  return [reaches('seal', 'seal + hash + CID', median(ours), 'MB/s', median(limits), 0.8)]
}

async function sealAndName(bytes: number): Promise<number> {
  const plain = randomBytes(MIB)
  const out = new Uint8Array(MIB)
  const started = performance.now()
  const sealer = new SegmentSealer({ key: randomBytes(32), profile: 'aes-256-gcm' })
  const length = ciphertextLength(bytes)
  const segments = segmentCount(length)
  const digests: Uint8Array[] = []
  let left = bytes
  for (let index = 0; index < segments; index++) {
    const piece = plain.subarray(0, Math.min(segmentCapacity(index), left))
    left -= piece.length
    const sealed = await sealer.seal(index, piece, index === segments - 1, out)
    digests.push(sha256(out.subarray(0, sealed)))
  }
  buildFileTree(digests, length)
  return mbPerS(bytes, performance.now() - started)
}
