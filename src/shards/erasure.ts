/**
 * Erasure code of a stripe: systematic Reed-Solomon over GF(2^8), any `data` of whose `data + parity` shards rebuild it.
 *
 * Shards are numbered 0 to `data - 1` (data, as they are) and `data` to `data + parity - 1` (parity). A data shard shorter than the
 * stripe's longest counts as if zeros followed it; parity shards are as long as the longest. Shards are read in the pieces in
 * which they came, and results can be written into given buffers; nothing but chunks is copied. A call runs to its end on this thread:
 * ten data shards of 1 MiB take some 3 ms.
 *
 * A code detects nothing: whoever takes a rebuilt shard compares its digest.
 *
 * @see docs/spec/erasure.md; test/vectors/erasure.json
 */
import { CodedError } from '../core/coded-error.ts'
import {
  BLOCK_BYTES_MAX,
  COLUMNS_MAX,
  ERASURE_CHUNK_BYTES,
  ERASURE_DATA_MAX,
  ERASURE_PARITY_MAX,
} from '../core/limits.ts'
import { erasureKernel } from './erasure/kernel.ts'
import { type ErasureCode, type ErasurePlan, planRebuild } from './erasure/plan.ts'

export type { ErasureCode }

export type ErasureFault =
  | { code: 'ERASURE_CODE_INVALID'; data: number; parity: number; dataMax: number; parityMax: number }
  | { code: 'ERASURE_SHARD_SIZE'; shard: number; bytes: number; shardBytes: number }
  | { code: 'ERASURE_SHARDS_MISSING'; present: number; needed: number }
  | { code: 'ERASURE_WANTED_INVALID'; shard: number }
export class ErasureError extends CodedError<ErasureFault> {}

/** The bytes of a shard, or the pieces that they came in. */
export type ShardBytes = Uint8Array | readonly Uint8Array[]

export interface RebuildRequest {
  readonly code: ErasureCode
  /** By number; at least `code.data` of them present. Data shards of up to `shardBytes`, parity shards of exactly that. */
  readonly shards: readonly (ShardBytes | undefined)[]
  /** Numbers of shards that are not present, each once. */
  readonly wanted: readonly number[]
  /** Bytes of the stripe's longest data shard, and so of its parity shards. */
  readonly shardBytes: number
  /**
   * Where to write, in the order of `wanted`; one may be shorter than `shardBytes`, as a data shard is that ends before, and
   * gets only so much. None may share memory with a shard.
   */
  readonly out?: readonly Uint8Array[]
}

/**
 * Makes the parity shards of a stripe.
 *
 * @param data - 1 to `ERASURE_DATA_MAX` shards of up to `BLOCK_BYTES_MAX` bytes; the longest is not empty.
 * @param parity - 0 to `ERASURE_PARITY_MAX`, and the first is the XOR of all data; for one data shard 0 to `COLUMNS_MAX - 1`, all copies
 * of it: whoever has a use for the bytes alone can do without this call.
 * @param out - where to write, one buffer for each parity shard, of the length of the longest data shard or less.
 * @returns the parity shards: `out`, or new ones.
 * @throws {ErasureError} `ERASURE_CODE_INVALID`, `ERASURE_SHARD_SIZE`
 */
export function encodeParity(data: readonly ShardBytes[], parity: number, out?: readonly Uint8Array[]): Uint8Array[] {
  const code = { data: data.length, parity }
  // Before the counts are lengths of arrays.
  checkCode(code)
  const shardBytes = Math.max(0, ...data.map(lengthOf))
  const wanted = Array.from({ length: parity }, (_, row) => data.length + row)
  return rebuild({ code, shards: data, wanted, shardBytes, ...(out === undefined ? {} : { out }) })
}

/**
 * Rebuilds data and parity shards from any `code.data` others.
 *
 * @returns the wanted shards, in that order: `out`, or new ones of `shardBytes`, to be cut to the length that the data shard had.
 * @throws {ErasureError} `ERASURE_CODE_INVALID`, `ERASURE_SHARD_SIZE`, `ERASURE_SHARDS_MISSING`, `ERASURE_WANTED_INVALID`
 */
export function rebuild(request: RebuildRequest): Uint8Array[] {
  const { code, wanted, shardBytes } = request
  checkCode(code)
  checkShards(request)
  const results = wanted.map((shard, index) => {
    if (request.out === undefined) return new Uint8Array(shardBytes)
    const out = request.out[index]
    if (out === undefined || out.length > shardBytes) {
      throw new ErasureError({ code: 'ERASURE_SHARD_SIZE', shard, bytes: out?.length ?? 0, shardBytes })
    }
    return out
  })
  if (wanted.length > 0) make(request, results)
  return results
}

