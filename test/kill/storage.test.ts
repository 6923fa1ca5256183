/**
 * Method: real daemons that store, let go, erase and collect all the time, and kill -9 of as many as the code survives at random
 * moments of that, round after round. At the end everything that was acknowledged and not let go is read back without its storer and one
 * more, the ledger has forgotten what was released, and nobody has what was erased.
 *
 * A failure prints its seed; KILL_SEED=<n> kills in the same order again (what the daemons do meanwhile is not the same). KILL_ROUNDS
 * sets the number of rounds.
 */
import { createHash, randomFillSync } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as waitMs } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { DaemonNetwork, type DaemonPeer } from '../../scripts/daemon-network.ts'
import { type Link, cliJson, runCli } from '../../scripts/daemon-process.ts'
import { tableOf } from '../../scripts/placed-reads.ts'
import type { KeepingAnswer } from '../../src/gateway/storage-routes.ts'
import type { PeerStatus } from '../../src/peer/peer.ts'
import { seededRandom } from '../unit/store/sim-disk.ts'

const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 10)
const SEED = Number(process.env['KILL_SEED'] ?? Date.now() % 1_000_000)
const MIB = 1024 * 1024
const DAEMONS = 5
const PARITY = 2
const BYTES_MAX = 6 * MIB
/** From nothing under way to the middle of a placement, and a little beyond. */
const LIFE_MS_MAX = 2_500
const AWAY_MS_MAX = 1_500
/** Block time after which what nobody keeps is collected: rounds come every eighth of it. */
const ORPHAN_MS = 8_000
const WAIT = { timeout: 240_000, interval: 500 }
const TEST_MS = 600_000 + ROUNDS * 30_000

interface Stored {
  readonly object: string
  readonly hash: string
  /** Who put it. */
  readonly at: DaemonPeer
  state: 'kept' | 'released' | 'erased'
}

const isForgotten = (error: unknown): boolean => String(error).includes('OBJECT_NOT_ON_LEDGER')
const account = ({ id }: DaemonPeer): string => `storer-${id}`
const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const objectOf = (answer: { readonly manifest: Link }): string => answer.manifest['/']

/** Whether the peer has the manifest on its own disk. */
async function isHere(peer: DaemonPeer, object: string): Promise<boolean> {
  const { here } = await peer.get<{ here: boolean }>(`/has/${object}`)
  return here
}

/** Blocks that the daemons' logs say were removed. */
async function collected({ peers }: DaemonNetwork): Promise<number> {
  const logs = await Promise.all(peers.map(async (peer) => readFile(peer.log, 'utf8')))
  const lines = logs.flatMap((log) => log.split('\n').filter((line) => line.includes('"blocks collected"')))
  return lines.reduce((sum, line) => sum + (JSON.parse(line) as { blocks: number }).blocks, 0)
}

class Run {
  readonly network: DaemonNetwork
  readonly random = seededRandom(SEED)
  readonly stored: Stored[] = []
  readonly counts = { killed: 0, puts: 0, resumed: 0, read: 0 }

  constructor(network: DaemonNetwork) {
    this.network = network
  }

  pick<T>(items: readonly T[], count: number): T[] {
    const left = [...items]
    return Array.from({ length: Math.min(count, left.length) }, () =>
      left.splice(Math.floor(this.random() * left.length), 1),
    ).flat()
  }

  /** One object under way, something let go, some killed in the middle of it; then the same again until it is done. */
  async round(round: number): Promise<void> {
    const [at] = this.pick(this.network.peers, 1)
    if (at === undefined) throw new Error('no peers')
    const bytes = randomFillSync(new Uint8Array(1 + Math.floor(this.random() ** 2 * BYTES_MAX)))
    const file = join(this.network.folder, `input-${round}.bin`)
    await writeFile(file, bytes)
    const args = at.args('put', file, '--as', account(at))
    const putting = runCli('dist', [...args, '--json'])
    const letting = this.letGo()
    await waitMs(this.random() * LIFE_MS_MAX)
    const struck = this.pick(this.network.peers, 1 + Math.floor(this.random() * PARITY))
    for (const peer of struck) peer.signal('SIGKILL')
    this.counts.killed += struck.length
    await Promise.all(struck.map(async (peer) => peer.daemon.ended))
    await waitMs(this.random() * AWAY_MS_MAX)
    await Promise.all(struck.map(async (peer) => peer.restart()))
    const { status, stdout } = await putting
    await letting
    if (status !== 0) this.counts.resumed++
    // What was acknowledged counts, not what a repetition makes of it.
    const answer = status === 0 ? (JSON.parse(stdout) as { readonly manifest: Link }) : await this.again(args)
    const object = objectOf(answer)
    await rm(file)
    this.counts.puts++
    this.stored.push({ object, hash: hashOf(bytes), at, state: 'kept' })
    const [one] = this.pick(this.ofState('kept'), 1)
    if (one !== undefined) await this.read(one)
  }

  ofState(state: Stored['state']): Stored[] {
    return this.stored.filter((one) => one.state === state)
  }

  /** A command that must succeed in the end, whoever is away meanwhile. */
  async again(args: readonly string[]): Promise<{ readonly manifest: Link }> {
    let answer: { readonly manifest: Link } | undefined
    await vi.waitFor(async () => {
      answer = await cliJson<{ readonly manifest: Link }>('dist', args)
    }, WAIT)
    if (answer === undefined) throw new Error('it succeeded')
    return answer
  }

