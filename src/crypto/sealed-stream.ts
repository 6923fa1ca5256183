/**
 * Sealed streams: Tink streaming AEAD, wire format `AES256_GCM_HKDF_1MB`, raw key of 32 bytes, no associated data.
 *
 * ```
 * header  = 40 || salt (32) || nonce prefix (7)
 * subkey  = HKDF-SHA256(key, salt, info, 32)
 * segment = AEAD(subkey, nonce prefix || u32be(index) || (last ? 1 : 0), plaintext)
 * stream  = header || segment 0 || segment 1 || ...
 * ```
 *
 * Header and segment 0 together have 1 MiB, as has every other segment but the last. An empty stream is one empty segment;
 * a stream that fills its segments exactly gets no empty one after them. So any 1 MiB of ciphertext opens alone, the index in
 * the nonce forbids reordering, the last mark forbids truncation, and the salt forbids segments of another stream.
 *
 * `info` is empty for `aes-256-gcm`, as Tink has it. `chacha20-poly1305` is our profile in the same layout, under its own info.
 *
 * Nonces: a header is random, and one sealer seals each index once. Whoever resumes a stream under its old header must give
 * it the same plaintext: two different plaintexts of one segment under one header would reveal their difference.
 *
 * @see docs/spec/sealed-stream.md; test/vectors/sealed-stream.json; Hoang et al., CRYPTO 2015 (STREAM); Tink's documentation
 */
import { aeadCipher, hkdfSha256, randomBytes } from '#native'
import { CodedError } from '../core/coded-error.ts'
import { SEGMENT_BYTES, SEGMENTS_MAX } from '../core/limits.ts'
import {
  AEAD_KEY_BYTES,
  AEAD_NONCE_BYTES,
  AEAD_TAG_BYTES,
  type AeadCipher,
  type CipherProfile,
  type MaybePromise,
} from './native/primitives.ts'

export type { CipherProfile }

export type SealedFault =
  | { code: 'SEALED_KEY_INVALID'; bytes: number; expectedBytes: number }
  | { code: 'SEALED_HEADER_INVALID' }
  | { code: 'SEALED_HEADER_UNKNOWN'; segment: number }
  | { code: 'SEALED_TRUNCATED'; segment: number }
  | { code: 'SEALED_TRAILING_DATA'; segment: number }
  | { code: 'SEALED_SEGMENT_INVALID'; segment: number }
  | { code: 'SEALED_SEGMENT_SIZE'; segment: number; bytes: number; expectedBytes: number }
  | { code: 'SEALED_SEGMENT_REUSED'; segment: number }
  | { code: 'SEALED_TOO_LARGE'; segmentsMax: number }
  | { code: 'SEALED_RANGE_INVALID'; start: number; end: number; bytes: number }
export class SealedError extends CodedError<SealedFault> {}

export const CIPHER_PROFILES: readonly CipherProfile[] = ['aes-256-gcm', 'chacha20-poly1305']
const STREAM_KEY_BYTES = AEAD_KEY_BYTES
const SALT_BYTES = 32
const NONCE_PREFIX_BYTES = 7
export const STREAM_HEADER_BYTES = 1 + SALT_BYTES + NONCE_PREFIX_BYTES
const LAST_MARK_OFFSET = AEAD_NONCE_BYTES - 1
/** Plaintext of a full segment, and of segment 0, which shares its 1 MiB with the header. */
const SEGMENT_PLAINTEXT_BYTES = SEGMENT_BYTES - AEAD_TAG_BYTES
const FIRST_PLAINTEXT_BYTES = SEGMENT_PLAINTEXT_BYTES - STREAM_HEADER_BYTES

const SUBKEY_INFO: Readonly<Record<CipherProfile, Uint8Array>> = {
  'aes-256-gcm': new Uint8Array(0),
  'chacha20-poly1305': new TextEncoder().encode('apotheca/sealed-stream/chacha20-poly1305/1'),
}

