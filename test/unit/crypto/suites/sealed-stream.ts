/** What holds for sealed streams on either form of `#native`; run by node-form.test.ts and browser-form.test.ts. */
import { createHash } from 'node:crypto'
import { gcm } from '@noble/ciphers/aes.js'
import { chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { hkdf } from '@noble/hashes/hkdf.js'
import { sha256 } from '@noble/hashes/sha2.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SEGMENT_BYTES, SEGMENTS_MAX } from '../../../../src/core/limits.ts'
import {
  CIPHER_PROFILES,
  type CipherProfile,
  ciphertextLength,
  openRange,
  openStream,
  plaintextLength,
  SegmentOpener,
  SegmentSealer,
  sealStream,
  segmentCapacity,
  segmentCount,
  segmentOfPlaintextOffset,
  segmentPlaintextRange,
  STREAM_HEADER_BYTES,
  type StreamOptions,
} from '../../../../src/crypto/sealed-stream.ts'
import { bytesOfHex, hexOf, loadVectors } from '../../../vectors/load.ts'
import { seededBytes } from '../../../vectors/seeded.ts'
import { faultOf } from '../faults.ts'

interface TinkCase {
  name: string
  plaintextBytes: number
  header?: string
  ciphertextBytes: number
  ciphertextSha256: string
  ciphertext?: string
}

const tink = loadVectors<{ sealedByTink: TinkCase[]; openedByTink: TinkCase[] }>('sealed-stream')
const FIRST = SEGMENT_BYTES - 56
const FULL = SEGMENT_BYTES - 16
const KEY = seededBytes('key', 32)
const PROFILE: CipherProfile = 'aes-256-gcm'

const sha256Hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

async function* chunksOf(bytes: Uint8Array, chunkBytes: number = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += chunkBytes) yield bytes.subarray(offset, offset + chunkBytes)
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  for await (const piece of pieces) all.push(piece)
  return new Uint8Array(Buffer.concat(all))
}

function seal(plaintext: Uint8Array, options: Partial<StreamOptions> = {}): Promise<Uint8Array> {
  return collect(sealStream(chunksOf(plaintext), { key: KEY, profile: PROFILE, ...options }))
}

function open(ciphertext: Uint8Array, options: Partial<StreamOptions> = {}): Promise<Uint8Array> {
  return collect(openStream(chunksOf(ciphertext), { key: KEY, profile: PROFILE, ...options }))
}

function flipped(bytes: Uint8Array, at: number, bit = 0): Uint8Array {
  const copy = new Uint8Array(bytes)
  copy[at] = (copy[at] ?? 0) ^ (1 << bit)
  return copy
}

const segmentAt = (ciphertext: Uint8Array, index: number): Uint8Array =>
  ciphertext.subarray(index * SEGMENT_BYTES, (index + 1) * SEGMENT_BYTES)

const joined = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

export function sealedStreamSuite(form: string): void {
  describe(`sealed streams, ${form} form`, () => {
    tinkTests()
    formatTests()
    roundTripTests()
    damageTests()
    rangeTests()
    guardTests()
  })
}

function tinkTests(): void {
  test.each(tink.sealedByTink)(
    'what Tink sealed opens, and is what we seal under its header: $name',
    async (vector) => {
      const key = seededBytes(`key ${vector.name}`, 32)
      const plaintext = seededBytes(`plaintext ${vector.name}`, vector.plaintextBytes)
      const ours = await seal(plaintext, { key, header: bytesOfHex(vector.header ?? '') })
      expect(sha256Hex(ours)).toBe(vector.ciphertextSha256)
      if (vector.ciphertext !== undefined) expect(hexOf(ours)).toBe(vector.ciphertext)
      // The same bytes, as the hash says: opening ours is opening Tink's.
      expect(sha256Hex(await open(ours, { key }))).toBe(sha256Hex(plaintext))
    },
  )

  test.each(tink.openedByTink)('we still seal byte for byte what Tink opened: $name', async (vector) => {
    const header = joined(Uint8Array.of(STREAM_HEADER_BYTES), seededBytes(`header ${vector.name}`, 39))
    const plaintext = seededBytes(`plaintext ${vector.name}`, vector.plaintextBytes)
    const ours = await seal(plaintext, { key: seededBytes(`key ${vector.name}`, 32), header })
    expect(ours.length).toBe(vector.ciphertextBytes)
    expect(sha256Hex(ours)).toBe(vector.ciphertextSha256)
  })
}

