/**
 * Writes one extent: codes its segments, and brings every column to the peer that should hold it.
 *
 *   reserve on all holders ──► stripe by stripe: read, verify, code, hash ──► push to all at once ──► extent map ──► receipts
 *
 * One pass: the map names every shard by its hash, so it comes last. Who is left behind (extent-columns.ts) has an empty column on
 * the ledger, which is repaired. Where too few remain the extent is tried again, with its map if that is known by then: what
 * holders have already doesn't travel again.
 *
 * @see docs/spec/shard-push.md, docs/decisions/0093-placement-is-a-job.md
 */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { PLACEMENT_RECEIPT_MS, PUSH_WINDOW_BYTES, SEGMENT_BYTES } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { type ExtentFacts, type ShardReceipt, verifyReceipt } from '../domain/shard-receipt.ts'
import type { CommitExtent } from '../domain/storage-commit.ts'
import type { Chain } from '../ledger/chain.ts'
import { type PeerIdText, parseLink } from '../ledger/fields.ts'
import type { BufferPool } from '../p2p/buffer-pool.ts'
import type { P2pHost } from '../p2p/host.ts'
import { parsePeerId } from '../p2p/peer-ids.ts'
import { hasBit } from '../p2p/shard-messages.ts'
import { ShardPush } from '../p2p/shard-push.ts'
import { ExtentMap, encodeExtentMap, extentFacts } from '../shards/extent-map.ts'
import type { ExtentPart } from '../shards/object-walk.ts'
import { type Code, type Stripe, stripesOf } from '../shards/stripes.ts'
import type { Blocks } from '../store/blocks.ts'
import { ByteWindow } from './byte-window.ts'
import { type ColumnSink, LocalColumn } from './column-sink.ts'
import { ExtentColumns, type HolderRow } from './extent-columns.ts'
import { PeerError } from './faults.ts'
import type { ShardHolder } from './shard-holder.ts'
import { type CodedShard, codeStripe } from './stripe-coder.ts'

export interface ExtentTarget {
  readonly manifest: CID
  readonly part: ExtentPart
  readonly code: Code
  readonly row: HolderRow
  /** From an earlier try. */
  readonly known: ExtentMap | undefined
}

export interface ExtentWriterDeps {
  readonly host: Pick<P2pHost, 'dialProtocol'>
  readonly store: Blocks
  readonly chain: Pick<Chain, 'id' | 'head'>
  /** Takes this peer's own column. */
  readonly holder: ShardHolder
  readonly peer: PeerIdText
  readonly pool: BufferPool
  readonly log: Log
}

export interface ExtentEvents {
  /** Data bytes that are with their holders, and bytes that left this peer for it. */
  readonly onStored: (dataBytes: number, sentBytes: number) => void
  /** The map is known, and stored here. */
  readonly onMap: (map: ExtentMap, link: CID) => Promise<void>
  /** Institutions that the extent does without. */
  readonly onMissing: (institutions: readonly string[]) => void
}

/**
 * @returns the extent as it is committed, with receipts of a write quorum at least.
 * @throws {ExtentWriteError} `EXTENT_HOLDERS_TOO_FEW`; {StoreError} where a segment is damaged here; the signal's reason
 */
export async function writeExtent(
  deps: ExtentWriterDeps,
  target: ExtentTarget,
  events: ExtentEvents,
  signal: AbortSignal,
): Promise<CommitExtent> {
  const write = new ExtentWrite(deps, target, events, signal)
  const onAbort = (): void => write.close()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await write.open()
    await write.push()
    return await write.finish()
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
    write.close()
  }
}

/** A shard or copy on its way to one holder. */
interface Sent {
  readonly bytes: number
  readonly stored: Promise<boolean>
}

class ExtentWrite {
  readonly #deps: ExtentWriterDeps
  readonly #target: ExtentTarget
  readonly #events: ExtentEvents
  readonly #signal: AbortSignal
  readonly #stripes: readonly Stripe[]
  readonly #expiresMs: number
  readonly #columns: ExtentColumns
  /** By column: shards of it that were passed so far. */
  readonly #passed = new Map<number, number>()
  readonly #window = new ByteWindow(PUSH_WINDOW_BYTES)
  readonly #digests: Uint8Array[] = []
  readonly #audits: Uint8Array[] = []
  readonly #underWay = new Set<Promise<void>>()