  /** Releases an object, or erases it, now and then; one of each in any case. */
  async letGo(): Promise<void> {
    const [one] = this.pick(this.ofState('kept'), 1)
    const isFirst = this.ofState('released').length === 0 || this.ofState('erased').length === 0
    if (one === undefined || (!isFirst && this.random() < 0.5)) return
    const isErased = isFirst ? this.ofState('released').length > 0 : this.random() < 0.3
    one.state = isErased ? 'erased' : 'released'
    const verb = isErased ? ['erase'] : ['lease', 'release']
    const args = one.at.args(...verb, one.object, '--as', account(one.at))
    // It may have come through although nobody lived to say so.
    const isDone = async (): Promise<boolean> => {
      const { status } = await runCli('dist', [...args, '--json'])
      if (status === 0) return true
      try {
        const keeping = await one.at.get<KeepingAnswer>(`/objects/${one.object}/keeping`)
        return isErased ? keeping.erasedMs > 0 : keeping.leaseMs <= keeping.blockTimeMs
      } catch (error) {
        return !isErased && isForgotten(error)
      }
    }
    await vi.waitFor(async () => {
      if (!(await isDone())) throw new Error(`${one.object} is not ${one.state}`)
    }, WAIT)
  }

  async read({ hash, object }: Stored, from?: DaemonPeer): Promise<void> {
    const at = from ?? this.pick(this.network.peers, 1)[0]
    if (at === undefined) throw new Error('no peers')
    const owner = this.stored.find((one) => one.object === object)?.at
    const out = join(this.network.folder, `output-${this.counts.read++}.bin`)
    const args = [
      ...(owner ?? at).args('get', object, '--out', out, '--as', account(owner ?? at)),
      '--peer',
      at.dataDir,
    ]
    await vi.waitFor(async () => cliJson('dist', [...args, '--force']), WAIT)
    if (hashOf(await readFile(out)) !== hash) throw new Error(`${object}, as read at ${at.id}, is not what was put`)
    await rm(out)
  }
}

test(
  `${ROUNDS} rounds of kill -9 over ${DAEMONS} daemons that store, erase and collect: nothing acknowledged lost, nothing live deleted (seed ${SEED})`,
  async () => {
    const storage = { orphanMs: ORPHAN_MS, layoutMs: 0 }
    await using network = await DaemonNetwork.start({ count: DAEMONS, validators: 4, storage })
    await tableOf(network, 2 * PARITY)
    await Promise.all(network.peers.map(async (peer) => cliJson('dist', peer.args('key', 'create', account(peer)))))
    const run = new Run(network)
    const startMs = performance.now()
    for (let round = 0; round < ROUNDS; round++) await run.round(round)

    // A daemon takes nothing away that came within its life, for an hour.
    await Promise.all(network.peers.map(async (peer) => peer.stop()))
    await Promise.all(network.peers.map(async (peer) => peer.restart()))
    await network.connected()
    for (const { at, object } of run.ofState('released')) {
      await vi.waitFor(async () => {
        const thrown = await at.get(`/objects/${object}/keeping`).catch((error: unknown) => error)
        expect(isForgotten(thrown), String(thrown)).toBe(true)
      }, WAIT)
    }
    // What is erased goes at once; what was released stays where it is staged still, for an hour after the receipts have expired.
    for (const peer of network.peers) {
      await vi.waitFor(async () => {
        for (const { object } of run.ofState('erased')) {
          expect(await isHere(peer, object), `${object} at ${peer.id}`).toBe(false)
        }
      }, WAIT)
    }
    for (const { at, object } of run.ofState('erased')) {
      await vi.waitFor(async () => {
        const { signed, waiting } = await cliJson<{ signed: object[]; waiting: object[] }>(
          'dist',
          at.args('erase', 'certificate', object),
        )
        expect([signed.length >= PARITY + 1, waiting.length]).toEqual([true, 0])
      }, WAIT)
    }
    await vi.waitFor(async () => {
      const repairs = await Promise.all(network.peers.map(async (peer) => peer.get<PeerStatus>('/status')))
      expect(repairs.map(({ repair }) => repair.columns)).toEqual(network.peers.map(() => 0))
    }, WAIT)

    // Without whoever put it, who may have a copy still, and another one: as few as can give it, or one more.
    const kept = run.ofState('kept')
    for (const [at, one] of kept.slice(0, 20).entries()) {
      const others = network.peers.filter((peer) => peer !== one.at)
      const away = [one.at, others[at % others.length] ?? one.at]
      for (const peer of away) peer.signal('SIGSTOP')
      try {
        await run.read(one, others[(at + 1) % others.length])
      } finally {
        for (const peer of away) peer.signal('SIGCONT')
      }
    }
    for (const one of kept.slice(20)) await run.read(one)
    const { killed, puts, read, resumed } = run.counts
    const seconds = ((performance.now() - startMs) / 1_000).toFixed(0)
    console.log(
      `seed ${SEED}: ${killed} kills in ${seconds} s; ${puts} objects put, ${resumed} of them repeated, ` +
        `${run.ofState('released').length} released, ${run.ofState('erased').length} erased; ${read} read back, ` +
        `${await collected(network)} blocks collected`,
    )
  },
  TEST_MS,
)