function roundTripTests(): void {
  const sizes = [0, 1, 1000, FIRST - 1, FIRST, FIRST + 1, FIRST + FULL, FIRST + FULL + 1]
  test.each(CIPHER_PROFILES.flatMap((profile) => sizes.map((bytes) => ({ profile, bytes }))))(
    '$profile: $bytes bytes come back, and the lengths are as computed',
    async ({ profile, bytes }) => {
      const plaintext = seededBytes('round trip', bytes)
      const ciphertext = await seal(plaintext, { profile })
      expect(ciphertext.length).toBe(ciphertextLength(bytes))
      expect(plaintextLength(ciphertext.length)).toBe(bytes)
      expect(sha256Hex(await open(ciphertext, { profile }))).toBe(sha256Hex(plaintext))
    },
  )

  test.each([1, 7919, SEGMENT_BYTES - 1, SEGMENT_BYTES, 3 * SEGMENT_BYTES])(
    'the size of the chunks, %i bytes, makes no difference',
    async (chunkBytes) => {
      const plaintext = seededBytes('chunks', chunkBytes === 1 ? 3000 : FIRST + FULL + 5)
      const options = { key: KEY, profile: PROFILE }
      const ciphertext = await collect(sealStream(chunksOf(plaintext, chunkBytes), options))
      const opened = await collect(openStream(chunksOf(ciphertext, chunkBytes), options))
      expect(sha256Hex(opened)).toBe(sha256Hex(plaintext))
    },
  )

  test('every segment but the last has exactly 1 MiB, and comes as one piece', async () => {
    const lengths: number[] = []
    for await (const piece of sealStream(chunksOf(seededBytes('pieces', 2 * SEGMENT_BYTES)), {
      key: KEY,
      profile: PROFILE,
    })) {
      lengths.push(piece.length)
    }
    expect(lengths).toEqual([SEGMENT_BYTES, SEGMENT_BYTES, 2 * SEGMENT_BYTES - FIRST - FULL + 16])
  })

  test('the same plaintext under the same key is never sealed the same way twice', async () => {
    expect(hexOf(await seal(new Uint8Array(10)))).not.toBe(hexOf(await seal(new Uint8Array(10))))
  })

  test('a source may reuse its buffer, and is closed when the reader stops early', async () => {
    let closed = false
    async function* reusing(): AsyncGenerator<Uint8Array> {
      const buffer = new Uint8Array(300_000)
      try {
        for (let i = 0; i < 8; i++) yield buffer.fill(i)
      } finally {
        closed = true
      }
    }
    const expected = joined(...Array.from({ length: 8 }, (_, i) => new Uint8Array(300_000).fill(i)))
    const options = { key: KEY, profile: PROFILE }
    const whole = await collect(openStream(sealStream(reusing(), options), options))
    expect(sha256Hex(whole)).toBe(sha256Hex(expected))
    closed = false
    for await (const piece of sealStream(reusing(), options)) {
      expect(piece.length).toBe(SEGMENT_BYTES)
      break
    }
    expect(closed).toBe(true)
  })

  test('lengths and ranges agree with each other for any length', () => {
    const anyLength = fc.oneof(
      fc.nat(4 * SEGMENT_BYTES),
      fc.integer({ min: 0, max: 2 ** 41 }),
      fc.constantFrom(0, FIRST, FIRST + 1, FIRST + FULL, FIRST + FULL + 1),
    )
    fc.assert(
      fc.property(anyLength, fc.double({ min: 0, max: 1, noNaN: true }), (bytes, part) => {
        const sealedBytes = ciphertextLength(bytes)
        const segments = segmentCount(sealedBytes)
        expect(plaintextLength(sealedBytes)).toBe(bytes)
        expect(segmentPlaintextRange(segments - 1, sealedBytes).end).toBe(bytes)
        const offset = Math.floor(part * Math.max(0, bytes - 1))
        const index = segmentOfPlaintextOffset(offset)
        const range = segmentPlaintextRange(index, sealedBytes)
        if (bytes > 0) expect(range.start <= offset && offset < range.end).toBe(true)
        if (index > 0) expect(segmentPlaintextRange(index - 1, sealedBytes).end).toBe(range.start)
      }),
      { numRuns: 1000 },
    )
  })
}