function make({ code, shards, wanted }: RebuildRequest, results: readonly Uint8Array[]): void {
  if (code.data === 1) {
    // All shards are the same; critical data has more of them than the kernel has sums.
    const source = shards.find((shard) => shard !== undefined)
    for (const result of results) new ShardReader(source ?? []).read(result, result.length)
    return
  }
  const plan = planRebuild(code, (shard) => shards[shard] !== undefined, wanted)
  const sources = plan.inputs.map((shard) => new ShardReader(shards[shard] ?? []))
  // In the order of the kernel: products, then the sum.
  const made = [...plan.products, ...(plan.sum === undefined ? [] : [plan.sum])]
  combine(
    plan,
    sources,
    made.flatMap(({ shard }) => results[wanted.indexOf(shard)] ?? []),
  )
}

function combine(plan: ErasurePlan, sources: readonly ShardReader[], results: readonly Uint8Array[]): void {
  const kernel = erasureKernel()
  kernel.load(plan)
  const end = Math.max(...results.map((result) => result.length))
  for (let at = 0; at < end; at += ERASURE_CHUNK_BYTES) {
    const bytes = Math.min(ERASURE_CHUNK_BYTES, end - at)
    sources.forEach((source, column) => source.read(kernel.inputs[column], bytes))
    kernel.combine(plan, bytes)
    results.forEach((result, index) => {
      const left = result.length - at
      const chunk = kernel.outputs[index]
      if (chunk === undefined || left <= 0) return
      result.set(left < ERASURE_CHUNK_BYTES ? chunk.subarray(0, left) : chunk, at)
    })
  }
}

/** Reads a shard from its pieces, and zeros behind its end. */
class ShardReader {
  readonly #pieces: readonly Uint8Array[]
  #piece = 0
  #offset = 0

  constructor(shard: ShardBytes) {
    this.#pieces = piecesOf(shard)
  }

  /** Fills the first `bytes` of a chunk. */
  read(chunk: Uint8Array | undefined, bytes: number): void {
    let filled = 0
    while (filled < bytes) {
      const piece = this.#pieces[this.#piece]
      if (piece === undefined) {
        chunk?.fill(0, filled, bytes)
        return
      }
      const take = Math.min(piece.length - this.#offset, bytes - filled)
      chunk?.set(take === piece.length ? piece : piece.subarray(this.#offset, this.#offset + take), filled)
      filled += take
      this.#offset += take
      if (this.#offset === piece.length) {
        this.#piece++
        this.#offset = 0
      }
    }
  }
}

function checkCode({ data, parity }: ErasureCode): void {
  const within = (count: number, min: number, max: number): boolean =>
    Number.isSafeInteger(count) && count >= min && count <= max
  const [dataMax, parityMax] = [ERASURE_DATA_MAX, data === 1 ? COLUMNS_MAX - 1 : ERASURE_PARITY_MAX]
  if (within(data, 1, dataMax) && within(parity, 0, parityMax)) return
  throw new ErasureError({ code: 'ERASURE_CODE_INVALID', data, parity, dataMax, parityMax })
}

function checkShards({ code, shards, wanted, shardBytes }: RebuildRequest): void {
  if (!Number.isSafeInteger(shardBytes) || shardBytes < 1 || shardBytes > BLOCK_BYTES_MAX) {
    throw new ErasureError({ code: 'ERASURE_SHARD_SIZE', shard: 0, bytes: shardBytes, shardBytes: BLOCK_BYTES_MAX })
  }
  const count = code.data + code.parity
  let present = 0
  shards.slice(0, count).forEach((shard, number) => {
    if (shard === undefined) return
    present++
    const bytes = lengthOf(shard)
    if (bytes > shardBytes || (number >= code.data && bytes !== shardBytes)) {
      throw new ErasureError({ code: 'ERASURE_SHARD_SIZE', shard: number, bytes, shardBytes })
    }
  })
  if (present < code.data) throw new ErasureError({ code: 'ERASURE_SHARDS_MISSING', present, needed: code.data })
  wanted.forEach((shard, index) => {
    const known = Number.isSafeInteger(shard) && shard >= 0 && shard < count
    if (!known || shards[shard] !== undefined || wanted.indexOf(shard) !== index) {
      throw new ErasureError({ code: 'ERASURE_WANTED_INVALID', shard })
    }
  })
}

function piecesOf(shard: ShardBytes): readonly Uint8Array[] {
  return shard instanceof Uint8Array ? [shard] : shard
}

function lengthOf(shard: ShardBytes): number {
  return shard instanceof Uint8Array ? shard.length : shard.reduce((sum, piece) => sum + piece.length, 0)
}