export interface StreamOptions {
  /** 32 bytes, of this stream alone; copied where it is kept. */
  readonly key: Uint8Array
  readonly profile: CipherProfile
  /** The 40-byte header, where it is known: when sealing goes on, or to open a segment without reading segment 0. */
  readonly header?: Uint8Array
}

/** Bytes `start` to `end - 1`. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** Plaintext bytes that segment `index` holds when full. */
export function segmentCapacity(index: number): number {
  return index === 0 ? FIRST_PLAINTEXT_BYTES : SEGMENT_PLAINTEXT_BYTES
}

/** @throws {SealedError} `SEALED_TOO_LARGE` */
export function ciphertextLength(plaintextBytes: number): number {
  const beyondFirst = Math.max(0, plaintextBytes - FIRST_PLAINTEXT_BYTES)
  const segments = checkedSegments(1 + Math.ceil(beyondFirst / SEGMENT_PLAINTEXT_BYTES))
  return STREAM_HEADER_BYTES + plaintextBytes + segments * AEAD_TAG_BYTES
}

/**
 * Plaintext bytes of a stream, from its ciphertext's length alone.
 *
 * @throws {SealedError} `SEALED_TRUNCATED` where no stream has this length, `SEALED_TOO_LARGE`.
 */
export function plaintextLength(ciphertextBytes: number): number {
  const segments = segmentCount(ciphertextBytes)
  const lastBytes = ciphertextBytes - (segments - 1) * SEGMENT_BYTES
  if (lastBytes < smallestSegment(segments - 1)) {
    throw new SealedError({ code: 'SEALED_TRUNCATED', segment: segments - 1 })
  }
  return ciphertextBytes - STREAM_HEADER_BYTES - segments * AEAD_TAG_BYTES
}

/** @throws {SealedError} `SEALED_TOO_LARGE` */
export function segmentCount(ciphertextBytes: number): number {
  return checkedSegments(Math.max(1, Math.ceil(ciphertextBytes / SEGMENT_BYTES)))
}

/**
 * The plaintext bytes that segment `index` holds, of a stream of `ciphertextBytes`.
 *
 * @throws {SealedError} `SEALED_TRUNCATED` for a segment that isn't there, `SEALED_TOO_LARGE`.
 */
export function segmentPlaintextRange(index: number, ciphertextBytes: number): ByteRange {
  const total = plaintextLength(ciphertextBytes)
  if (index >= segmentCount(ciphertextBytes)) throw new SealedError({ code: 'SEALED_TRUNCATED', segment: index })
  const start = index === 0 ? 0 : FIRST_PLAINTEXT_BYTES + (index - 1) * SEGMENT_PLAINTEXT_BYTES
  return { start, end: Math.min(start + segmentCapacity(index), total) }
}

export function segmentOfPlaintextOffset(offset: number): number {
  return offset < FIRST_PLAINTEXT_BYTES ? 0 : 1 + Math.floor((offset - FIRST_PLAINTEXT_BYTES) / SEGMENT_PLAINTEXT_BYTES)
}

/** A header for a new stream: random salt and nonce prefix. */
export function newStreamHeader(): Uint8Array {
  const header = randomBytes(STREAM_HEADER_BYTES)
  header[0] = STREAM_HEADER_BYTES
  return header
}

/** Seals segments, in ascending order, each once. */
export class SegmentSealer {
  readonly header: Uint8Array
  readonly #cipher: AeadCipher
  #next = 0

  /**
   * @param options - `header` only to go on with a stream whose earlier segments were sealed from the same plaintext.
   * @throws {SealedError} `SEALED_KEY_INVALID`, `SEALED_HEADER_INVALID`
   */
  constructor(options: StreamOptions) {
    this.header = options.header === undefined ? newStreamHeader() : new Uint8Array(options.header)
    this.#cipher = subkeyCipher(options, this.header)
  }

