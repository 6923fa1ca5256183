import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AccountId, type InstitutionId, accountIdOf, parseInstitutionId, txIdOf } from '../../../src/core/ids.ts'
import { CodedError } from '../../../src/core/coded-error.ts'
import { cborCid, sha256 } from '../../../src/crypto/hash.ts'
import { Mempool } from '../../../src/ledger/mempool.ts'
import type { Lane, SignedTx } from '../../../src/ledger/transaction.ts'

const NOW_MS = 1_000_000
const idOf = (name: string): AccountId => accountIdOf(sha256(new TextEncoder().encode(name)))

interface Spec {
  readonly org?: string
  readonly account?: string
  readonly lane?: Lane
  readonly seq?: number
  readonly bytes?: number
  readonly expiresMs?: number
  readonly nonce?: number
}

/** The pool looks at no signature and no payload: admission did. */
function tx(spec: Spec = {}): SignedTx {
  const { account = 'ada', bytes = 300, expiresMs = NOW_MS + 60_000, lane = 1, nonce = 0, org = 'city', seq = 1 } = spec
  const hash = sha256(new TextEncoder().encode(JSON.stringify({ org, account, lane, seq, nonce, bytes })))
  return {
    id: txIdOf(hash),
    hash,
    body: {
      version: 1,
      chain: cborCid(new Uint8Array(1)),
      org: parseInstitutionId(org),
      account: idOf(account),
      lane,
      seq,
      expiresMs,
      type: 'record.add',
      payload: null,
    },
    leaf: hash,
    bodyBytes: new Uint8Array(0),
    sigs: [],
    bytes: new Uint8Array(bytes),
  }
}

const ROOM = { bytes: 1_048_576, count: 2_000 }
const orgs = (taken: readonly SignedTx[]): InstitutionId[] => taken.map(({ body }) => body.org)
const seqs = (taken: readonly SignedTx[]): number[] => taken.map(({ body }) => body.seq)

function codeOf(work: () => void): string {
  try {
    work()
  } catch (error) {
    if (error instanceof CodedError) return error.fault.code
    throw error
  }
  return 'ok'
}

describe('what the mempool refuses', () => {
  test('the same transaction twice', () => {
    const pool = new Mempool()
    pool.add(tx(), 1, NOW_MS)
    expect(codeOf(() => pool.add(tx(), 1, NOW_MS))).toBe('MEMPOOL_DUPLICATE')
  })

  test('another transaction for a turn that one waits for', () => {
    const pool = new Mempool()
    pool.add(tx(), 1, NOW_MS)
    expect(codeOf(() => pool.add(tx({ nonce: 1 }), 1, NOW_MS))).toBe('MEMPOOL_SEQ_TAKEN')
  })

  test('a turn that was used, one too far ahead, and one that has expired', () => {
    const pool = new Mempool()
    expect(codeOf(() => pool.add(tx({ seq: 4 }), 5, NOW_MS))).toBe('TX_SEQ_USED')
    expect(codeOf(() => pool.add(tx({ seq: 5 + 1_024 }), 5, NOW_MS))).toBe('MEMPOOL_SEQ_TOO_FAR')
    expect(codeOf(() => pool.add(tx({ seq: 5 + 1_023 }), 5, NOW_MS))).toBe('ok')
    expect(codeOf(() => pool.add(tx({ expiresMs: NOW_MS }), 1, NOW_MS))).toBe('TX_EXPIRED')
  })

  test('more than an eighth of its bytes from one institution, while others still find room', () => {
    const pool = new Mempool({ bytesMax: 80_000 })
    for (let seq = 1; seq <= 10; seq++) pool.add(tx({ lane: 0, seq, bytes: 1_000 }), 1, NOW_MS)
    expect(codeOf(() => pool.add(tx({ seq: 1, bytes: 1 }), 1, NOW_MS))).toBe('MEMPOOL_INSTITUTION_FULL')
    expect(codeOf(() => pool.add(tx({ lane: 0, seq: 11, bytes: 1 }), 1, NOW_MS))).toBe('MEMPOOL_INSTITUTION_FULL')
    expect(codeOf(() => pool.add(tx({ org: 'north', bytes: 1_000 }), 1, NOW_MS))).toBe('ok')
  })

  test('more than its bytes or its count in all', () => {
    const pool = new Mempool({ bytesMax: 8_000 })
    for (let org = 0; org < 8; org++) pool.add(tx({ org: `org-${org}`, lane: 0, bytes: 1_000 }), 1, NOW_MS)
    expect(codeOf(() => pool.add(tx({ org: 'late', bytes: 1 }), 1, NOW_MS))).toBe('MEMPOOL_FULL')
    const few = new Mempool({ countMax: 1 })
    few.add(tx(), 1, NOW_MS)
    expect(codeOf(() => few.add(tx({ seq: 2 }), 1, NOW_MS))).toBe('MEMPOOL_FULL')
  })
})