  constructor(deps: ExtentWriterDeps, target: ExtentTarget, events: ExtentEvents, signal: AbortSignal) {
    this.#deps = deps
    this.#target = target
    this.#events = events
    this.#signal = signal
    const { code, part, row } = target
    this.#stripes = stripesOf(part.segments.length, code)
    this.#expiresMs = deps.chain.head.timeMs + PLACEMENT_RECEIPT_MS
    this.#columns = new ExtentColumns({ log: deps.log, onMissing: events.onMissing }, { index: part.index, code, row })
  }

  async open(): Promise<void> {
    const { holder, host, peer } = this.#deps
    const { code, known, manifest, part } = this.#target
    const bytes = this.#columnBytes()
    const fields = {
      chain: parseLink(this.#deps.chain.id),
      manifest,
      index: part.index,
      code: { data: code.data, parity: code.parity },
      expiresMs: this.#expiresMs,
      ...(known === undefined
        ? { copyBytes: part.copies.reduce((sum, copy) => sum + copy.bytes, 0) }
        : { map: encodeExtentMap(known).bytes }),
    }
    await this.#columns.open(async (to, column) => {
      const reserve = { ...fields, column, bytes: bytes[column] ?? 0 }
      if (to.peer === peer) return new LocalColumn(await holder.reserve(reserve))
      return ShardPush.open(host, parsePeerId(to.peer), reserve, this.#signal)
    })
  }

  /** Codes and sends everything that a holder lacks; settles when all of it is stored. */
  async push(): Promise<void> {
    for (const [number, stripe] of this.#stripes.entries()) await this.#pushStripe(number, stripe)
    await this.#pushCopies()
    await Promise.all(this.#underWay)
    this.#check()
  }

  /** Lets every holder sign what it has. */
  async finish(): Promise<CommitExtent> {
    const map = this.#target.known ?? this.#makeMap()
    const { bytes, cid } = encodeExtentMap(map)
    await this.#deps.store.write([{ digest: cid.multihash.digest, parts: [bytes] }])
    await this.#events.onMap(map, cid)
    const facts = extentFacts(map, cid)
    const sent = this.#target.known === undefined ? bytes : new Uint8Array(0)
    const receipts: ShardReceipt[] = []
    await Promise.all(
      this.#columns.entries().map(async ([column, sink]) => {
        try {
          receipts.push(this.#checked(await sink.finish(sent, this.#signal), column, facts))
          this.#columns.done(column)
        } catch (error) {
          this.#columns.fail(column, error)
        }
      }),
    )
    this.#check()
    const { columns, copies, data, map: link, parity, root, segments } = facts
    const inOrder = receipts.toSorted((a, b) => a.column - b.column)
    return { map: link, root, data, parity, segments, columns, copies, receipts: inOrder }
  }

  close(): void {
    this.#columns.close()
  }

  /** A signature under something else, or of somebody else, would make the whole commit fail. */
  #checked(receipt: ShardReceipt, column: number, extent: ExtentFacts): ShardReceipt {
    const peer = this.#target.row[column]?.peer
    const promise = { extent, column, expiresMs: this.#expiresMs }
    const isOfThis = receipt.column === column && receipt.expiresMs === this.#expiresMs
    if (isOfThis && peer !== undefined && verifyReceipt(peer, this.#deps.chain.id, promise, receipt.signature)) {
      return receipt
    }
    throw new PeerError({ code: 'SHARD_RECEIPT_WRONG', column })
  }

  #check(): void {
    this.#signal.throwIfAborted()
    this.#columns.check()
  }

  /** Bytes of each column's shards, from the sizes alone. */
  #columnBytes(): number[] {
    const { code, part } = this.#target
    const columns = code.data + code.parity
    const sums = Array.from({ length: columns }, () => 0)
    const add = (column: number, bytes: number): void => {
      sums[column] = (sums[column] ?? 0) + bytes
    }
    for (const { data, first, parity } of this.#stripes) {
      const sizes = part.segments.slice(first, first + data).map(({ bytes }) => bytes)
      for (const [column, bytes] of sizes.entries()) add(column, bytes)
      for (let row = 0; row < parity; row++) add(columns - 1 - row, Math.max(...sizes))
    }
    return sums
  }

