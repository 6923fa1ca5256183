/**
 * `ledger`: what the ledger must reach, on one machine: four validators as four processes, transactions over their HTTP APIs. Beside
 * it, from the same run, how many signatures the machine verifies and how often it syncs: no ledger does more.
 */
import { generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as waitMs } from 'node:timers/promises'
import { DaemonNetwork, type DaemonPeer } from '../scripts/daemon-network.ts'
import { type Figure, beside, median, reaches, staysUnder } from './figure.ts'
import { Load, type LoadResult } from './ledger-load.ts'
import { cpuMsOf, memoryOf } from './machine.ts'

const MIB = 1024 * 1024
const VALIDATORS = 4
const AUTHORS_PER_PEER = 32
const TX_PER_S = 300
/** A little more than what must become final, so that an even arrival doesn't flatter. */
const OFFERED_PER_S = 315
/** Well within what three of four take: the pause is measured, not the capacity. */
const RESTART_TX_PER_S = 100
const IDLE_MS = 10_000
const LIMIT_ROUNDS = 5
const VERIFICATIONS = 2_000
const SYNCS = 100
const TX_BYTES = 1_024

export async function benchLedger(options: { quick: boolean }): Promise<Figure[]> {
  const seconds = options.quick ? 10 : 60
  await using network = await DaemonNetwork.start({ count: VALIDATORS, validators: VALIDATORS })
  await using load = await Load.prepare(network.peers, AUTHORS_PER_PEER)
  const machine = await machineLimits(network.folder)
  const warmUp = await load.sign(OFFERED_PER_S * 2)
  const loaded = await load.sign(OFFERED_PER_S * seconds)
  // A daemon that has just started compiles its code as it runs.
  await load.run(warmUp, OFFERED_PER_S)
  const firstHeight = await network.peer(0).height()
  const cpuBefore = await cpuOf(network)
  const result = await load.run(loaded, OFFERED_PER_S)
  const cpuMs = (await cpuOf(network)).map((ms, index) => (ms - (cpuBefore[index] ?? ms)) / loaded.length)
  const blocks = (await network.peer(0).height()) - firstHeight
  const memory = await Promise.all(network.peers.map(({ daemon }) => memoryOf(daemon.pid, 'VmRSS')))
  const blocksPerS = blocks / (result.latenciesMs.length / result.txPerS)
  return [
    ...throughput(result),
    beside(
      'ledger',
      'final transactions, beside Ed25519 verifications of one core',
      result.txPerS,
      '/s',
      machine.verifications,
    ),
    beside('ledger', 'final blocks, beside fdatasyncs', blocksPerS, '/s', machine.syncs),
    beside(
      'ledger',
      'CPU of a transaction and validator, beside one verification',
      Math.max(...cpuMs),
      'ms',
      1_000 / machine.verifications,
    ),
    beside('ledger', "the load generator's own part of one processor", result.clientCpuRatio, '', 1),
    staysUnder('ledger', 'RSS of a validator after it, the largest of four', Math.max(...memory) / MIB, 'MiB', 250),
    ...(await restart(network, load, options)),
    ...(await idle(network)),
  ]
}

function cpuOf({ peers }: DaemonNetwork): Promise<number[]> {
  return Promise.all(peers.map(({ daemon }) => cpuMsOf(daemon.pid)))
}

function throughput({ bytesPerTx, latenciesMs, txPerS }: LoadResult): Figure[] {
  const seconds = (share: number): number => (latenciesMs[Math.floor(share * (latenciesMs.length - 1))] ?? 0) / 1_000
  return [
    reaches('ledger', `final transactions of ${bytesPerTx} bytes`, txPerS, '/s', TX_PER_S, 1),
    staysUnder('ledger', 'submitted to final, median', seconds(0.5), 's', 0.5),
    staysUnder('ledger', 'submitted to final, 99 of 100', seconds(0.99), 's', 1.5),
  ]
}