/** The format written out once more, with other libraries than either form uses for it. */
function formatTests(): void {
  test.each<[CipherProfile, string]>([
    ['aes-256-gcm', ''],
    ['chacha20-poly1305', 'apotheca/sealed-stream/chacha20-poly1305/1'],
  ])('%s: header, subkey, nonces and tags are as docs/spec/sealed-stream.md has them', async (profile, info) => {
    const plaintext = seededBytes('format', FIRST + 70)
    const sealed = await seal(plaintext, { profile })
    const header = sealed.subarray(0, 40)
    const subkey = hkdf(sha256, KEY, header.subarray(1, 33), new TextEncoder().encode(info), 32)
    const aead = profile === 'aes-256-gcm' ? gcm : chacha20poly1305
    const nonceOf = (end: number[]): Uint8Array => joined(header.subarray(33), Uint8Array.from(end))
    const first = aead(subkey, nonceOf([0, 0, 0, 0, 0])).encrypt(plaintext.subarray(0, FIRST))
    const last = aead(subkey, nonceOf([0, 0, 0, 1, 1])).encrypt(plaintext.subarray(FIRST))
    expect(header[0]).toBe(40)
    expect(sha256Hex(sealed)).toBe(sha256Hex(joined(header, first, last)))
  })
}

function damageTests(): void {
  /** Three segments, the last of them 116 bytes. */
  const plaintext = seededBytes('damaged', FIRST + FULL + 100)
  const full = seededBytes('full', FIRST + FULL)
  const invalid = (segment: number) => ({ code: 'SEALED_SEGMENT_INVALID', segment })
  const truncated = (segment: number) => ({ code: 'SEALED_TRUNCATED', segment })

  test.each(CIPHER_PROFILES)('%s: any altered part is refused at its segment', async (profile) => {
    const good = await seal(plaintext, { profile })
    const places: [string, number, object][] = [
      ['header length', 0, { code: 'SEALED_HEADER_INVALID' }],
      ['salt', 1, invalid(0)],
      ['nonce prefix', 39, invalid(0)],
      ['first byte of segment 0', 40, invalid(0)],
      ['tag of segment 0', SEGMENT_BYTES - 1, invalid(0)],
      ['first byte of segment 1', SEGMENT_BYTES, invalid(1)],
      ['tag of segment 1', 2 * SEGMENT_BYTES - 16, invalid(1)],
      ['last segment', 2 * SEGMENT_BYTES + 50, invalid(2)],
      ['last tag', good.length - 1, invalid(2)],
    ]
    for (const [what, at, fault] of places) {
      expect(await faultOf(() => open(flipped(good, at), { profile })), what).toEqual(fault)
    }
  })

  test('any one flipped bit of a short stream is refused', async () => {
    const good = await seal(seededBytes('short', 60))
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.nat(7), async (at, bit) => {
        const fault = await faultOf(() => open(flipped(good, at, bit)))
        expect(fault).toEqual(at === 0 ? { code: 'SEALED_HEADER_INVALID' } : invalid(0))
      }),
      { numRuns: 300 },
    )
  })

  test('a stream cut between segments is truncated, wherever it is cut', async () => {
    const good = await seal(plaintext)
    expect(await faultOf(() => open(good.subarray(0, SEGMENT_BYTES)))).toEqual(truncated(0))
    expect(await faultOf(() => open(good.subarray(0, 2 * SEGMENT_BYTES)))).toEqual(truncated(1))
  })

  test('a stream cut within a segment is refused there', async () => {
    const good = await seal(plaintext)
    expect(await faultOf(() => open(good.subarray(0, 0)))).toEqual(truncated(0))
    expect(await faultOf(() => open(good.subarray(0, 55)))).toEqual(truncated(0))
    expect(await faultOf(() => open(good.subarray(0, 500_000)))).toEqual(invalid(0))
    expect(await faultOf(() => open(good.subarray(0, 2 * SEGMENT_BYTES + 16)))).toEqual(truncated(2))
    expect(await faultOf(() => open(good.subarray(0, 2 * SEGMENT_BYTES + 17)))).toEqual(invalid(2))
    expect(await faultOf(() => open(good.subarray(0, good.length - 1)))).toEqual(invalid(2))
  })

  test('what was added to a stream is refused', async () => {
    const good = await seal(plaintext)
    const goodFull = await seal(full)
    const added = Uint8Array.of(0)
    const trailing = (segment: number) => ({ code: 'SEALED_TRAILING_DATA', segment })
    expect(await faultOf(() => open(joined(good, added)))).toEqual(invalid(2))
    expect(await faultOf(() => open(joined(goodFull, added)))).toEqual(trailing(1))
    expect(await faultOf(() => open(joined(goodFull, goodFull)))).toEqual(trailing(1))
    const oneSegment = await seal(full.subarray(0, FIRST))
    expect(await faultOf(() => open(joined(oneSegment, added)))).toEqual(trailing(0))
  })

  test('segments out of order, twice, left out, or of another stream of the same key are refused', async () => {
    const long = seededBytes('long', FIRST + 2 * FULL + 1)
    // Seeded headers: the first byte of a random segment would look like a header's in one run of 256.
    const headerOf = (seed: string): Uint8Array => joined(Uint8Array.of(STREAM_HEADER_BYTES), seededBytes(seed, 39))
    const good = await seal(long, { header: headerOf('good') })
    const other = await seal(long, { header: headerOf('other') })
    const [s0, s1, s2, s3] = [0, 1, 2, 3].map((index) => segmentAt(good, index)) as [
      Uint8Array,
      Uint8Array,
      Uint8Array,
      Uint8Array,
    ]
    expect(await faultOf(() => open(joined(s0, s2, s1, s3)))).toEqual(invalid(1))
    expect(await faultOf(() => open(joined(s0, s1, s1, s2, s3)))).toEqual(invalid(2))
    expect(await faultOf(() => open(joined(s0, s2, s3)))).toEqual(invalid(1))
    expect(await faultOf(() => open(joined(s0, s1, segmentAt(other, 2), s3)))).toEqual(invalid(2))
    expect(await faultOf(() => open(joined(segmentAt(other, 0), s1, s2, s3)))).toEqual(invalid(1))
    expect(await faultOf(() => open(joined(s1, s0)))).toEqual({ code: 'SEALED_HEADER_INVALID' })
  })

  test('a wrong key and a wrong profile are refused at segment 0', async () => {
    const good = await seal(plaintext)
    expect(await faultOf(() => open(good, { key: seededBytes('another', 32) }))).toEqual(invalid(0))
    expect(await faultOf(() => open(good, { profile: 'chacha20-poly1305' }))).toEqual(invalid(0))
    const chacha = await seal(plaintext, { profile: 'chacha20-poly1305' })
    expect(await faultOf(() => open(chacha))).toEqual(invalid(0))
  })

  test('all segments before the damage come out, and nothing after it', async () => {
    const bad = flipped(await seal(plaintext), 2 * SEGMENT_BYTES + 3)
    const pieces: Uint8Array[] = []
    const fault = await faultOf(async () => {
      for await (const piece of openStream(chunksOf(bad), { key: KEY, profile: PROFILE })) pieces.push(piece)
    })
    expect(fault).toEqual(invalid(2))
    expect(sha256Hex(joined(...pieces))).toBe(sha256Hex(plaintext.subarray(0, FIRST + FULL)))
  })

  test('a refused segment leaves no plaintext behind, whatever the reason', async () => {
    const good = await seal(seededBytes('short', 60))
    const attempts: [Uint8Array, boolean][] = [
      [flipped(good, 99), true],
      [good, true],
    ]
    const out = new Uint8Array(60).fill(9)
    const opener = new SegmentOpener({ key: KEY, profile: PROFILE })
    await faultOf(() => opener.open(0, attempts[0]?.[0] ?? good, true, out))
    expect(hexOf(out)).toBe('00'.repeat(60))
    const fullSegment = await seal(full)
    const large = new Uint8Array(FULL).fill(9)
    const fault = await faultOf(async () => {
      const one = new SegmentOpener({ key: KEY, profile: PROFILE, header: fullSegment.subarray(0, 40) })
      // Genuine, and opened on the second try to say why it was refused.
      await one.open(1, segmentAt(fullSegment, 1), false, large)
    })
    expect(fault).toEqual({ code: 'SEALED_TRAILING_DATA', segment: 1 })
    expect(large.every((byte) => byte === 0)).toBe(true)
  })
}

