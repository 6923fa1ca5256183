import { expect, test, vi } from 'vitest'
import { CodedError } from '../../../src/core/coded-error.ts'
import { accountIdOf, parseInstitutionId, txIdOf } from '../../../src/core/ids.ts'
import type { Log } from '../../../src/core/ports.ts'
import { cborCid, sha256 } from '../../../src/crypto/hash.ts'
import { leafHash } from '../../../src/crypto/merkle.ts'
import { Mempool } from '../../../src/ledger/mempool.ts'
import type { SignedTx } from '../../../src/ledger/transaction.ts'
import { HandOver } from '../../../src/peer/hand-over.ts'

const NOW_MS = 1_000_000
const quiet: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

/** Neither the pool nor who hands over looks at a signature. */
function tx(seq: number): SignedTx {
  const hash = sha256(new Uint8Array([seq]))
  const body = {
    version: 1 as const,
    chain: cborCid(new Uint8Array(1)),
    org: parseInstitutionId('city'),
    account: accountIdOf(new Uint8Array(32)),
    lane: 1 as const,
    seq,
    expiresMs: NOW_MS + 60_000,
    type: 'record.add',
    payload: null,
  }
  const bytes = new Uint8Array([seq])
  return { id: txIdOf(hash), hash, body, bodyBytes: new Uint8Array(0), sigs: [], bytes, leaf: leafHash(bytes) }
}

function poolOf(...seqs: readonly number[]): Mempool {
  const pool = new Mempool()
  for (const seq of seqs) pool.add(tx(seq), 1, NOW_MS)
  return pool
}

/** @returns what was given to validators, in order; `refuse` says with which code one is not taken. */
function start(
  mempool: Mempool,
  options: { readonly votes?: () => boolean; readonly refuse?: (seq: number) => string | undefined } = {},
): { readonly given: number[]; readonly handOver: HandOver } {
  const given: number[] = []
  const forward = async ([seq = 0]: Uint8Array): Promise<void> => {
    const code = options.refuse?.(seq)
    if (code !== undefined) throw new CodedError({ code })
    given.push(seq)
  }
  const handOver = new HandOver({ mempool, votes: options.votes ?? (() => false), forward, log: quiet })
  return { given, handOver }
}

test('a peer that does not vote gives all that waits to validators, in turn, and keeps it until it is final', async () => {
  const pool = poolOf(1, 2, 3)
  const { given, handOver } = start(pool)
  handOver.now()
  handOver.now()
  await vi.waitFor(() => expect(given).toEqual([1, 2, 3]))
  await vi.waitFor(() => {
    handOver.now()
    expect(given).toEqual([1, 2, 3, 1, 2, 3])
  })
  expect(pool.count).toBe(3)
})

test('each round begins with another validator', async () => {
  const rounds: number[] = []
  const forward = async (_bytes: Uint8Array, round: number): Promise<void> => {
    rounds.push(round)
  }
  const handOver = new HandOver({ mempool: poolOf(1, 2), votes: () => false, forward, log: quiet })
  handOver.now()
  await vi.waitFor(() => {
    handOver.now()
    expect(rounds).toEqual([1, 1, 2, 2])
  })
})

test('a peer that votes keeps them for a block, also where it begins to vote in the middle', async () => {
  const voting = start(poolOf(1), { votes: () => true })
  voting.handOver.now()
  await voting.handOver.stop()
  expect(voting.given).toEqual([])
  let votes = false
  const begins = start(poolOf(1, 2), {
    votes: () => votes,
    refuse: (seq) => {
      votes = seq === 1
      return undefined
    },
  })
  begins.handOver.now()
  await vi.waitFor(() => expect(begins.given).toEqual([1]))
  await begins.handOver.stop()
  expect(begins.given).toEqual([1])
})

test('one that is refused does not hold up the others; where no validator answers, the next round tries again', async () => {
  const refused = start(poolOf(1, 2), { refuse: (seq) => (seq === 1 ? 'MEMPOOL_FULL' : undefined) })
  refused.handOver.now()
  await vi.waitFor(() => expect(refused.given).toEqual([2]))
  let isAway = true
  let tries = 0
  const away = start(poolOf(1, 2), {
    refuse: () => {
      tries++
      return isAway ? 'LEDGER_NO_VALIDATOR' : undefined
    },
  })
  away.handOver.now()
  await vi.waitFor(() => expect(tries).toBe(1))
  isAway = false
  await vi.waitFor(() => {
    away.handOver.now()
    expect(away.given).toEqual([1, 2])
  })
})
