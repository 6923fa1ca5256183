/**
 * Which block lies where: an open-addressing table over typed arrays, about 52 bytes a block, since a Map of a million
 * digests takes several hundred megabytes.
 *
 * Entries lie in chunks that never move; `slots` maps a hash to an entry's number. Digests are chosen by whoever sends
 * blocks, so the hash is keyed with a seed of this process: nobody can aim blocks at one place of the table.
 */
import { DIGEST_BYTES } from './pack-record.ts'

/** 0.7 MiB a chunk: an empty store is small, a full one has few chunks. */
const CHUNK_ENTRIES = 16_384
const CHUNK_BITS = 14
const DIGEST_WORDS = 8
const SLOTS_MIN = 1_024
/** Linear probing stays short below this. */
const LOAD_MAX = 0.6
/** In `packs`: this entry is free. */
const NO_PACK = 0
const END_OF_FREE = 0xffff_ffff

interface Chunk {
  readonly digests: Uint32Array
  readonly packs: Uint32Array
  /** For a free entry: the next free one. */
  readonly offsets: Uint32Array
  readonly lengths: Uint32Array
}

/** Where a block lies. */
export interface BlockPlace {
  /** Number of the pack in this process, 1 or more. */
  readonly pack: number
  /** Of the record in the pack, in bytes. */
  readonly offset: number
  /** Of the payload, in bytes. */
  readonly length: number
}

export class BlockIndex {
  readonly #seed: Uint32Array
  readonly #probe = new Uint32Array(DIGEST_WORDS)
  readonly #chunks: Chunk[] = []
  /** Entry number + 1; 0 is empty. */
  #slots = new Uint32Array(SLOTS_MIN)
  #free = END_OF_FREE
  #size = 0
  #bytes = 0

  /** @param seed - 8 random bytes. */
  constructor(seed: Uint8Array) {
    const view = new DataView(seed.buffer, seed.byteOffset)
    this.#seed = new Uint32Array([view.getUint32(0), view.getUint32(4)])
  }

  /** Blocks. */
  get size(): number {
    return this.#size
  }

  /** Of all blocks together. */
  get bytes(): number {
    return this.#bytes
  }

  /** @param digest - 32 bytes. */
  find(digest: Uint8Array): BlockPlace | undefined {
    const slot = this.#slotOf(digest)
    return this.#slots[slot] === 0 ? undefined : this.#placeOf((this.#slots[slot] ?? 0) - 1)
  }

  /** Adds a block, or moves it. @returns where it was. */
  set(digest: Uint8Array, place: BlockPlace): BlockPlace | undefined {
    let slot = this.#slotOf(digest)
    const held = this.#slots[slot] ?? 0
    if (held !== 0) {
      const before = this.#placeOf(held - 1)
      this.#writePlace(held - 1, place)
      return before
    }
    if ((this.#size + 1) / this.#slots.length > LOAD_MAX) {
      this.#grow()
      slot = this.#slotOf(digest)
    }
    const entry = this.#takeEntry()
    this.#loadProbe(digest)
    this.#chunk(entry).digests.set(this.#probe, within(entry) * DIGEST_WORDS)
    this.#writePlace(entry, place)
    this.#slots[slot] = entry + 1
    this.#size++
    this.#bytes += place.length
    return undefined
  }

  /** @returns where it was. */
  delete(digest: Uint8Array): BlockPlace | undefined {
    const slot = this.#slotOf(digest)
    const held = this.#slots[slot] ?? 0
    if (held === 0) return undefined
    const before = this.#placeOf(held - 1)
    const chunk = this.#chunk(held - 1)
    chunk.packs[within(held - 1)] = NO_PACK
    chunk.offsets[within(held - 1)] = this.#free
    this.#free = held - 1
    this.#size--
    this.#bytes -= before.length
    this.#closeGap(slot)
    return before
  }

  /** All blocks of one pack, by offset. Looks at every entry: about 3 ms for a million. */
  blocksOf(pack: number): { digest: Uint8Array; offset: number; length: number }[] {
    const found: { digest: Uint8Array; offset: number; length: number }[] = []
    for (const chunk of this.#chunks) {
      for (let i = chunk.packs.indexOf(pack); i !== -1; i = chunk.packs.indexOf(pack, i + 1)) {
        found.push({ digest: digestAt(chunk, i), offset: chunk.offsets[i] ?? 0, length: chunk.lengths[i] ?? 0 })
      }
    }
    return found.sort((a, b) => a.offset - b.offset)
  }

  /** All digests, in no order; blocks added or removed meanwhile may or may not be among them. */
  *digests(): Generator<Uint8Array> {
    for (const chunk of this.#chunks) {
      for (let i = 0; i < CHUNK_ENTRIES; i++) {
        if (chunk.packs[i] !== NO_PACK) yield digestAt(chunk, i)
      }
    }
  }

  /** The digests whose first byte is this. Looks at every entry: about 3 ms for a million. */
  digestsBeginning(byte: number): Uint8Array[] {
    const found: Uint8Array[] = []
    for (const chunk of this.#chunks) {
      for (let i = 0; i < CHUNK_ENTRIES; i++) {
        const isIt = ((chunk.digests[i * DIGEST_WORDS] ?? 0) & 0xff) === byte && chunk.packs[i] !== NO_PACK
        if (isIt) found.push(digestAt(chunk, i))
      }
    }
    return found
  }

  /** The slot that holds the digest, or the empty one where it belongs. */
  #slotOf(digest: Uint8Array): number {
    this.#loadProbe(digest)
    const mask = this.#slots.length - 1
    let slot = this.#hash(this.#probe[0] ?? 0, this.#probe[1] ?? 0) & mask
    for (;;) {
      const held = this.#slots[slot] ?? 0
      if (held === 0 || this.#holdsProbe(held - 1)) return slot
      slot = (slot + 1) & mask
    }
  }

  #holdsProbe(entry: number): boolean {
    const { digests } = this.#chunk(entry)
    const start = within(entry) * DIGEST_WORDS
    for (let i = 0; i < DIGEST_WORDS; i++) if (digests[start + i] !== this.#probe[i]) return false
    return true
  }

  #loadProbe(digest: Uint8Array): void {
    for (let i = 0; i < DIGEST_WORDS; i++) {
      const at = i * 4
      this.#probe[i] =
        (digest[at] ?? 0) | ((digest[at + 1] ?? 0) << 8) | ((digest[at + 2] ?? 0) << 16) | ((digest[at + 3] ?? 0) << 24)
    }
  }