describe('what the mempool gives to a block', () => {
  test('urgent lanes first, and to the later lanes at most four fifths', () => {
    const pool = new Mempool()
    for (const lane of [3, 2, 1, 0] as const) {
      for (let seq = 1; seq <= 6; seq++) pool.add(tx({ lane, seq, bytes: 100 }), 1, NOW_MS)
    }
    expect(pool.take({ bytes: 700, count: 99 }).map(({ body }) => body.lane)).toEqual([0, 0, 0, 0, 0, 0, 1])
    expect(pool.take(ROOM)).toHaveLength(24)
    const storage = new Mempool()
    for (let seq = 1; seq <= 20; seq++) storage.add(tx({ lane: 3, seq, bytes: 100 }), 1, NOW_MS)
    expect(storage.take({ bytes: 1_000, count: 99 })).toHaveLength(8)
    expect(storage.take({ bytes: 10_000, count: 10 })).toHaveLength(8)
  })

  test('whether anything waits is answered right for every lane, also when only one is asked for', () => {
    for (const lane of [0, 1, 2, 3] as const) {
      const pool = new Mempool()
      pool.add(tx({ lane }), 1, NOW_MS)
      expect(pool.take({ bytes: ROOM.bytes, count: 1 })).toHaveLength(1)
      expect(pool.take({ bytes: ROOM.bytes, count: 0 })).toHaveLength(0)
    }
  })

  test('each account in the order of its turns, up to the first gap', () => {
    const pool = new Mempool()
    for (const seq of [7, 5, 8, 6, 10]) pool.add(tx({ seq }), 5, NOW_MS)
    expect(seqs(pool.take(ROOM))).toEqual([5, 6, 7, 8])
    const ahead = new Mempool()
    ahead.add(tx({ seq: 2 }), 1, NOW_MS)
    expect(ahead.take(ROOM)).toEqual([])
  })

  test('turns to institutions: one that floods does not shut another out', () => {
    const pool = new Mempool()
    for (let seq = 1; seq <= 400; seq++) pool.add(tx({ org: 'flood', account: 'f', seq, bytes: 16_384 }), 1, NOW_MS)
    pool.add(tx({ org: 'north', account: 'n', bytes: 16_384 }), 1, NOW_MS)
    pool.add(tx({ org: 'south', account: 's', bytes: 16_384 }), 1, NOW_MS)
    const taken = orgs(pool.take({ bytes: 10 * 16_384, count: 99 }))
    expect(taken).toContain('north')
    expect(taken).toContain('south')
    expect(taken).toHaveLength(10)
  })

  test('equal bytes to institutions whose transactions differ in size', () => {
    const pool = new Mempool()
    for (let seq = 1; seq <= 400; seq++) pool.add(tx({ org: 'small', account: 's', seq, bytes: 1_024 }), 1, NOW_MS)
    for (let seq = 1; seq <= 100; seq++) pool.add(tx({ org: 'large', account: 'l', seq, bytes: 32_768 }), 1, NOW_MS)
    const taken = pool.take({ bytes: 512 * 1_024, count: 2_000 })
    const bytesOf = (org: string): number =>
      taken.filter(({ body }) => body.org === org).reduce((sum, { bytes }) => sum + bytes.length, 0)
    expect(Math.abs(bytesOf('small') - bytesOf('large'))).toBeLessThanOrEqual(2 * 65_536)
  })

  test('turns to the accounts of an institution', () => {
    const pool = new Mempool()
    for (let seq = 1; seq <= 50; seq++) pool.add(tx({ account: 'device', seq }), 1, NOW_MS)
    pool.add(tx({ account: 'doctor' }), 1, NOW_MS)
    expect(pool.take({ bytes: 600, count: 2 }).map(({ body }) => body.account)).toContain(idOf('doctor'))
  })

  test('what follows those that stand in a block which is not final yet, and not these again', () => {
    const pool = new Mempool()
    const all = [1, 2, 3, 4].map((seq) => tx({ seq }))
    for (const one of all) pool.add(one, 1, NOW_MS)
    pool.add(tx({ account: 'ben', lane: 0 }), 1, NOW_MS)
    const skipped = new Set(all.slice(0, 2).map(({ id }) => id))
    expect(pool.take({ ...ROOM, skip: (id) => skipped.has(id) }).map(({ body }) => [body.lane, body.seq])).toEqual([
      [0, 1],
      [1, 3],
      [1, 4],
    ])
    // Nothing was taken out: if that block never becomes final, they are there for another.
    expect(seqs(pool.take(ROOM))).toEqual([1, 1, 2, 3, 4])
    expect(pool.take({ ...ROOM, skip: () => true })).toEqual([])
    // Room is for those that are given, not for those passed over.
    expect(
      seqs(pool.take({ bytes: 300, count: 1, skip: (id) => skipped.has(id) || pool.get(id)?.body.lane === 0 })),
    ).toEqual([3])
  })

  test('a fifth to lanes 0 and 1 that come late, however much of the others waits', () => {
    const pool = new Mempool()
    for (let org = 0; org < 8; org++) {
      for (let seq = 1; seq <= 30; seq++) pool.add(tx({ org: `org-${org}`, lane: 3, seq, bytes: 16_384 }), 1, NOW_MS)
    }
    const late = [1, 2, 3].flatMap((seq) => [tx({ lane: 0, seq, bytes: 16_384 }), tx({ lane: 1, seq, bytes: 16_384 })])
    for (const one of late) pool.add(one, 1, NOW_MS)
    const taken = pool.take({ bytes: 40 * 16_384, count: 2_000 })
    expect(taken.filter(({ body }) => body.lane < 2)).toHaveLength(6)
    expect(taken.filter(({ body }) => body.lane === 3)).toHaveLength(32)
    const few = pool.take({ bytes: 2 ** 30, count: 20 })
    expect([few.filter(({ body }) => body.lane < 2).length, few.length]).toEqual([6, 20])
  })

  test('never more than was asked for, nothing twice, and every taken one in its turn', () => {
    const spec = fc.record({
      org: fc.constantFrom('a', 'b', 'c'),
      account: fc.constantFrom('x', 'y', 'z'),
      lane: fc.constantFrom<Lane>(0, 1, 2, 3),
      seq: fc.integer({ min: 1, max: 8 }),
      bytes: fc.integer({ min: 100, max: 32_768 }),
    })
    fc.assert(
      fc.property(
        fc.array(spec, { maxLength: 60 }),
        fc.nat({ max: 200_000 }),
        fc.nat({ max: 30 }),
        (specs, bytes, count) => {
          const pool = new Mempool()
          for (const one of specs) codeOf(() => pool.add(tx(one), 1, NOW_MS))
          const taken = pool.take({ bytes, count })
          expect(taken.length).toBeLessThanOrEqual(count)
          expect(taken.reduce((sum, one) => sum + one.bytes.length, 0)).toBeLessThanOrEqual(bytes)
          expect(new Set(taken.map(({ id }) => id)).size).toBe(taken.length)
          const turns = new Map<string, number>()
          for (const { body } of taken) {
            const who = `${body.org} ${body.account} ${body.lane}`
            expect(body.seq).toBe((turns.get(who) ?? 0) + 1)
            turns.set(who, body.seq)
          }
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('a gap in the turns of an account', () => {
  test('is closed by the one that was missing, and all that waited behind it follow', () => {
    const pool = new Mempool()
    for (const seq of [2, 3]) pool.add(tx({ seq }), 1, NOW_MS)
    expect(pool.take(ROOM)).toEqual([])
    pool.add(tx({ seq: 1 }), 1, NOW_MS)
    expect(seqs(pool.take(ROOM))).toEqual([1, 2, 3])
  })

  test('is closed by a block that was made elsewhere', () => {
    const pool = new Mempool()
    for (const seq of [2, 3]) pool.add(tx({ seq }), 1, NOW_MS)
    expect(pool.committed([tx({ seq: 1, nonce: 9 })], NOW_MS)).toEqual([])
    expect(seqs(pool.take(ROOM))).toEqual([2, 3])
  })

  test('holds up neither another lane of the account nor another account', () => {
    const pool = new Mempool()
    pool.add(tx({ seq: 2 }), 1, NOW_MS)
    pool.add(tx({ seq: 1, lane: 2 }), 1, NOW_MS)
    pool.add(tx({ seq: 1, account: 'ben' }), 1, NOW_MS)
    expect(pool.take(ROOM)).toHaveLength(2)
  })
})

describe('an institution whose part is full', () => {
  const PART = 8 * 1024 * 1024
  const LARGE = 32 * 1024
  const flood = (pool: Mempool, from: number, spec: Spec = {}): number => {
    let taken = 0
    for (let seq = from; seq < from + 1_000; seq++) {
      if (codeOf(() => pool.add(tx({ account: 'flood', bytes: LARGE, ...spec, seq }), 1, NOW_MS)) === 'ok') taken++
    }
    return taken
  }

  test('of what stands behind a gap takes everything of its others that is in its turn', () => {
    const pool = new Mempool()
    expect(flood(pool, 2)).toBe(224)
    expect(flood(pool, 2, { account: 'other', bytes: 300 })).toBe(0)
    const left = pool.add(tx({ account: 'nurse', bytes: LARGE }), 1, NOW_MS)
    // The furthest from its turn first, and some more at once.
    expect(seqs(left.map((one) => one.tx))).toEqual([225, 224, 223, 222])
    expect(left[0]?.fault.code).toBe('MEMPOOL_INSTITUTION_FULL')
    for (let seq = 2; seq <= 224; seq++) pool.add(tx({ account: 'nurse', bytes: LARGE, seq }), 1, NOW_MS)
    expect(codeOf(() => pool.add(tx({ account: 'nurse', bytes: LARGE, seq: 225 }), 1, NOW_MS))).toBe(
      'MEMPOOL_INSTITUTION_FULL',
    )
    expect(pool.take({ bytes: PART, count: 999 })).toHaveLength(224)
    expect(pool.count).toBe(224)
  })

  test('of what is in its turn has a slice for lane 0, and none of it leaves', () => {
    const pool = new Mempool()
    expect(flood(pool, 1)).toBe(224)
    expect(codeOf(() => pool.add(tx({ account: 'nurse' }), 1, NOW_MS))).toBe('MEMPOOL_INSTITUTION_FULL')
    expect(flood(pool, 2, { lane: 0 })).toBe(32)
    // Urgent ones without a turn make room for one that has it; those of other lanes had theirs.
    expect(pool.add(tx({ account: 'doctor', lane: 0 }), 1, NOW_MS)).toHaveLength(1)
    expect(pool.take({ bytes: 2 * PART, count: 999 }).map(({ body }) => body.lane)).toEqual([
      0,
      ...Array<number>(224).fill(1),
    ])
  })

  test('of urgent ones without a turn takes what is in its turn in any lane', () => {
    const pool = new Mempool()
    expect(flood(pool, 2, { lane: 0 })).toBe(256)
    for (const lane of [0, 1, 2, 3] as const) {
      expect(codeOf(() => pool.add(tx({ account: 'nurse', lane, bytes: LARGE }), 1, NOW_MS))).toBe('ok')
    }
  })

  test('lets nothing leave where that would not be enough, nor for what has no turn itself', () => {
    const pool = new Mempool({ bytesMax: 80_000 })
    for (let seq = 1; seq <= 7; seq++) pool.add(tx({ seq, bytes: 1_000 }), 1, NOW_MS)
    pool.add(tx({ account: 'ben', seq: 2, bytes: 1_000 }), 1, NOW_MS)
    expect(codeOf(() => pool.add(tx({ account: 'nurse', bytes: 2_000 }), 1, NOW_MS))).toBe('MEMPOOL_INSTITUTION_FULL')
    expect(codeOf(() => pool.add(tx({ account: 'nurse', seq: 2, bytes: 1_000 }), 1, NOW_MS))).toBe(
      'MEMPOOL_INSTITUTION_FULL',
    )
    expect(pool.count).toBe(8)
    expect(pool.add(tx({ seq: 8, bytes: 1_000 }), 1, NOW_MS)).toHaveLength(1)
  })

  test('is no other’s loss: what stands behind a gap leaves of all where all of the room is used', () => {
    const pool = new Mempool()
    const orgs = Array.from({ length: 10 }, (_, index) => `org-${index}`)
    for (const org of orgs) for (const lane of [0, 1] as const) flood(pool, 2, { org, lane, account: org })
    expect(codeOf(() => pool.add(tx({ org: 'late', seq: 2 }), 1, NOW_MS))).toBe('MEMPOOL_FULL')
    expect(pool.add(tx({ org: 'late' }), 1, NOW_MS)[0]?.fault.code).toBe('MEMPOOL_FULL')
    expect(seqs(pool.take(ROOM))).toEqual([1])
  })

  test('keeps its turn when what has none leaves', () => {
    const pool = new Mempool({ bytesMax: 80_000 })
    pool.add(tx({ account: 'ada' }), 1, NOW_MS)
    pool.add(tx({ account: 'ada', seq: 9, bytes: 8_000 }), 1, NOW_MS)
    pool.add(tx({ org: 'north', account: 'n' }), 1, NOW_MS)
    expect(pool.add(tx({ account: 'ben', bytes: 1_000 }), 1, NOW_MS)).toHaveLength(1)
    expect(orgs(pool.take({ bytes: 300, count: 9 }))).toEqual(['city'])
  })

  test('counts what it has right, whatever comes and goes', () => {
    const spec = fc.record({
      org: fc.constantFrom('a', 'b'),
      account: fc.constantFrom('x', 'y', 'z'),
      lane: fc.constantFrom<Lane>(0, 1, 2),
      seq: fc.integer({ min: 1, max: 12 }),
      bytes: fc.integer({ min: 100, max: 900 }),
      what: fc.constantFrom('add', 'add', 'add', 'remove', 'commit'),
    })
    fc.assert(
      fc.property(fc.array(spec, { maxLength: 120 }), (specs) => {
        const pool = new Mempool({ bytesMax: 32_000 })
        const held = new Map<string, SignedTx>()
        const nexts = new Map<string, number>()
        for (const { what, ...one } of specs) {
          const given = tx(one)
          const who = `${one.org} ${one.account} ${one.lane}`
          const next = nexts.get(who) ?? 1
          if (what === 'remove') {
            pool.remove(given.id)
            held.delete(given.id)
          } else if (what === 'commit' && one.seq === next) {
            nexts.set(who, next + 1)
            for (const { tx: gone } of pool.committed([given], NOW_MS)) held.delete(gone.id)
            held.delete(given.id)
          } else if (what === 'add') {
            codeOf(() => {
              for (const { tx: gone } of pool.add(given, next, NOW_MS)) held.delete(gone.id)
              held.set(given.id, given)
            })
          }
        }
        expect(pool.count).toBe(held.size)
        expect(pool.bytes).toBe([...held.values()].reduce((sum, { bytes }) => sum + bytes.length, 0))
        for (const org of ['a', 'b']) {
          const own = [...held.values()].filter(({ body }) => body.org === org)
          const sum = (of: readonly SignedTx[]): number => of.reduce((all, { bytes }) => all + bytes.length, 0)
          expect(sum(own)).toBeLessThanOrEqual(4_000)
          expect(sum(own.filter(({ body }) => body.lane !== 0))).toBeLessThanOrEqual(3_500)
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('what leaves the mempool', () => {
  test('what a final block holds, with those whose turn is used or whose time is over, each with its reason', () => {
    const pool = new Mempool()
    const first = tx({ seq: 1 })
    const rival = tx({ seq: 2, nonce: 1 })
    const soon = tx({ account: 'ben', expiresMs: NOW_MS + 10 })
    for (const one of [first, tx({ seq: 2 }), soon, tx({ seq: 3 })]) pool.add(one, 1, NOW_MS)
    const evicted = pool.committed([first, rival], NOW_MS + 10)
    expect(evicted.map(({ fault }) => fault.code).sort()).toEqual(['TX_EXPIRED', 'TX_SEQ_USED'])
    expect(seqs(pool.take(ROOM))).toEqual([3])
  })

  test('leaves no bytes behind', () => {
    const pool = new Mempool()
    const all = [1, 2, 3].map((seq) => tx({ seq }))
    for (const one of all) pool.add(one, 1, NOW_MS)
    expect(pool.bytes).toBe(900)
    pool.remove(all[1]?.id ?? txIdOf(new Uint8Array(32)))
    pool.committed([all[0] ?? tx()], NOW_MS)
    pool.expire(NOW_MS + 60_000)
    expect([pool.bytes, pool.count]).toEqual([0, 0])
    pool.add(all[1] ?? tx(), 2, NOW_MS)
    expect(pool.has(all[1]?.id ?? txIdOf(new Uint8Array(32)))).toBe(true)
  })
})

describe('who had a turn goes to the end', () => {
  const SMALL = { bytes: 1_048_576, count: 8 }

  /** Blocks of `SMALL`, while everyone goes on submitting. @returns how many of each name were taken. */
  function takenIn(blocks: number, specs: readonly Spec[], nameOf: (one: SignedTx) => string): Map<string, number> {
    const pool = new Mempool()
    const next = specs.map(() => 1)
    const taken = new Map<string, number>()
    const seqUsed = new Map<string, number>()
    for (let block = 0; block < blocks; block++) {
      for (const [index, spec] of specs.entries()) {
        for (let waiting = 0; waiting < 8; waiting++) {
          const { account = '', org = 'city' } = spec
          const used = seqUsed.get(`${org} ${idOf(account)}`) ?? 0
          pool.add(tx({ ...spec, seq: next[index] ?? 1 }), used + 1, NOW_MS)
          next[index] = (next[index] ?? 1) + 1
        }
      }
      const txs = pool.take(SMALL)
      for (const one of txs) {
        taken.set(nameOf(one), (taken.get(nameOf(one)) ?? 0) + 1)
        seqUsed.set(`${one.body.org} ${one.body.account}`, one.body.seq)
      }
      pool.committed(txs, NOW_MS)
    }
    return taken
  }

  test('blocks that hold a part of what waits leave no institution out', () => {
    const names = ['city', 'north', 'south', 'west']
    const specs = names.map((org) => ({ org, account: org }))
    const taken = takenIn(40, specs, ({ body }) => body.org)
    for (const org of names) expect(taken.get(org)).toBe(80)
  })

  test('blocks that hold a part of what waits leave no account out', () => {
    const names = Array.from({ length: 20 }, (_, index) => `person ${index}`)
    const taken = takenIn(
      40,
      names.map((account) => ({ account })),
      ({ body }) => body.account,
    )
    for (const account of names) expect(taken.get(idOf(account))).toBe(16)
  })
})
