import * as fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { decodeCanonical, encodeCanonical } from '../../../src/core/codec.ts'
import { CodedError } from '../../../src/core/coded-error.ts'
import { decodeBody, encodeBody } from '../../../src/ledger/block-body.ts'
import { decodeCertificate, encodeCertificate } from '../../../src/ledger/certificate.ts'
import { ledgerFaults } from '../../../src/ledger/faults.ts'
import { coreFaults } from '../../../src/core/faults.ts'
import { decodeGenesis, encodeGenesis } from '../../../src/ledger/genesis.ts'
import { decodeFinalHeader, decodeHeader, encodeFinalHeader, encodeHeader } from '../../../src/ledger/header.ts'
import { decodeReceipts, encodeReceipts } from '../../../src/ledger/receipt.ts'
import { decodeStateProof, encodeStateProof } from '../../../src/ledger/state-proof.ts'
import { decodeEnvelope, encodeEnvelope, encodeTxBody } from '../../../src/ledger/transaction.ts'
import { decodeVote, encodeVote } from '../../../src/ledger/vote.ts'
import { hexOf } from '../../vectors/load.ts'
import { samples } from './samples.ts'

/** Each decodes, and encodes again what it decoded: accepted bytes are the only bytes of their value. */
const ROUND_TRIPS = {
  genesis: (bytes: Uint8Array) => encodeGenesis(decodeGenesis(bytes)),
  envelope: (bytes: Uint8Array) => {
    const { body, sigs } = decodeEnvelope(bytes)
    return encodeEnvelope({ body: encodeTxBody(body), sigs })
  },
  header: (bytes: Uint8Array) => encodeHeader(decodeHeader(bytes)),
  certificate: (bytes: Uint8Array) => encodeCertificate(decodeCertificate(bytes)),
  body: (bytes: Uint8Array) => encodeBody(decodeBody(bytes)),
  finalHeader: (bytes: Uint8Array) => encodeFinalHeader(decodeFinalHeader(bytes)),
  vote: (bytes: Uint8Array) => encodeVote(decodeVote(bytes)),
  receipts: (bytes: Uint8Array) => encodeReceipts(decodeReceipts(bytes)),
  stateProof: (bytes: Uint8Array) => encodeStateProof(decodeStateProof(bytes)),
} as const
type Name = keyof typeof ROUND_TRIPS
const names = Object.keys(ROUND_TRIPS) as Name[]

const codes = new Set<string>([...Object.keys(ledgerFaults), ...Object.keys(coreFaults)])
let valid: Awaited<ReturnType<typeof samples>>

beforeAll(async () => {
  valid = await samples()
})

/** Either these very bytes are the canonical form, or a fault with a row in the tables comes out. */
function check(name: Name, bytes: Uint8Array): 'accepted' | 'refused' {
  let again: Uint8Array
  try {
    again = ROUND_TRIPS[name](bytes)
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    expect(codes).toContain(error.fault.code)
    return 'refused'
  }
  expect(hexOf(again)).toBe(hexOf(bytes))
  return 'accepted'
}

/** Some place in the value is exchanged for something else; still canonical, so the schema has to see it. */
function graft(value: unknown, at: readonly number[], graftee: unknown): unknown {
  const [first, ...rest] = at
  if (first === undefined || typeof value !== 'object' || value === null || value instanceof Uint8Array) return graftee
  if (Array.isArray(value)) {
    const index = first % (value.length + 1)
    const copy = [...(value as unknown[])]
    copy[index] = graft(copy[index], rest, graftee)
    return copy
  }
  const entries = Object.entries(value)
  const [key] = entries[first % Math.max(entries.length, 1)] ?? []
  return key === undefined
    ? graftee
    : { ...value, [key]: graft((value as Record<string, unknown>)[key], rest, graftee) }
}

const canonicalValue = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(null, true, false),
    fc.integer(),
    fc.constantFrom<unknown>(2n ** 53n, -(2n ** 64n), -1, 0, 2 ** 32),
    fc.string({ maxLength: 70 }),
    fc.uint8Array({ maxLength: 80 }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ maxLength: 8 }), tie('value'), { maxKeys: 4 }),
  ),
})).value

describe.each(names)('the decoder of %s', (name) => {
  test('accepts what its encoder wrote', () => {
    expect(check(name, valid[name])).toBe('accepted')
  })

  test('answers random bytes with a coded fault', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        check(name, bytes)
      }),
      { numRuns: 500 },
    )
  })

  test('answers altered bytes with a coded fault, or accepts them as the canonical form of another value', () => {
    fc.assert(
      fc.property(fc.nat(), fc.uint8Array({ maxLength: 4 }), fc.nat({ max: 4 }), (offset, insert, cut) => {
        const at = offset % valid[name].length
        check(name, new Uint8Array([...valid[name].slice(0, at), ...insert, ...valid[name].slice(at + cut)]))
      }),
      { numRuns: 300 },
    )
  })

  test('answers a cut anywhere with a coded fault', () => {
    const step = Math.max(1, Math.floor(valid[name].length / 100))
    for (let length = 0; length < valid[name].length; length += step) {
      expect(check(name, valid[name].slice(0, length)), `cut at ${length}`).toBe('refused')
    }
  })

  test('answers a value with any other thing in any place with a coded fault', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 20 }), { maxLength: 6 }), canonicalValue, (at, graftee) => {
        check(name, encodeCanonical(graft(decodeCanonical(valid[name]), at, graftee)))
      }),
      { numRuns: 300 },
    )
  })

  test('refuses an unknown field', () => {
    const value = decodeCanonical(valid[name])
    if (Array.isArray(value)) return
    expect(check(name, encodeCanonical({ ...(value as object), more: 1 }))).toBe('refused')
  })
})