  /**
   * @param plaintext - exactly `segmentCapacity(index)` bytes unless `last`; empty only as the one segment of an empty stream.
   * @param out - takes the header too for segment 0; at least `plaintext.length + 16` (+ 40) bytes, not overlapping `plaintext`.
   * @returns ciphertext bytes written to `out`.
   * @throws {SealedError} `SEALED_SEGMENT_SIZE`, `SEALED_SEGMENT_REUSED`, `SEALED_TOO_LARGE`
   */
  seal(index: number, plaintext: Uint8Array, last: boolean, out: Uint8Array): MaybePromise<number> {
    if (index < this.#next) throw new SealedError({ code: 'SEALED_SEGMENT_REUSED', segment: index })
    checkedSegments(index + 1)
    const capacity = segmentCapacity(index)
    const tooFew = last ? plaintext.length === 0 && index > 0 : plaintext.length < capacity
    if (plaintext.length > capacity || tooFew) {
      throw segmentSize(index, plaintext.length, capacity)
    }
    const headerBytes = index === 0 ? STREAM_HEADER_BYTES : 0
    const sealedBytes = headerBytes + plaintext.length + AEAD_TAG_BYTES
    if (out.length < sealedBytes) throw segmentSize(index, out.length, sealedBytes)
    this.#next = last ? SEGMENTS_MAX : index + 1
    if (index === 0) out.set(this.header)
    const body = out.subarray(headerBytes, sealedBytes)
    const done = this.#cipher.seal(segmentNonce(this.header, index, last), plaintext, body)
    return done instanceof Promise ? done.then(() => sealedBytes) : sealedBytes
  }
}

/** Opens segments in any order, once the header is known. */
export class SegmentOpener {
  readonly #options: StreamOptions
  #header: Uint8Array | undefined
  #cipher: AeadCipher | undefined

  /** @throws {SealedError} `SEALED_KEY_INVALID`, `SEALED_HEADER_INVALID` */
  constructor(options: StreamOptions) {
    checkKey(options.key)
    // Not slice(): a Buffer's slice is a view of the same memory, and this copy is zeroed.
    this.#options = { key: new Uint8Array(options.key), profile: options.profile }
    if (options.header !== undefined) this.useHeader(options.header)
  }

  /**
   * Takes the header from the start of segment 0. It needs no check of its own: under a false header no segment opens.
   *
   * @throws {SealedError} `SEALED_HEADER_INVALID`, also where another header is already in use.
   */
  useHeader(segment0: Uint8Array): void {
    if (segment0.length < STREAM_HEADER_BYTES) throw new SealedError({ code: 'SEALED_TRUNCATED', segment: 0 })
    const header = new Uint8Array(segment0.subarray(0, STREAM_HEADER_BYTES))
    if (this.#header === undefined) {
      this.#cipher = subkeyCipher(this.#options, header)
      this.#header = header
      this.#options.key.fill(0)
    } else if (!this.#header.every((byte, i) => byte === header[i])) {
      throw new SealedError({ code: 'SEALED_HEADER_INVALID' })
    }
  }

