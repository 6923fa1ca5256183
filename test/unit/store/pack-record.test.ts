import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { decodePackIndex, encodePackIndex } from '../../../src/store/pack-index-file.ts'
import {
  type RecordState,
  RECORD_HEADER_BYTES,
  readRecordHeader,
  stateMagic,
  writeRecordHeader,
} from '../../../src/store/pack-record.ts'
import { block } from './setup.ts'

const salt = randomBytes(8)
const { digest } = block(1_000)

function header(state: RecordState = 'live', offset = 4_096): Uint8Array {
  const bytes = new Uint8Array(RECORD_HEADER_BYTES)
  writeRecordHeader(bytes, { state, length: 1_000, digest }, salt, offset)
  return bytes
}

test.each(['live', 'removed', 'damaged'] as const)('a header of a %s record reads back', (state) => {
  expect(readRecordHeader(header(state), salt, 4_096)).toEqual({ state, length: 1_000, digest })
})

test('no header with one bit flipped is a header', () => {
  for (let bit = 0; bit < RECORD_HEADER_BYTES * 8; bit++) {
    const flipped = header()
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    expect(readRecordHeader(flipped, salt, 4_096), `bit ${bit}`).toBeUndefined()
  }
})

test('a header is none at another place, in another pack, or cut short', () => {
  expect(readRecordHeader(header(), salt, 4_104)).toBeUndefined()
  expect(readRecordHeader(header(), randomBytes(8), 4_096)).toBeUndefined()
  expect(readRecordHeader(header().subarray(0, RECORD_HEADER_BYTES - 1), salt, 4_096)).toBeUndefined()
})

test('a state changes in place, and the rest of the header stays right', () => {
  const bytes = header()
  bytes.set(stateMagic('removed'))
  expect(readRecordHeader(bytes, salt, 4_096)).toEqual({ state: 'removed', length: 1_000, digest })
})

test('an index file reads back; with any bit flipped, cut short, or of another pack it is none', () => {
  const entries = [
    { offset: 16, length: 1_000, state: 'live' as const, digest },
    { offset: 1_064, length: 0, state: 'damaged' as const, digest: block(7).digest },
  ]
  const bytes = encodePackIndex(salt, 1_112, entries)
  const index = decodePackIndex(bytes, salt, 2_000)
  expect(index?.coveredBytes).toBe(1_112)
  expect([...(index?.entries() ?? [])]).toEqual(entries)
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = bytes.slice()
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    expect(decodePackIndex(flipped, salt, 2_000), `bit ${bit}`).toBeUndefined()
  }
  for (let length = 0; length < bytes.length; length++) {
    expect(decodePackIndex(bytes.subarray(0, length), salt, 2_000)).toBeUndefined()
  }
  expect(decodePackIndex(bytes, randomBytes(8), 2_000)).toBeUndefined()
  expect(decodePackIndex(bytes, salt, 1_111)).toBeUndefined()
})