function rangeTests(): void {
  const bytes = FIRST + FULL + 1000
  const plaintext = seededBytes('range', bytes)
  const ranges: [number, number][] = [
    [0, 0],
    [0, 1],
    [0, bytes],
    [5, 6],
    [FIRST - 1, FIRST],
    [FIRST - 1, FIRST + 1],
    [FIRST, FIRST + 1],
    [FIRST + FULL - 1, FIRST + FULL + 1],
    [FIRST + FULL, bytes],
    [bytes - 1, bytes],
    [bytes, bytes],
  ]

  test.each(CIPHER_PROFILES)('%s: any range is that slice of the plaintext', async (profile) => {
    const ciphertext = await seal(plaintext, { profile })
    const read = async (index: number): Promise<Uint8Array> => segmentAt(ciphertext, index)
    const random = Array.from({ length: 20 }, (_, i): [number, number] => {
      const [a = 0, b = 0] = new Uint32Array(seededBytes(`range ${i}`, 32).slice().buffer)
      return [Math.min(a % bytes, b % bytes), Math.max(a % bytes, b % bytes)]
    })
    for (const [start, end] of [...ranges, ...random]) {
      const opened = await collect(openRange(read, ciphertext.length, { start, end }, KEY, profile))
      expect(sha256Hex(opened), `${start} to ${end}`).toBe(sha256Hex(plaintext.subarray(start, end)))
    }
  })

  test('only the segments of the range are read, and segment 0 only where the header is not known', async () => {
    const ciphertext = await seal(plaintext)
    const header = ciphertext.subarray(0, STREAM_HEADER_BYTES)
    let asked: number[] = []
    const read = async (index: number): Promise<Uint8Array> => {
      asked.push(index)
      return segmentAt(ciphertext, index)
    }
    const readsOf = async (start: number, end: number, known?: Uint8Array): Promise<number[]> => {
      asked = []
      await collect(openRange(read, ciphertext.length, { start, end }, KEY, PROFILE, known))
      return asked
    }
    expect(await readsOf(10, 20)).toEqual([0])
    expect(await readsOf(FIRST, FIRST + 1)).toEqual([0, 1])
    expect(await readsOf(FIRST, FIRST + 1, header)).toEqual([1])
    expect(await readsOf(FIRST + 5, bytes, header)).toEqual([1, 2])
    expect(await readsOf(0, bytes)).toEqual([0, 1, 2])
    expect(await readsOf(7, 7)).toEqual([])
  })

  test('a range outside the stream, a wrong length and a damaged segment are refused', async () => {
    const ciphertext = await seal(plaintext)
    const rangeFault = (start: number, end: number, sealedBytes: number, source = ciphertext) =>
      faultOf(() =>
        collect(openRange(async (index) => segmentAt(source, index), sealedBytes, { start, end }, KEY, PROFILE)),
      )
    for (const [start, end] of [
      [-1, 5],
      [5, 4],
      [0, bytes + 1],
      [0.5, 2],
      [Number.NaN, 2],
    ] as const) {
      expect(await rangeFault(start, end, ciphertext.length)).toEqual({
        code: 'SEALED_RANGE_INVALID',
        start,
        end,
        bytes,
      })
    }
    const size = { code: 'SEALED_SEGMENT_SIZE', segment: 2, bytes: 1016, expectedBytes: 1017 }
    expect(await rangeFault(bytes, bytes + 1, ciphertext.length + 1)).toEqual(size)
    const invalid = { code: 'SEALED_SEGMENT_INVALID', segment: 1 }
    expect(await rangeFault(FIRST, FIRST + 1, ciphertext.length, flipped(ciphertext, SEGMENT_BYTES))).toEqual(invalid)
    expect(await rangeFault(0, 1, ciphertext.length, flipped(ciphertext, 0))).toEqual({ code: 'SEALED_HEADER_INVALID' })
    // A length that claims the stream ends after segment 1.
    const cut = { code: 'SEALED_TRUNCATED', segment: 1 }
    expect(await rangeFault(FIRST, FIRST + 1, 2 * SEGMENT_BYTES)).toEqual(cut)
  })
}

