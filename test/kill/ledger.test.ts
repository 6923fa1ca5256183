/**
 * Method: real daemons, clients that submit all the time, and kill -9 or SIGSTOP at random. While no more than f are struck the
 * others must go on; now and then more are, and then only nothing wrong may happen. At the end an independent checker reads every
 * chain, every vote log that was seen, and what the clients were told.
 *
 * A failure prints its seed; KILL_SEED=<n> strikes in the same order again (what the daemons do meanwhile is not the same).
 * KILL_SECONDS and KILL_DAEMONS make it longer and larger.
 */
import { setTimeout as waitMs } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { DaemonNetwork, type DaemonPeer } from '../../scripts/daemon-network.ts'
import { seededRandom } from '../unit/store/sim-disk.ts'
import { LedgerClients } from './ledger-clients.ts'
import { checkNetwork, copyVoteLog } from './ledger-evidence.ts'
import type { ReadVoteLog } from './vote-log-reader.ts'

const SECONDS = Number(process.env['KILL_SECONDS'] ?? 40)
const DAEMONS = Number(process.env['KILL_DAEMONS'] ?? 4)
const SEED = Number(process.env['KILL_SEED'] ?? Date.now() % 1_000_000)
const CLIENTS = 4
/** Until the others must have made something final: a leader that is gone, on a busy machine. */
const GO_ON = { timeout: 30_000, interval: 50 }
/** Part of the strikes that hit more than f. */
const TOO_MANY_RATIO = 0.25
const AWAY_MS_MAX = 3_000
const LIMIT_MS = SECONDS * 1_000 + 400_000

interface Strikes {
  readonly killed: number
  readonly stopped: number
  readonly tooMany: number
  readonly voteLogs: readonly ReadVoteLog[]
}

test(
  `${DAEMONS} daemons through kill -9 and SIGSTOP: one chain, nothing acknowledged lost, no double vote (seed ${SEED}, ${SECONDS} s)`,
  async () => {
    await using network = await DaemonNetwork.start({ count: DAEMONS, validators: DAEMONS })
    await using clients = await LedgerClients.start(network, CLIENTS)
    const strikes = await strikeFor(SECONDS * 1_000, network, clients)
    await clients.stop()
    const height = await checkNetwork(network, { acknowledged: clients.acknowledged, voteLogs: strikes.voteLogs })
    console.log(
      `seed ${SEED}: ${strikes.killed} killed, ${strikes.stopped} stopped, ${strikes.tooMany} times more than f; ` +
        `${clients.acknowledged.length} acknowledged, height ${height}, ${strikes.voteLogs.length} vote logs`,
    )
    expect(strikes.killed + strikes.stopped).toBeGreaterThan(0)
  },
  LIMIT_MS,
)

async function strikeFor(ms: number, network: DaemonNetwork, clients: LedgerClients): Promise<Strikes> {
  const random = seededRandom(SEED)
  const faulty = Math.floor((DAEMONS - 1) / 3)
  const untilMs = performance.now() + ms
  const voteLogs: ReadVoteLog[] = []
  const counts = { killed: 0, stopped: 0, tooMany: 0 }
  while (performance.now() < untilMs) {
    const isTooMany = random() < TOO_MANY_RATIO
    const struck = pick(network.peers, isTooMany ? faulty + 1 : faulty, random)
    const isKill = random() < 0.5
    const before = clients.acknowledged.length
    const back = await Promise.all(struck.map((peer) => (isKill ? kill(peer, voteLogs) : stop(peer))))
    counts[isKill ? 'killed' : 'stopped'] += struck.length
    if (isTooMany) counts.tooMany++
    else {
      // Two more per client than could have been under way.
      await vi.waitFor(() => {
        expect(clients.acknowledged.length, `seed ${SEED}: the others stand still`).toBeGreaterThan(
          before + 2 * CLIENTS,
        )
      }, GO_ON)
    }
    await waitMs(random() * AWAY_MS_MAX)
    await Promise.all(back.map((comeBack) => comeBack()))
    const after = clients.acknowledged.length
    await vi.waitFor(() => {
      expect(clients.acknowledged.length, `seed ${SEED}: all are back, and nothing becomes final`).toBeGreaterThan(
        after,
      )
    }, GO_ON)
  }
  return { ...counts, voteLogs }
}

/** @returns how it is started again. */
async function kill(peer: DaemonPeer, voteLogs: ReadVoteLog[]): Promise<() => Promise<void>> {
  peer.signal('SIGKILL')
  await peer.daemon.ended
  voteLogs.push(await copyVoteLog(peer))
  return async () => peer.restart()
}

async function stop(peer: DaemonPeer): Promise<() => Promise<void>> {
  peer.signal('SIGSTOP')
  return async () => peer.signal('SIGCONT')
}

function pick(peers: readonly DaemonPeer[], count: number, random: () => number): DaemonPeer[] {
  const left = [...peers]
  return Array.from({ length: count }, () => left.splice(Math.floor(random() * left.length), 1)).flat()
}