  #hash(first: number, second: number): number {
    let hash = Math.imul(first ^ (this.#seed[0] ?? 0), 0x9e3779b1)
    hash = Math.imul(hash ^ (hash >>> 15) ^ second ^ (this.#seed[1] ?? 0), 0x85ebca6b)
    return (hash ^ (hash >>> 16)) >>> 0
  }

  /** Linear probing without tombstones: later entries of the run move up into the gap. */
  #closeGap(empty: number): void {
    const mask = this.#slots.length - 1
    let gap = empty
    for (let slot = (gap + 1) & mask; ; slot = (slot + 1) & mask) {
      const held = this.#slots[slot] ?? 0
      if (held === 0) break
      const home = this.#homeOf(held - 1, mask)
      // It may move only if the gap lies between its home and its slot.
      if (((slot - home) & mask) >= ((slot - gap) & mask)) {
        this.#slots[gap] = held
        gap = slot
      }
    }
    this.#slots[gap] = 0
  }

  #homeOf(entry: number, mask: number): number {
    const { digests } = this.#chunk(entry)
    const start = within(entry) * DIGEST_WORDS
    return this.#hash(digests[start] ?? 0, digests[start + 1] ?? 0) & mask
  }

  #grow(): void {
    const old = this.#slots
    this.#slots = new Uint32Array(old.length * 2)
    const mask = this.#slots.length - 1
    for (const held of old) {
      if (held === 0) continue
      let slot = this.#homeOf(held - 1, mask)
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask
      this.#slots[slot] = held
    }
  }

  #takeEntry(): number {
    if (this.#free === END_OF_FREE) this.#addChunk()
    const entry = this.#free
    this.#free = this.#chunk(entry).offsets[within(entry)] ?? END_OF_FREE
    return entry
  }

  #addChunk(): void {
    const first = this.#chunks.length * CHUNK_ENTRIES
    const offsets = new Uint32Array(CHUNK_ENTRIES)
    for (let i = 0; i < CHUNK_ENTRIES - 1; i++) offsets[i] = first + i + 1
    offsets[CHUNK_ENTRIES - 1] = this.#free
    this.#chunks.push({
      digests: new Uint32Array(CHUNK_ENTRIES * DIGEST_WORDS),
      packs: new Uint32Array(CHUNK_ENTRIES),
      offsets,
      lengths: new Uint32Array(CHUNK_ENTRIES),
    })
    this.#free = first
  }

  #chunk(entry: number): Chunk {
    const chunk = this.#chunks[entry >>> CHUNK_BITS]
    if (chunk === undefined) throw new RangeError('no such entry')
    return chunk
  }

  #placeOf(entry: number): BlockPlace {
    const chunk = this.#chunk(entry)
    const i = within(entry)
    return { pack: chunk.packs[i] ?? 0, offset: chunk.offsets[i] ?? 0, length: chunk.lengths[i] ?? 0 }
  }

  #writePlace(entry: number, place: BlockPlace): void {
    const chunk = this.#chunk(entry)
    const i = within(entry)
    chunk.packs[i] = place.pack
    chunk.offsets[i] = place.offset
    chunk.lengths[i] = place.length
  }
}

function within(entry: number): number {
  return entry & (CHUNK_ENTRIES - 1)
}

function digestAt(chunk: Chunk, i: number): Uint8Array {
  const digest = new Uint8Array(DIGEST_BYTES)
  for (let word = 0; word < DIGEST_WORDS; word++) {
    const value = chunk.digests[i * DIGEST_WORDS + word] ?? 0
    digest[word * 4] = value
    digest[word * 4 + 1] = value >>> 8
    digest[word * 4 + 2] = value >>> 16
    digest[word * 4 + 3] = value >>> 24
  }
  return digest
}
