/**
 * Reads a stripe's segments, verifies them, and makes its parity, all in memory that is used again.
 *
 * Every segment is verified here, though its holder verifies it too: parity made of a damaged segment would look right by its own
 * hash, and nobody would know until it is needed.
 */
import { equals } from 'uint8arrays/equals'
import { BLOCK_POOLED_BYTES_MIN } from '../core/limits.ts'
import { sha256 } from '../crypto/hash.ts'
import type { BufferPool } from '../p2p/buffer-pool.ts'
import { auditRoot } from '../shards/audit-tree.ts'
import { encodeParity } from '../shards/erasure.ts'
import type { Segment } from '../shards/object-walk.ts'
import type { Stripe } from '../shards/stripes.ts'
import type { Blocks } from '../store/blocks.ts'
import { PeerError } from './faults.ts'

export interface CodedShard {
  readonly bytes: Uint8Array
  readonly digest: Uint8Array
  readonly audit: Uint8Array
}

export interface CodedStripe {
  /** Data, then parity. */
  readonly shards: readonly CodedShard[]
  /** Gives the memory back: nobody reads the shards any more. Not called, it is left to the collector. */
  readonly release: () => void
}

/**
 * @param segments - of the stripe.
 * @throws {StoreError} `STORE_BLOCK_DAMAGED` and other faults of the store; {PeerError} `PLACEMENT_SEGMENT_MISSING`
 */
export async function codeStripe(
  deps: { readonly store: Blocks; readonly pool: BufferPool },
  { data, parity }: Stripe,
  segments: readonly Segment[],
): Promise<CodedStripe> {
  const { pool, store } = deps
  const buffers: Uint8Array[] = []
  const take = (bytes: number): Uint8Array => {
    if (bytes < BLOCK_POOLED_BYTES_MIN) return new Uint8Array(bytes)
    const buffer = pool.take()
    buffers.push(buffer)
    return buffer.subarray(0, bytes)
  }
  const read = await Promise.all(
    segments.map(async ({ bytes, digest }) => {
      const into = take(bytes)
      await readSegment(store, digest, into)
      return into
    }),
  )
  const shards: CodedShard[] = []
  for (const [at, bytes] of read.entries()) {
    await turn()
    shards.push({ bytes, digest: segments[at]?.digest ?? sha256(bytes), audit: auditRoot(bytes) })
  }
  const [only] = shards
  // Of one data shard, parity shards are copies: the same bytes, once.
  if (data === 1 && only !== undefined) shards.push(...Array.from({ length: parity }, () => only))
  else shards.push(...(await parityOf(read, parity, take)))
  return {
    shards,
    release: () => {
      for (const buffer of buffers.splice(0)) pool.give(buffer)
    },
  }
}

async function parityOf(
  data: readonly Uint8Array[],
  parity: number,
  take: (bytes: number) => Uint8Array,
): Promise<CodedShard[]> {
  const longest = Math.max(...data.map(({ length }) => length))
  const rows = Array.from({ length: parity }, () => take(longest))
  if (longest > 0) encodeParity(data, parity, rows)
  const shards: CodedShard[] = []
  for (const bytes of rows) {
    await turn()
    shards.push({ bytes, digest: sha256(bytes), audit: auditRoot(bytes) })
  }
  return shards
}

async function readSegment(store: Blocks, digest: Uint8Array, into: Uint8Array): Promise<void> {
  const bytes = await store.readInto(digest, into)
  if (bytes === into.length && equals(sha256(into), digest)) return
  // Read again by the store, which sets aside what is damaged, and says so.
  const again = await store.read(digest)
  if (again?.length !== into.length) throw new PeerError({ code: 'PLACEMENT_SEGMENT_MISSING' })
  into.set(again)
}

/** Hashing takes a millisecond a shard: others have their turn between two. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