  async #pushStripe(number: number, stripe: Stripe): Promise<void> {
    this.#check()
    const takers = this.#takersOf(stripe)
    const isKnown = this.#target.known !== undefined
    if (isKnown && takers.length === 0) return
    const segments = this.#target.part.segments.slice(stripe.first, stripe.first + stripe.data)
    const windowBytes = (stripe.data + (stripe.data === 1 ? 0 : stripe.parity)) * SEGMENT_BYTES
    await this.#window.take(windowBytes)
    try {
      const { release, shards } = await codeStripe(this.#deps, stripe, segments)
      if (isKnown) this.#checkKnown(number, shards)
      else {
        this.#digests.push(...shards.map(({ digest }) => digest))
        this.#audits.push(...shards.map(({ audit }) => audit))
      }
      const sent = takers.flatMap(({ at, sink }): Sent[] => {
        const shard = shards[at]
        if (shard === undefined) return []
        return [{ bytes: sentBytes(sink, shard.bytes), stored: sink.push({ kind: 'shard', stripe: number, ...shard }) }]
      })
      const dataBytes = segments.reduce((sum, { bytes }) => sum + bytes, 0)
      this.#track(sent, { windowBytes, dataBytes, release })
    } catch (error) {
      this.#window.give(windowBytes)
      throw error
    }
  }

  /** Who lacks a shard of this stripe, and which: data first, then parity. */
  #takersOf({ data, parity }: Stripe): { readonly at: number; readonly sink: ColumnSink }[] {
    const { code, known } = this.#target
    const columns = code.data + code.parity
    const takers: { at: number; sink: ColumnSink }[] = []
    for (let at = 0; at < data + parity; at++) {
      const column = at < data ? at : columns - 1 - (at - data)
      const passed = this.#passed.get(column) ?? 0
      this.#passed.set(column, passed + 1)
      const sink = this.#columns.get(column)
      if (sink !== undefined && (known === undefined || !hasBit(sink.held, passed))) takers.push({ at, sink })
    }
    return takers
  }

  /** The same segments give the same shards: else the map of the earlier try was of something else. */
  #checkKnown(stripe: number, shards: readonly CodedShard[]): void {
    const expected = this.#target.known?.shardsOfStripe(stripe) ?? []
    const agree = expected.every(({ digest }, at) => equals(digest, shards[at]?.digest ?? new Uint8Array(0)))
    if (!agree) throw new PeerError({ code: 'SHARD_MAP_DIFFERS', field: `stripe ${stripe}` })
  }

  async #pushCopies(): Promise<void> {
    const { known, part } = this.#target
    for (const [at, { bytes, cid }] of part.copies.entries()) {
      this.#check()
      const takers = this.#columns
        .entries()
        .filter(([column, { held }]) => known === undefined || !hasBit(held, (this.#passed.get(column) ?? 0) + at))
      if (takers.length === 0) continue
      const { digest } = cid.multihash
      const block = await this.#deps.store.read(digest)
      if (block === undefined) throw new PeerError({ code: 'PLACEMENT_SEGMENT_MISSING' })
      await this.#window.take(bytes)
      const sent = takers.map(([, sink]) => ({
        bytes: sentBytes(sink, block),
        stored: sink.push({ kind: 'copy', digest, bytes: block }),
      }))
      this.#track(sent, { windowBytes: bytes, dataBytes: 0, release: () => undefined })
    }
  }

  /** Waits, beside what goes on, until all is settled; then its memory may be used again, if nobody was lost with it. */
  #track(
    sent: readonly Sent[],
    of: { readonly windowBytes: number; readonly dataBytes: number; readonly release: () => void },
  ): void {
    const settle = async (): Promise<void> => {
      const stored = await Promise.all(sent.map((one) => one.stored))
      if (!stored.includes(false)) of.release()
      this.#window.give(of.windowBytes)
      const bytes = sent.reduce((sum, one, at) => sum + (stored[at] === true ? one.bytes : 0), 0)
      this.#events.onStored(of.dataBytes, bytes)
    }
    const tracked = settle().finally(() => this.#underWay.delete(tracked))
    this.#underWay.add(tracked)
  }

  #makeMap(): ExtentMap {
    const { code, manifest, part } = this.#target
    const { copies, index, segments } = part
    const sizes = new Uint8Array(4 * segments.length)
    const view = new DataView(sizes.buffer)
    for (const [at, { bytes }] of segments.entries()) view.setUint32(4 * at, bytes)
    const { data, parity } = code
    const [digests, audits] = [joined(this.#digests), joined(this.#audits)]
    return ExtentMap.of({ version: 1, manifest, index, code: { data, parity }, sizes, digests, audits, copies })
  }
}

/** What leaves this peer. */
function sentBytes(sink: ColumnSink, bytes: Uint8Array): number {
  return sink instanceof LocalColumn ? 0 : bytes.length
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
