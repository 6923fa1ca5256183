import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CodedError } from '../../../src/core/coded-error.ts'
import {
  type Genesis,
  chainIdOf,
  checkGenesis,
  decodeGenesis,
  encodeGenesis,
  genesisJson,
  parseGenesisJson,
} from '../../../src/ledger/genesis.ts'
import { hexOf } from '../../vectors/load.ts'
import { GENESIS, makeGenesis, peerIdOf, seedOf, signerOf } from './network.ts'

function faultOf(work: () => unknown): Record<string, unknown> {
  try {
    work()
  } catch (error) {
    if (error instanceof CodedError) return { ...error.fault }
    throw error
  }
  return { code: 'none' }
}

type Json = { institutions: Record<string, unknown>[]; validators: Record<string, unknown>[] } & Record<string, unknown>

/** The JSON form, changed by hand as a founder might. */
function edited(edit: (json: Json) => void): string {
  const json = JSON.parse(genesisJson(GENESIS)) as Json
  edit(json)
  return JSON.stringify(json)
}

describe('the genesis', () => {
  test('is the same bytes whether it came from JSON or from bytes', () => {
    const bytes = encodeGenesis(GENESIS)
    expect(hexOf(encodeGenesis(parseGenesisJson(genesisJson(GENESIS))))).toBe(hexOf(bytes))
    expect(hexOf(encodeGenesis(decodeGenesis(bytes)))).toBe(hexOf(bytes))
  })

  test('names the chain by its CID, another for any other genesis', () => {
    const id = chainIdOf(encodeGenesis(GENESIS))
    expect(id).toMatch(/^bafyrei[a-z2-7]{52}$/)
    expect(chainIdOf(encodeGenesis({ ...GENESIS, timeMs: GENESIS.timeMs + 1 }))).not.toBe(id)
  })

  test('may be written with comments, keys in hex of either case or in base64, padded or not', () => {
    const bytes = encodeGenesis(GENESIS)
    const key = Buffer.from(GENESIS.validators[0]?.key ?? [])
    for (const text of [
      key.toString('hex').toUpperCase(),
      key.toString('base64'),
      key.toString('base64').replace('=', ''),
    ]) {
      const json = edited(({ validators }) => Object.assign(validators[0] ?? {}, { key: text }))
      expect(hexOf(encodeGenesis(parseGenesisJson(`// who founds it\n${json}`)))).toBe(hexOf(bytes))
    }
  })

  test('may say how storage runs; one that doesn’t has no field for it', () => {
    const storage = { auditMs: 1_000, leaseMs: 2_000, leaseMaxMs: 2_000 }
    const bytes = encodeGenesis({ ...GENESIS, storage })
    expect(decodeGenesis(bytes).storage).toEqual(storage)
    expect(encodeGenesis(parseGenesisJson(genesisJson({ ...GENESIS, storage })))).toEqual(bytes)
    expect(Object.keys(decodeGenesis(encodeGenesis(GENESIS)))).not.toContain('storage')
  })

  test('with broken JSON is refused with line and column', () => {
    const fault = faultOf(() => parseGenesisJson('{\n  "version": 1,\n  "name" "x"\n}'))
    expect(fault).toMatchObject({ code: 'GENESIS_JSON_SYNTAX', line: 3, column: 10 })
  })

  test.each<[string, (json: Json) => void, string, string]>([
    ['an unknown field', (json) => Object.assign(json, { colour: 'red' }), 'CODEC_SHAPE', 'genesis.colour'],
    ['no validators', (json) => Object.assign(json, { validators: [] }), 'CODEC_SHAPE', 'genesis.validators'],
    [
      'a key of 31 bytes',
      ({ validators }) => Object.assign(validators[0] ?? {}, { key: 'ab'.repeat(31) }),
      'CODEC_SHAPE',
      'genesis.validators[0].key',
    ],
    [
      'a role that there is not',
      ({ institutions }) => Object.assign(institutions[1] ?? {}, { role: 'bank' }),
      'CODEC_SHAPE',
      'genesis.institutions[1].role',
    ],
    [
      'a name with capitals as an id',
      ({ institutions }) => Object.assign(institutions[0] ?? {}, { id: 'City' }),
      'CODEC_SHAPE',
      'genesis.institutions[0].id',
    ],
    [
      'a peer id that is none',
      ({ institutions }) => Object.assign(institutions[2] ?? {}, { peers: ['12D3KooWnotapeer'] }),
      'CODEC_SHAPE',
      'genesis.institutions[2].peers[0]',
    ],
    [
      'an X-Wing key of the wrong length',
      ({ institutions }) =>
        Object.assign((institutions[0]?.['account'] as object) ?? {}, {
          encryption: { wrap: 'x-wing', publicKey: 'ab'.repeat(32) },
        }),
      'CODEC_SHAPE',
      'genesis.institutions[0].account.encryption.publicKey',
    ],
    ['a version of the future', (json) => Object.assign(json, { version: 2 }), 'CODEC_SHAPE', 'genesis.version'],
    [
      'a key that is no point of the curve',
      ({ institutions }) => Object.assign(institutions[0] ?? {}, { adminKey: 'ff'.repeat(32) }),
      'GENESIS_KEY_INVALID',
      'genesis.institutions[0].adminKey',
    ],
    [
      'a key of small order',
      ({ validators }) => Object.assign(validators[0] ?? {}, { key: `01${'00'.repeat(31)}` }),
      'GENESIS_KEY_INVALID',
      'genesis.validators[0].key',
    ],
    [
      'an institution twice',
      ({ institutions }) => Object.assign(institutions[2] ?? {}, { id: 'city' }),
      'GENESIS_DUPLICATE',
      'genesis.institutions[2].id',
    ],
    [
      'a peer twice',
      ({ institutions }) => Object.assign(institutions[1] ?? {}, { peers: [peerIdOf('city')] }),
      'GENESIS_DUPLICATE',
      'genesis.institutions[1].peers[0]',
    ],
    [
      'one key for the account and the vote',
      ({ validators }) => Object.assign(validators[0] ?? {}, { key: hexOf(signerOf('city account').publicKey) }),
      'GENESIS_DUPLICATE',
      'genesis.validators[0].key',
    ],
    [
      'a validator that is no institution',
      ({ validators }) => Object.assign(validators[0] ?? {}, { institution: 'south' }),
      'GENESIS_INSTITUTION_UNKNOWN',
      'genesis.validators[0].institution',
    ],
    [
      'an institution that votes twice',
      ({ validators }) => validators.push({ institution: 'city', key: hexOf(signerOf('second vote').publicKey) }),
      'GENESIS_DUPLICATE',
      'genesis.validators[1].institution',
    ],
    [
      'a parameter of storage below its bound',
      (json) => Object.assign(json, { storage: { auditMs: 999 } }),
      'CODEC_SHAPE',
      'genesis.storage.auditMs',
    ],
    [
      'a parameter of storage that there is not',
      (json) => Object.assign(json, { storage: { copies: 3 } }),
      'CODEC_SHAPE',
      'genesis.storage.copies',
    ],
    [
      'a lease longer than the longest',
      (json) => Object.assign(json, { storage: { leaseMaxMs: 5_000 } }),
      'CODEC_SHAPE',
      'genesis.storage.leaseMs',
    ],
  ])('with %s is refused, and the place is named', (_what, edit, code, path) => {
    expect(faultOf(() => parseGenesisJson(edited(edit)))).toMatchObject({ code, path })
  })

  test('with the same rules whether it is encoded, decoded or read', () => {
    const [first] = GENESIS.institutions
    if (first === undefined) throw new Error('the genesis has institutions')
    const twice: Genesis = { ...GENESIS, institutions: [...GENESIS.institutions, first] }
    expect(() => checkGenesis(twice)).toThrow('GENESIS_DUPLICATE')
    expect(() => encodeGenesis(twice)).toThrow('GENESIS_DUPLICATE')
  })

  test('text that is any bytes in hex or base64 is read as exactly those bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        // The shape is read before the points are checked, so most of these end at the key: what counts is where.
        for (const text of [Buffer.from(bytes).toString('hex'), Buffer.from(bytes).toString('base64')]) {
          const fault = faultOf(() =>
            parseGenesisJson(edited(({ validators }) => Object.assign(validators[0] ?? {}, { key: text }))),
          )
          expect(['none', 'GENESIS_KEY_INVALID']).toContain(fault['code'])
        }
      }),
      { numRuns: 50 },
    )
  })

  test('holds a hundred institutions with keys of the largest kind', () => {
    const names = Array.from({ length: 100 }, (_one, index) => `hospital-${index}`)
    const many = makeGenesis(Object.fromEntries(names.map((name) => [name, 'hospital' as const])), names)
    const large = (index: number): Uint8Array => Buffer.alloc(1_216, seedOf(`large ${index}`))
    const genesis: Genesis = {
      ...many,
      institutions: many.institutions.map((institution, index) => ({
        ...institution,
        account: { ...institution.account, encryption: { wrap: 'x-wing', publicKey: new Uint8Array(large(index)) } },
        peers: Array.from({ length: 16 }, (_peer, at) => peerIdOf(`${institution.id} ${at}`)),
      })),
    }
    expect(decodeGenesis(encodeGenesis(genesis)).institutions).toHaveLength(100)
    expect(hexOf(encodeGenesis(parseGenesisJson(genesisJson(genesis))))).toBe(hexOf(encodeGenesis(genesis)))
  })
})
