import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  accountIdOf,
  IdError,
  idHash,
  parseAccountId,
  parseCid,
  parseInstitutionId,
  parseRecordId,
  parseTxId,
  recordIdOf,
  txIdOf,
} from '../../../src/core/ids.ts'

function faultOf(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(IdError)
    return (error as IdError).fault
  }
  return undefined
}

const anyHash = fc.uint8Array({ minLength: 32, maxLength: 32 })

describe('ids', () => {
  test('an id is its prefix and the hash, and comes back from its text', () => {
    fc.assert(
      fc.property(anyHash, (hash) => {
        for (const [make, parse, prefix] of [
          [accountIdOf, parseAccountId, 'acc1'],
          [txIdOf, parseTxId, 'tx1'],
          [recordIdOf, parseRecordId, 'rec1'],
        ] as const) {
          const id = make(hash)
          expect(id).toMatch(new RegExp(`^${prefix}[a-z2-7]{52}$`))
          expect(parse(id)).toBe(id)
          expect(idHash(id)).toEqual(hash)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('no id has a second spelling', () => {
    fc.assert(
      fc.property(
        anyHash,
        fc.nat(55),
        fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz234567'.split('')),
        (hash, at, letter) => {
          const id = accountIdOf(hash)
          const changed = id.slice(0, at) + letter + id.slice(at + 1)
          let parsed: string
          try {
            parsed = parseAccountId(changed)
          } catch (error) {
            expect(error).toBeInstanceOf(IdError)
            return
          }
          expect(accountIdOf(idHash(parseAccountId(parsed)))).toBe(changed)
        },
      ),
      { numRuns: 1000 },
    )
  })

  test('an id of another kind, cut, extended, in capitals or with foreign letters is refused', () => {
    const id = accountIdOf(new Uint8Array(32))
    const expected = { code: 'ID_MALFORMED', kind: 'account', expected: 'acc1 and 52 characters a-z2-7' }
    const wrong = ['', 'acc1', id.slice(0, -1), `${id}a`, id.toUpperCase(), txIdOf(new Uint8Array(32)), ` ${id}`]
    for (const text of [...wrong, `acc1${'0'.repeat(52)}`, `acc1${'a'.repeat(51)}b`, `acc1${'='.repeat(52)}`]) {
      expect(
        faultOf(() => parseAccountId(text)),
        text,
      ).toEqual(expected)
    }
  })

  test('names of institutions', () => {
    for (const name of ['a', 'st-anna', '1', 'a'.repeat(32)]) expect(parseInstitutionId(name)).toBe(name)
    for (const name of ['', '-a', 'a-', 'A', 'a b', 'ä', 'a'.repeat(33), 'a\n']) {
      expect(
        faultOf(() => parseInstitutionId(name)),
        name,
      ).toMatchObject({ code: 'ID_MALFORMED', kind: 'institution' })
    }
  })

  test('a CID of either version parses; a path, a cut, an overlong text do not', () => {
    const v1 = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
    const v0 = 'QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR'
    expect(parseCid(v1).toString()).toBe(v1)
    expect(parseCid(v0).version).toBe(0)
    for (const text of ['', 'x', `/ipfs/${v1}`, v1.slice(0, -1), v1.toUpperCase(), `${v1} `, 'b'.repeat(200)]) {
      expect(
        faultOf(() => parseCid(text)),
        text,
      ).toMatchObject({ code: 'CID_MALFORMED' })
    }
  })
})