function guardTests(): void {
  const sealer = (): SegmentSealer => new SegmentSealer({ key: KEY, profile: PROFILE })
  const out = new Uint8Array(SEGMENT_BYTES)

  test('no segment is sealed twice, nor any after the last', async () => {
    const one = sealer()
    await one.seal(0, new Uint8Array(FIRST), false, out)
    expect(await faultOf(() => one.seal(0, new Uint8Array(FIRST), false, out))).toEqual({
      code: 'SEALED_SEGMENT_REUSED',
      segment: 0,
    })
    await one.seal(1, new Uint8Array(3), true, out)
    for (const segment of [1, 2]) {
      const fault = await faultOf(() => one.seal(segment, new Uint8Array(3), true, out))
      expect(fault).toEqual({ code: 'SEALED_SEGMENT_REUSED', segment })
    }
  })

  test('a sealer that goes on under the old header gives the same ciphertext', async () => {
    const plaintext = seededBytes('resumed', FIRST + FULL + 9)
    const header = sealer().header
    const whole = await seal(plaintext, { header })
    const resumed = new SegmentSealer({ key: KEY, profile: PROFILE, header: Buffer.from(header) })
    const written = await resumed.seal(2, plaintext.subarray(FIRST + FULL), true, out)
    expect(hexOf(out.subarray(0, written))).toBe(hexOf(whole.subarray(2 * SEGMENT_BYTES)))
  })

  test('a segment of the wrong size is not sealed, and one too large not opened', async () => {
    const size = (segment: number, bytes: number, expectedBytes: number) => ({
      code: 'SEALED_SEGMENT_SIZE',
      segment,
      bytes,
      expectedBytes,
    })
    expect(await faultOf(() => sealer().seal(0, new Uint8Array(5), false, out))).toEqual(size(0, 5, FIRST))
    expect(await faultOf(() => sealer().seal(0, new Uint8Array(FIRST + 1), true, out))).toEqual(
      size(0, FIRST + 1, FIRST),
    )
    expect(await faultOf(() => sealer().seal(1, new Uint8Array(0), true, out))).toEqual(size(1, 0, FULL))
    expect(await faultOf(() => sealer().seal(0, new Uint8Array(5), true, out.subarray(0, 60)))).toEqual(size(0, 60, 61))
    const opener = new SegmentOpener({ key: KEY, profile: PROFILE })
    const tooLarge = new Uint8Array(SEGMENT_BYTES + 1)
    expect(await faultOf(() => opener.open(0, tooLarge, true, out))).toEqual(size(0, SEGMENT_BYTES + 1, SEGMENT_BYTES))
    const small = await seal(new Uint8Array(5))
    expect(await faultOf(() => opener.open(0, small, true, out.subarray(0, 4)))).toEqual(size(0, 4, 5))
  })

  test('lengths of no stream, and streams beyond the limit, are refused', async () => {
    const tooLarge = { code: 'SEALED_TOO_LARGE', segmentsMax: SEGMENTS_MAX }
    const truncatedAt = (segment: number) => ({ code: 'SEALED_TRUNCATED', segment })
    for (const bytes of [0, 1, 55]) expect(await faultOf(() => plaintextLength(bytes))).toEqual(truncatedAt(0))
    for (const bytes of [1, 16]) {
      expect(await faultOf(() => plaintextLength(SEGMENT_BYTES + bytes))).toEqual(truncatedAt(1))
    }
    const most = FIRST + (SEGMENTS_MAX - 1) * FULL
    expect(ciphertextLength(most)).toBe(SEGMENTS_MAX * SEGMENT_BYTES)
    expect(await faultOf(() => ciphertextLength(most + 1))).toEqual(tooLarge)
    expect(await faultOf(() => plaintextLength(SEGMENTS_MAX * SEGMENT_BYTES + 17))).toEqual(tooLarge)
    expect(await faultOf(() => segmentCount(Number.NaN))).toEqual(tooLarge)
    expect(await faultOf(() => sealer().seal(SEGMENTS_MAX, new Uint8Array(1), true, out))).toEqual(tooLarge)
    const range = () => segmentPlaintextRange(1, ciphertextLength(5))
    expect(await faultOf(range)).toEqual(truncatedAt(1))
  })

  test('keys and headers of the wrong shape are refused', async () => {
    const keyFault = { code: 'SEALED_KEY_INVALID', bytes: 31, expectedBytes: 32 }
    const short = { key: KEY.subarray(0, 31), profile: PROFILE }
    expect(await faultOf(() => new SegmentSealer(short))).toEqual(keyFault)
    expect(await faultOf(() => new SegmentOpener(short))).toEqual(keyFault)
    const headerOf = (header: Uint8Array) => faultOf(() => new SegmentSealer({ key: KEY, profile: PROFILE, header }))
    expect(await headerOf(new Uint8Array(40))).toEqual({ code: 'SEALED_HEADER_INVALID' })
    expect(await headerOf(Uint8Array.of(40))).toEqual({ code: 'SEALED_HEADER_INVALID' })
  })

  test('a later segment does not open before the header is known, nor a second header after it', async () => {
    const plaintext = seededBytes('later', FIRST + 10)
    const [a, b] = [await seal(plaintext), await seal(plaintext)]
    const opener = new SegmentOpener({ key: KEY, profile: PROFILE })
    const unknown = { code: 'SEALED_HEADER_UNKNOWN', segment: 1 }
    expect(await faultOf(() => opener.open(1, segmentAt(a, 1), true, out))).toEqual(unknown)
    opener.useHeader(segmentAt(a, 0))
    expect(await opener.open(1, segmentAt(a, 1), true, out)).toBe(10)
    expect(await faultOf(() => opener.open(0, segmentAt(b, 0), false, out))).toEqual({ code: 'SEALED_HEADER_INVALID' })
  })

  test('the caller’s key and header stay as they are, even as Buffers', async () => {
    const key = Buffer.from(seededBytes('own key', 32))
    const ciphertext = Buffer.from(await seal(new Uint8Array(5), { key }))
    const before = ciphertext.toString('hex')
    expect(hexOf(await open(ciphertext, { key }))).toBe('0000000000')
    expect(hexOf(await open(ciphertext, { key, header: ciphertext.subarray(0, 40) }))).toBe('0000000000')
    expect(key.toString('hex')).toBe(hexOf(seededBytes('own key', 32)))
    expect(ciphertext.toString('hex')).toBe(before)
  })

  test('a full segment holds what segmentCapacity says', () => {
    expect([segmentCapacity(0), segmentCapacity(1), segmentCapacity(999)]).toEqual([FIRST, FULL, FULL])
  })
}