  /**
   * @param ciphertext - the whole segment; segment 0 begins with the header.
   * @param last - whether the stream ends with it: whoever knows the stream's length knows that.
   * @param out - at least `ciphertext.length - 16` (- 40) bytes, not overlapping; zeroed again where the segment is refused.
   * @returns plaintext bytes written to `out`.
   * @throws {SealedError} `SEALED_SEGMENT_INVALID`; `SEALED_TRUNCATED` and `SEALED_TRAILING_DATA` where the segment is genuine
   *   but `last` is wrong, or its length can't be; `SEALED_HEADER_INVALID`, `SEALED_HEADER_UNKNOWN`, `SEALED_SEGMENT_SIZE`.
   */
  open(index: number, ciphertext: Uint8Array, last: boolean, out: Uint8Array): MaybePromise<number> {
    const tooShort = last ? ciphertext.length < smallestSegment(index) : ciphertext.length < SEGMENT_BYTES
    if (tooShort) throw new SealedError({ code: 'SEALED_TRUNCATED', segment: index })
    if (ciphertext.length > SEGMENT_BYTES) throw segmentSize(index, ciphertext.length, SEGMENT_BYTES)
    checkedSegments(index + 1)
    if (index === 0) this.useHeader(ciphertext)
    const cipher = this.#cipher
    const header = this.#header
    if (cipher === undefined || header === undefined) {
      throw new SealedError({ code: 'SEALED_HEADER_UNKNOWN', segment: index })
    }
    const body = index === 0 ? ciphertext.subarray(STREAM_HEADER_BYTES) : ciphertext
    const bytes = body.length - AEAD_TAG_BYTES
    if (out.length < bytes) throw segmentSize(index, out.length, bytes)
    const plaintext = out.subarray(0, bytes)
    const opened = cipher.open(segmentNonce(header, index, last), body, plaintext)
    const refuse = (): MaybePromise<number> =>
      explainRefusal(cipher.open(segmentNonce(header, index, !last), body, plaintext), index, last, plaintext)
    if (opened instanceof Promise) return opened.then((ok) => (ok ? bytes : refuse()))
    return opened ? bytes : refuse()
  }
}

/**
 * Seals a stream, in bounded memory.
 *
 * @param source - chunks of any size; a chunk may be reused once the next one is asked for.
 * @returns the ciphertext, one segment at a time; the first begins with the header.
 * @throws {SealedError} `SEALED_KEY_INVALID`, `SEALED_HEADER_INVALID`, `SEALED_TOO_LARGE`
 */
export async function* sealStream(
  source: AsyncIterable<Uint8Array>,
  options: StreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const sealer = new SegmentSealer(options)
  for await (const { index, bytes, last } of cut(source, segmentCapacity)) {
    const out = new Uint8Array(bytes.length + AEAD_TAG_BYTES + (index === 0 ? STREAM_HEADER_BYTES : 0))
    await sealer.seal(index, bytes, last, out)
    yield out
  }
}

/**
 * Opens a stream, in bounded memory. Each piece that is yielded is genuine and in its place; that the stream is whole is only
 * known when the generator has returned.
 *
 * @param source - the ciphertext, in chunks of any size.
 * @returns the plaintext, one segment at a time.
 * @throws {SealedError} as `SegmentOpener.open`.
 */
export async function* openStream(
  source: AsyncIterable<Uint8Array>,
  options: StreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const opener = new SegmentOpener(options)
  for await (const { index, bytes, last } of cut(source, () => SEGMENT_BYTES)) {
    const out = new Uint8Array(Math.max(0, bytes.length - AEAD_TAG_BYTES))
    yield out.subarray(0, await opener.open(index, bytes, last, out))
  }
}

/**
 * Opens a range of a stream, reading only the segments that hold it (and segment 0 for the header, where none is given).
 *
 * @param readSegment - reads ciphertext segment `index`, whole.
 * @param ciphertextBytes - of the whole stream. A false length makes its last segment fail, nothing else.
 * @returns the plaintext from `range.start` to `range.end - 1`, in pieces of at most a segment.
 * @throws {SealedError} `SEALED_RANGE_INVALID`, and as `SegmentOpener.open`.
 */
export async function* openRange(
  readSegment: (index: number) => Promise<Uint8Array>,
  ciphertextBytes: number,
  range: ByteRange,
  key: Uint8Array,
  profile: CipherProfile,
  header?: Uint8Array,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { start, end } = range
  const bytes = plaintextLength(ciphertextBytes)
  if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || start > end || end > bytes) {
    throw new SealedError({ code: 'SEALED_RANGE_INVALID', start, end, bytes })
  }
  if (start === end) return
  const opener = new SegmentOpener(header === undefined ? { key, profile } : { key, profile, header })
  const firstIndex = segmentOfPlaintextOffset(start)
  if (header === undefined && firstIndex > 0) opener.useHeader(await readSegment(0))
  const lastIndex = segmentCount(ciphertextBytes) - 1
  for (let index = firstIndex; index <= segmentOfPlaintextOffset(end - 1); index++) {
    const held = segmentPlaintextRange(index, ciphertextBytes)
    const out = new Uint8Array(held.end - held.start)
    const segment = await readSegment(index)
    const expectedBytes = index === lastIndex ? ciphertextBytes - lastIndex * SEGMENT_BYTES : SEGMENT_BYTES
    if (segment.length !== expectedBytes) throw segmentSize(index, segment.length, expectedBytes)
    await opener.open(index, segment, index === lastIndex, out)
    yield out.subarray(Math.max(0, start - held.start), Math.min(out.length, end - held.start))
  }
}