/** One of four is killed under load and started again. */
async function restart(network: DaemonNetwork, load: Load, options: { quick: boolean }): Promise<Figure[]> {
  const seconds = options.quick ? 10 : 30
  const struck = network.peer(VALIDATORS - 1)
  const others = network.peers.filter((peer) => peer !== struck)
  const loaded = await load.sign(RESTART_TX_PER_S * seconds, others)
  const running = load.run(loaded, RESTART_TX_PER_S)
  // Awaited below; a failure before that is no unhandled one.
  running.catch(() => undefined)
  await waitMs((seconds * 1_000) / 4)
  const struckAtMs = performance.now()
  struck.signal('SIGKILL')
  await struck.daemon.ended
  await waitMs((seconds * 1_000) / 4)
  const startedMs = performance.now()
  await struck.restart()
  const caughtUpMs = (await reachesHeight(struck, Math.max(...(await heights(others))))) - startedMs
  const { finalAtMs } = await running
  return [
    staysUnder(
      'ledger',
      'longest pause of the others, one killed and started again',
      longestGapMs(finalAtMs, struckAtMs) / 1_000,
      's',
      3,
    ),
    beside('ledger', 'from its start to the height of the others', caughtUpMs / 1_000, 's', seconds),
  ]
}

/** Nobody submits anything. */
async function idle(network: DaemonNetwork): Promise<Figure[]> {
  const first = network.peers[0]
  if (first === undefined) throw new Error('no peers')
  // The newest block, and what is still to be said about it.
  await waitMs(2_000)
  const before = await cpuOf(network)
  const height = await first.height()
  const startedMs = performance.now()
  await waitMs(IDLE_MS)
  const tookMs = performance.now() - startedMs
  const after = await cpuOf(network)
  const cpuPercent = Math.max(...after.map((ms, index) => ((ms - (before[index] ?? ms)) / tookMs) * 100))
  const blocks = (await first.height()) - height
  return [
    staysUnder('ledger', 'blocks of an idle chain in 10 s', blocks, 'blocks', 2),
    staysUnder('ledger', 'an idle peer, part of one processor, the largest of four', cpuPercent, '%', 2),
  ]
}

/** @returns when it did, as by `performance.now()`. */
async function reachesHeight(peer: DaemonPeer, height: number): Promise<number> {
  while ((await peer.height()) < height) await waitMs(20)
  return performance.now()
}

function heights(peers: readonly DaemonPeer[]): Promise<number[]> {
  return Promise.all(peers.map((peer) => peer.height()))
}

/** Longest time from `fromMs` on in which nothing became final. */
function longestGapMs(finalAtMs: readonly number[], fromMs: number): number {
  let longest = 0
  let last = fromMs
  for (const at of finalAtMs) {
    if (at < fromMs) continue
    longest = Math.max(longest, at - last)
    last = at
  }
  return longest
}

/** Per second, medians of several rounds that take turns. */
async function machineLimits(folder: string): Promise<{ verifications: number; syncs: number }> {
  const verifications: number[] = []
  const syncs: number[] = []
  for (let round = 0; round < LIMIT_ROUNDS; round++) {
    verifications.push(verificationsPerS())
    syncs.push(await syncsPerS(folder))
  }
  return { verifications: median(verifications), syncs: median(syncs) }
}

/** Ed25519 over a transaction's bytes, on one thread. */
function verificationsPerS(): number {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const message = randomBytes(TX_BYTES)
  const signature = sign(null, message, privateKey)
  const startedMs = performance.now()
  for (let done = 0; done < VERIFICATIONS; done++) {
    if (!verify(null, message, publicKey, signature)) throw new Error('a good signature was refused')
  }
  return VERIFICATIONS / ((performance.now() - startedMs) / 1_000)
}

/** 1 KiB appended, and on the disk. */
async function syncsPerS(folder: string): Promise<number> {
  const file = join(folder, 'syncs.bin')
  const piece = randomBytes(TX_BYTES)
  const handle = await open(file, 'a')
  const startedMs = performance.now()
  for (let done = 0; done < SYNCS; done++) {
    await handle.write(piece)
    await handle.datasync()
  }
  const rate = SYNCS / ((performance.now() - startedMs) / 1_000)
  await handle.close()
  await rm(file)
  return rate
}
