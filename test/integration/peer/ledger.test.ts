/** Four validators in one process: real TCP, real disks, the production daemon. */
import { expect, test, vi } from 'vitest'
import { submitTx } from '../../../src/cli/submit.ts'
import { wrapKey } from '../../../src/crypto/envelope.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { draftRecordAdd, recordKeyContext } from '../../../src/domain/records.ts'
import { TX_ANSWER_BYTES_MAX, TX_LARGE_BYTES_MAX } from '../../../src/core/limits.ts'
import { peerIdOfSeed } from '../../../src/p2p/peer-ids.ts'
import { TX_PROTOCOL } from '../../../src/p2p/protocols.ts'
import { handleRequests } from '../../../src/p2p/request.ts'
import { encodeTxAnswer } from '../../../src/peer/ledger-messages.ts'
import { seedOf, startPeer } from '../p2p/test-peer.ts'
import { TestNetwork, newAccount } from './network.ts'

const WAIT = { timeout: 20_000, interval: 50 }

test('four validators make what one of them was given final, with the same block at each', async () => {
  await using network = await TestNetwork.start({ peers: 5, validators: 4 })
  await newAccount(network.peer(0), 'first')
  await newAccount(network.peer(4), 'second')
  const heights = network.peers.map(({ peer }) => peer.chain.head.height)
  const height = Math.max(...heights)
  await vi.waitFor(() => expect(network.peers.every(({ peer }) => peer.chain.head.height >= height)).toBe(true), WAIT)
  const roots = await Promise.all(
    network.peers.map(async ({ peer }) => (await peer.chain.reader.headerAt(height))?.id.toString()),
  )
  expect(new Set(roots).size).toBe(1)
})

test('what a peer that does not vote was given is kept until it is final, and given to another validator when the first one died', async () => {
  // Offers of room would wait beside it.
  const silent = { offer: false }
  const store = { 0: silent, 1: silent, 2: silent, 3: silent, 4: silent }
  await using network = await TestNetwork.start({ peers: 5, validators: 4, store })
  const { peer } = network.peer(4)
  await newAccount(network.peer(4), 'before')
  await vi.waitFor(() => expect(peer.mempool.count).toBe(0), WAIT)
  // Three of four have no say now: the fourth takes it, and dies with it.
  for (const index of [1, 2, 3]) await network.peer(index).close()
  await vi.waitFor(() => expect(peer.host.getPeers()).toHaveLength(1), WAIT)
  const waiting = newAccount(network.peer(4), 'waits')
  waiting.catch(() => undefined)
  await vi.waitFor(() => expect(peer.mempool.count).toBe(1), WAIT)
  await network.peer(0).close()
  for (const index of [1, 2, 3]) await network.startPeer(index)
  await waiting
  await vi.waitFor(() => expect(peer.mempool.count).toBe(0), WAIT)
}, 120_000)

test('what a validator took and did nothing with is given to another one', async () => {
  const silent = { offer: false }
  const store = { 0: silent, 1: silent, 2: silent, 3: silent, 4: silent }
  const extraPeers = [await peerIdOfSeed(seedOf('idle'))]
  await using network = await TestNetwork.start({ peers: 5, validators: 4, started: 4, store, extraPeers })
  const { genesis } = network.peer(0).peer.chain
  await using idle = await startPeer('idle', new Set(genesis.institutions.flatMap((one) => one.peers.map(String))))
  let taken = 0
  const bounds = { requestBytesMax: TX_LARGE_BYTES_MAX, answerBytesMax: TX_ANSWER_BYTES_MAX }
  await handleRequests({ host: idle.host, log: idle.log }, TX_PROTOCOL, bounds, () => {
    taken++
    return encodeTxAnswer({})
  })
  const { peer } = await network.startPeer(4, [idle.address])
  await vi.waitFor(() => expect(peer.host.getPeers()).toHaveLength(1), WAIT)
  const waiting = newAccount(network.peer(4), 'waits')
  waiting.catch(() => undefined)
  await vi.waitFor(() => expect(taken).toBe(1), WAIT)
  for (const index of [0, 1, 2, 3]) await peer.host.dial(network.peer(index).peer.host.getMultiaddrs())
  await waiting
  await vi.waitFor(() => expect(peer.mempool.count).toBe(0), WAIT)
}, 120_000)

test('programs that sign for one account at once each get a turn of their own', async () => {
  await using network = await TestNetwork.start({ peers: 4, validators: 4 })
  const { client } = network.peer(0)
  const patient = await newAccount(network.peer(0), 'busy')
  const add = async (number: number): Promise<string> => {
    const manifest = cborCid(new Uint8Array([number]))
    const context = recordKeyContext({ patient: patient.id, manifest })
    const key = await wrapKey(patient.encryption, new Uint8Array(32), context)
    const draft = draftRecordAdd({ patient: patient.id, category: 'imaging', manifest, key })
    return (await submitTx(client, patient, draft, { signal: AbortSignal.timeout(60_000) })).tx
  }
  const added = await Promise.all([1, 2, 3, 4].map(add))
  expect(new Set(added).size).toBe(4)
})

test('with one of four validators stopped, the others go on; started again, it comes back by itself', async () => {
  await using network = await TestNetwork.start({ peers: 4, validators: 4 })
  await newAccount(network.peer(0), 'before')
  await network.peer(3).close()
  for (const name of ['a', 'b', 'c', 'd', 'e']) await newAccount(network.peer(0), name)
  const { height } = network.peer(0).peer.chain.head
  const back = await network.startPeer(3)
  await vi.waitFor(() => expect(back.peer.chain.head.height).toBeGreaterThanOrEqual(height), WAIT)
  await newAccount(back, 'after')
  expect(back.peer.consensus?.()?.validates).toBe(true)
})

test('with two of four stopped nothing becomes final, and the status names them; with one back it does', async () => {
  await using network = await TestNetwork.start({ peers: 4, validators: 4 })
  await newAccount(network.peer(0), 'before')
  await network.peer(2).close()
  await network.peer(3).close()
  const waiting = newAccount(network.peer(0), 'waits')
  await vi.waitFor(() => {
    const status = network.peer(0).peer.consensus?.()
    expect(status?.stalledSinceMs).not.toBeNull()
    expect(status?.missing.map((one) => one.institution).sort()).toEqual(['h2', 'h3'])
  }, WAIT)
  await network.startPeer(2)
  await waiting
  await vi.waitFor(() => expect(network.peer(0).peer.consensus?.()?.stalledSinceMs).toBeNull(), WAIT)
})