/** Cuts a stream into pieces of exactly `capacity(index)`, all but the last, in one reused buffer. */
async function* cut(
  source: AsyncIterable<Uint8Array>,
  capacity: (index: number) => number,
): AsyncGenerator<{ index: number; bytes: Uint8Array; last: boolean }, void, undefined> {
  const buffer = new Uint8Array(SEGMENT_BYTES)
  let index = 0
  let filled = 0
  try {
    for await (const chunk of source) {
      let offset = 0
      while (offset < chunk.length) {
        // Only now is it known that the full piece isn't the last.
        if (filled === capacity(index)) {
          yield { index, bytes: buffer.subarray(0, filled), last: false }
          index++
          filled = 0
        }
        const taken = Math.min(capacity(index) - filled, chunk.length - offset)
        buffer.set(chunk.subarray(offset, offset + taken), filled)
        filled += taken
        offset += taken
      }
    }
    yield { index, bytes: buffer.subarray(0, filled), last: true }
  } finally {
    // It held plaintext.
    buffer.fill(0)
  }
}

/** A refused segment that opens with the other last mark is genuine: the stream around it was cut or added to. */
function explainRefusal(
  opensOtherwise: MaybePromise<boolean>,
  segment: number,
  last: boolean,
  out: Uint8Array,
): MaybePromise<number> {
  const explain = (genuine: boolean): never => {
    out.fill(0)
    if (!genuine) throw new SealedError({ code: 'SEALED_SEGMENT_INVALID', segment })
    throw new SealedError({ code: last ? 'SEALED_TRUNCATED' : 'SEALED_TRAILING_DATA', segment })
  }
  return opensOtherwise instanceof Promise ? opensOtherwise.then(explain) : explain(opensOtherwise)
}

function subkeyCipher({ key, profile }: StreamOptions, header: Uint8Array): AeadCipher {
  checkKey(key)
  if (header.length !== STREAM_HEADER_BYTES || header[0] !== STREAM_HEADER_BYTES) {
    throw new SealedError({ code: 'SEALED_HEADER_INVALID' })
  }
  const subkey = hkdfSha256(key, header.subarray(1, 1 + SALT_BYTES), SUBKEY_INFO[profile], AEAD_KEY_BYTES)
  const cipher = aeadCipher(profile, subkey)
  subkey.fill(0)
  return cipher
}

function segmentNonce(header: Uint8Array, index: number, last: boolean): Uint8Array {
  const nonce = new Uint8Array(AEAD_NONCE_BYTES)
  nonce.set(header.subarray(1 + SALT_BYTES))
  new DataView(nonce.buffer).setUint32(NONCE_PREFIX_BYTES, index)
  nonce[LAST_MARK_OFFSET] = last ? 1 : 0
  return nonce
}

/** Ciphertext bytes of the smallest segment that can end a stream at `index`. */
function smallestSegment(index: number): number {
  return index === 0 ? STREAM_HEADER_BYTES + AEAD_TAG_BYTES : AEAD_TAG_BYTES + 1
}

function checkedSegments(segments: number): number {
  if (!(segments <= SEGMENTS_MAX)) throw new SealedError({ code: 'SEALED_TOO_LARGE', segmentsMax: SEGMENTS_MAX })
  return segments
}

function checkKey(key: Uint8Array): void {
  if (key.length !== STREAM_KEY_BYTES) {
    throw new SealedError({ code: 'SEALED_KEY_INVALID', bytes: key.length, expectedBytes: STREAM_KEY_BYTES })
  }
}

function segmentSize(segment: number, bytes: number, expectedBytes: number): SealedError {
  return new SealedError({ code: 'SEALED_SEGMENT_SIZE', segment, bytes, expectedBytes })
}
