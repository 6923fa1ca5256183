// Real daemons with quick audits: an epoch is a few seconds of block time.
import { randomFillSync } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { put } from '../../../src/cli/put.ts'
import { SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { draftAuditVerdicts, getAuditRound } from '../../../src/domain/audit-rounds.ts'
import { getStanding } from '../../../src/domain/audit-standing.ts'
import { getPeerSet } from '../../../src/domain/storage-offers.ts'
import { getExtent, getStorageNumber, listExtents } from '../../../src/domain/storage-state.ts'
import { getLayout } from '../../../src/domain/storage-table.ts'
import type { PeerIdText } from '../../../src/ledger/fields.ts'
import { InstitutionAccount } from '../../../src/peer/institution-account.ts'
import { safetyOfAll } from '../../../src/peer/safety.ts'
import { type TestPeer, TestNetwork, newAccount } from './network.ts'

const WAIT = { timeout: 180_000, interval: 100 }
const TEST_MS = 400_000
const EPOCH_MS = 10_000
const STORAGE = { auditMs: EPOCH_MS, layoutMs: 0 }

/** Four peers that hold an object, each a column of it. */
async function storing(): Promise<TestNetwork> {
  const network = await TestNetwork.start({ peers: 4, storage: STORAGE, idleIntervalMs: 500 })
  const at = network.peer(0)
  await vi.waitFor(async () => {
    for (const { peer } of network.peers) expect((await getLayout(peer.chain.reader))?.code.data).toBe(2)
  }, WAIT)
  const file = join(network.folder, 'input.bin')
  await writeFile(file, randomFillSync(new Uint8Array(9 * SEGMENT_BYTES)))
  const account = await newAccount(at, 'storer')
  const { manifest } = await put(at.client, account, file, {
    home: at.home,
    profile: 'aes-256-gcm',
    restart: true,
    critical: false,
    signal: AbortSignal.timeout(TEST_MS),
    onStart: () => undefined,
    onSent: () => undefined,
  })
  await vi.waitFor(async () => {
    expect((await getExtent(at.peer.chain.reader, manifest, 0))?.holders).not.toContain(undefined)
  }, WAIT)
  return network
}

const numberOf = async ({ peer }: TestPeer): Promise<number> =>
  (await getStorageNumber(peer.chain.reader, peer.identity.peerId as PeerIdText)) ?? -1

test(
  'honest peers prove what they hold; one that lost its blocks is found out, fails, and the next table is made without it',
  async () => {
    await using network = await storing()
    const { reader } = network.peer(0).peer.chain
    for (const one of network.peers) {
      const number = await numberOf(one)
      await vi.waitFor(async () => expect((await getStanding(reader, number)).provenMs).toBeGreaterThan(0), WAIT)
    }
    const safety = await safetyOfAll(reader)
    expect(safety).toMatchObject({ objects: 1, institutions: 4, survives: 2, away: [] })
    expect(safety.provenMs).toBeGreaterThan(0)

    const liar = network.peer(3)
    const number = await numberOf(liar)
    // Its disk gives nothing any more, though its ledger entry says that it holds a column.
    liar.peer.store.read = async () => undefined
    await vi.waitFor(async () => expect((await getStanding(reader, number)).failedMs).toBeGreaterThan(0), WAIT)
    // With the next table its columns are others', and it may offer its room again.
    const hurt = await safetyOfAll(reader)
    expect(hurt.away.map(({ institution, why }) => `${institution} ${why}`)).toEqual(['h3 failed'])
    expect(hurt.survives).toBe(1)
    expect((await getPeerSet(reader)).active).not.toContain(number)
    await vi.waitFor(async () => {
      expect((await getLayout(reader))?.institutions).toBe(3)
    }, WAIT)
  },
  TEST_MS,
)

test(
  'a committee whose majority lies accuses an honest peer, which shows the ledger the leaf and stays',
  async () => {
    await using network = await storing()
    const at = network.peer(0)
    const { chain } = at.peer
    const honest = await numberOf(network.peer(3))
    const accusers = [1, 2].map((index) => {
      const { peer } = network.peer(index)
      const { identity, institution, ledger: node } = peer
      const clock = { nowMs: () => Date.now() }
      return new InstitutionAccount({ chain: peer.chain, node, account: identity.account, institution, clock })
    })
    let accusedAt = 0
    await vi.waitFor(async () => {
      const round = await getAuditRound(chain.reader)
      if (round === undefined) throw new Error('no round yet')
      for await (const ref of listExtents(chain.reader)) {
        const extent = await getExtent(chain.reader, ref.manifest, ref.index)
        const column = extent?.holders.indexOf(honest) ?? -1
        if (column < 0) continue
        const leaf = { manifest: ref.manifest, index: ref.index, stripe: 0, column, leaf: 1 }
        const verdicts = [{ number: honest, result: 'false' as const, leaf }]
        const draft = draftAuditVerdicts({ epoch: round.epoch, verdicts })
        const signal = AbortSignal.timeout(30_000)
        await Promise.allSettled(accusers.map((account) => account.submit(draft, signal)))
      }
      accusedAt ||= (await getStanding(chain.reader, honest)).accusedMs
      expect(accusedAt).toBeGreaterThan(0)
    }, WAIT)
    await vi.waitFor(async () => {
      const standing = await getStanding(chain.reader, honest)
      expect(standing).toMatchObject({ accusedMs: 0, leaves: [], failedMs: 0 })
    }, WAIT)
    const round = (await getAuditRound(chain.reader))?.epoch ?? 0
    await vi.waitFor(async () => expect((await getAuditRound(chain.reader))?.epoch).toBeGreaterThan(round + 1), WAIT)
    expect((await getPeerSet(chain.reader)).active).toContain(honest)
    expect((await getStanding(chain.reader, honest)).failedMs).toBe(0)
  },
  TEST_MS,
)
