/**
 * Method: four daemons, each in a network namespace of its own; the switch between them is cut while clients go on submitting. Then it
 * is whole again. An independent checker reads everything at the end.
 */
import { setTimeout as waitMs } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { DaemonNetwork } from '../../scripts/daemon-network.ts'
import { LedgerClients } from './ledger-clients.ts'
import { checkNetwork } from './ledger-evidence.ts'
import { Namespaces, whyNoNamespaces } from './namespaces.ts'

const CUT_MS = 15_000
const HEALED_MS = 10_000
const GO_ON = { timeout: 40_000, interval: 50 }
const CAUGHT_UP = { timeout: 60_000, interval: 100 }

const reason = await whyNoNamespaces()
if (reason !== undefined) console.log(`Partitions are not tested. ${reason}`)

const heightsOf = (network: DaemonNetwork): Promise<number[]> => Promise.all(network.peers.map((peer) => peer.height()))

test.skipIf(reason !== undefined)(
  'cut into two and two, nothing becomes final in either half; whole again, it goes on within 10 s',
  async () => {
    await using spaces = await Namespaces.make(4)
    await using network = await DaemonNetwork.start({ count: 4, validators: 4, place: spaces.place })
    await using clients = await LedgerClients.start(network, 4)
    await vi.waitFor(() => expect(clients.acknowledged.length).toBeGreaterThan(10), GO_ON)
    await spaces.cut([2, 3])
    // What was on its way may still arrive.
    await waitMs(2_000)
    const before = await heightsOf(network)
    await waitMs(CUT_MS)
    expect(await heightsOf(network)).toEqual(before)
    const acknowledged = clients.acknowledged.length
    await spaces.heal()
    const healedMs = performance.now()
    await vi.waitFor(() => expect(clients.acknowledged.length).toBeGreaterThan(acknowledged), GO_ON)
    const tookMs = performance.now() - healedMs
    console.log(`2+2: final again ${(tookMs / 1_000).toFixed(1)} s after the line was whole`)
    expect(tookMs).toBeLessThan(HEALED_MS)
    await clients.stop()
    await checkNetwork(network, { acknowledged: clients.acknowledged, voteLogs: [] })
  },
)

test.skipIf(reason !== undefined)(
  'cut into three and one, the three go on; whole again, the one catches up by itself',
  async () => {
    await using spaces = await Namespaces.make(4)
    await using network = await DaemonNetwork.start({ count: 4, validators: 4, place: spaces.place })
    await using clients = await LedgerClients.start(network, 4)
    await vi.waitFor(() => expect(clients.acknowledged.length).toBeGreaterThan(10), GO_ON)
    await spaces.cut([3])
    await waitMs(2_000)
    const [alone = 0] = (await heightsOf(network)).slice(3)
    const before = clients.acknowledged.length
    await vi.waitFor(() => expect(clients.acknowledged.length).toBeGreaterThan(before + 20), GO_ON)
    await waitMs(CUT_MS)
    const others = Math.max(...(await heightsOf(network)).slice(0, 3))
    expect(others).toBeGreaterThan(alone)
    expect(await network.peer(3).height()).toBe(alone)
    await spaces.heal()
    const healedMs = performance.now()
    await vi.waitFor(async () => expect(await network.peer(3).height()).toBeGreaterThanOrEqual(others), CAUGHT_UP)
    console.log(`3+1: caught up ${((performance.now() - healedMs) / 1_000).toFixed(1)} s after the line was whole`)
    await clients.stop()
    await checkNetwork(network, { acknowledged: clients.acknowledged, voteLogs: [] })
  },
)
