import { expect, test, vi } from 'vitest'
import { encodeMessage } from '../../../src/consensus/messages.ts'
import { Replica } from '../../../src/consensus/replica.ts'
import { SIMPLEX_DEFAULTS } from '../../../src/consensus/simplex-state.ts'
import { signVote } from '../../../src/consensus/votes.ts'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { verifyMany } from '../../../src/crypto/signatures.ts'
import { draftRecordAdd } from '../../../src/domain/records.ts'
import { Mempool } from '../../../src/ledger/mempool.ts'
import { leaderOf } from '../../../src/ledger/validators.ts'
import { TestChain, makeGenesis, signerOf, silentLog, staff } from '../ledger/network.ts'
import { manifestOf, wrapped } from '../ledger/samples.ts'

const NAMES = ['north', 'south', 'east', 'west']
const GENESIS = makeGenesis(Object.fromEntries(NAMES.map((name) => [name, 'hospital' as const])), NAMES)
const PROPOSALS_MAX = 5

/** A chain whose validator leads view 2, with the block of view 1 that its leader proposes. */
async function leaderOfSecondView() {
  const test = await TestChain.open(GENESIS)
  const other = await TestChain.open(GENESIS)
  const set = test.chain.validators(0)
  if (set === undefined) throw new Error('a chain knows its first validators')
  const nameOf = (view: number): string => set.validators[leaderOf(set, view)]?.institution ?? ''
  const me = nameOf(2)
  const author = staff('north')
  const record = (name: string) =>
    draftRecordAdd({ patient: author.id, category: 'imaging', manifest: manifestOf(name), key: wrapped(name) })
  const taken = await test.tx(author, record('one'), { seq: 1 })
  const late = await test.tx(author, record('another'), { seq: 1 })
  const proposal = await other.propose([taken], { proposer: parseInstitutionId(nameOf(1)) })
  const ballot = { epoch: 0, view: 1, kind: 'notarize', block: proposal.id } as const
  const votes = await Promise.all(
    NAMES.filter((name) => name !== me).map((name) => signVote(signerOf(`${name} consensus`), test.id, set, ballot)),
  )
  return { test, set, me, leader: nameOf(1), late, proposal, votes }
}

// Found by the simulation (seed 262): it built, dropped and built again without end.
test('a leader whose transactions have no place on its parent tries them once, not for ever', async () => {
  const { late, leader, me, proposal, set, test: chainTest, votes } = await leaderOfSecondView()
  const { chain } = chainTest
  const mempool = new Mempool()
  mempool.add(late, 1, chainTest.nowMs)
  const propose = chain.propose.bind(chain)
  let proposals = 0
  vi.spyOn(chain, 'propose').mockImplementation(async (request) => {
    if (++proposals > PROPOSALS_MAX) throw new Error('proposes again and again')
    return propose(request)
  })
  let nowMs = 1_000
  let wake = (): void => undefined
  const failures: unknown[] = []
  const replica = new Replica(
    {
      chain,
      mempool,
      signer: signerOf(`${me} consensus`),
      voteLog: { records: [], bytes: 0, append: async () => undefined, replace: async () => undefined },
      clock: { nowMs: () => proposal.fields.timeMs + nowMs - 1_000 },
      monotonicMs: () => nowMs,
      setTimer: (_atMs, then) => {
        wake = then
      },
      send: () => undefined,
      verify: verifyMany,
      catchUp: () => undefined,
      onTransactions: () => undefined,
      onEvidence: () => undefined,
      onFailure: (error) => failures.push(error),
      log: silentLog,
    },
    { ...SIMPLEX_DEFAULTS, institution: parseInstitutionId(me) },
  )
  await replica.start()
  for (const vote of votes) {
    const from = set.validators[vote.signer]?.institution ?? parseInstitutionId(leader)
    const { body, header } = proposal
    const isLeaders = from === leader
    replica.receive(
      from,
      encodeMessage(isLeaders ? { type: 'proposal', header, body, again: null, vote } : { type: 'vote', vote }),
    )
  }
  await vi.waitFor(() => expect(replica.state?.view).toBe(2))
  nowMs += SIMPLEX_DEFAULTS.blockIntervalMs
  wake()
  await vi.waitFor(() => expect(proposals).toBeGreaterThan(0))
  await vi.waitFor(() => expect(replica.state?.views.get(2)?.own.proposed).toBe(false))
  expect(mempool.has(late.id)).toBe(true)
  await replica.stop()
  expect(proposals).toBe(1)
  expect(failures).toEqual([])
})
