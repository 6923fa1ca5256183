/**
 * Load on a ledger: transactions signed beforehand, sent to the daemons' HTTP APIs at a steady rate, whatever comes back (an open
 * loop), so that a slow ledger shows as waiting and not as fewer transactions. Each is waited for as any client does.
 *
 * The client shares the machine with the daemons: it signs nothing and decodes next to nothing while time is taken, and its own
 * processor time is told.
 */
import { setTimeout as waitMs } from 'node:timers/promises'
import type { ChainId } from '../src/core/ids.ts'
import type { SignedTx } from '../src/ledger/transaction.ts'
import type { DaemonPeer } from '../scripts/daemon-network.ts'
import { ApiConnection, Author, registerAuthor } from '../scripts/ledger-client.ts'

/** Beyond it a transaction counts as lost. */
const FINAL_MS_MAX = 60_000
/** Waiting at once: a ledger that is slower than the rate makes what comes after wait with the client, and each one's time runs. */
const IN_FLIGHT_MAX = 1_000
/** A client that is late sends what is due at once. */
const PACE_MS = 5

/** Authors at one daemon, and the way to it. */
interface Site {
  readonly peer: DaemonPeer
  readonly connection: ApiConnection
  readonly authors: readonly Author[]
}

/** Signed, and waiting for its time. */
interface Loaded {
  readonly site: Site
  readonly tx: SignedTx
}

export interface LoadResult {
  /** Final per second, from the first one sent to the last one final. */
  readonly txPerS: number
  /** From when each was due to when its receipt was here, in milliseconds, sorted. */
  readonly latenciesMs: readonly number[]
  /** When receipts came, as by `performance.now()`, sorted. */
  readonly finalAtMs: readonly number[]
  /** Of the client itself, part of one processor. */
  readonly clientCpuRatio: number
  readonly bytesPerTx: number
}

export class Load implements AsyncDisposable {
  readonly #sites: readonly Site[]
  #next = 0

  private constructor(sites: readonly Site[]) {
    this.#sites = sites
  }

  /** Registers authors, as many at each peer. */
  static async prepare(peers: readonly DaemonPeer[], authorsPerPeer: number): Promise<Load> {
    const sites = await Promise.all(
      peers.map(async (peer): Promise<Site> => {
        const connection = new ApiConnection(await peer.api())
        const { chain } = await peer.get<{ chain: ChainId }>('/ledger/head')
        const authors: Author[] = []
        for (let index = 0; index < authorsPerPeer; index++) {
          authors.push(await Author.make({ institution: peer.id, chain }))
        }
        await Promise.all(authors.map((author) => registerAuthor(connection, author)))
        return { peer, connection, authors }
      }),
    )
    return new Load(sites)
  }

  /** Signs `count` transactions, of the authors in turn. @param peers - only of authors there. @default all */
  async sign(count: number, peers?: readonly DaemonPeer[]): Promise<Loaded[]> {
    const sites = this.#sites.filter(({ peer }) => peers?.includes(peer) ?? true)
    const loaded: Loaded[] = []
    for (let index = 0; index < count; index++, this.#next++) {
      const site = sites[this.#next % sites.length]
      const author = site?.authors[Math.floor(this.#next / sites.length) % site.authors.length]
      if (site === undefined || author === undefined) throw new Error('there are no authors')
      loaded.push({ site, tx: await author.signRecord() })
    }
    return loaded
  }

  /** Sends all at this rate. @throws where one is refused, or not final in time. */
  async run(loaded: readonly Loaded[], ratePerS: number): Promise<LoadResult> {
    const latencies: number[] = []
    const finalAt: number[] = []
    const pending = new Set<Promise<void>>()
    const failed: unknown[] = []
    const cpu = process.cpuUsage()
    const startedMs = performance.now()
    const one = async ({ site, tx }: Loaded, dueMs: number): Promise<void> => {
      await site.connection.submit(tx, { timeoutMs: FINAL_MS_MAX })
      const final = await site.connection.waitFinal(tx.id, FINAL_MS_MAX)
      if (final?.receipt.ok !== true) throw new Error(`${tx.id} came to nothing: ${JSON.stringify(final)}`)
      finalAt.push(performance.now())
      latencies.push(performance.now() - dueMs)
    }
    for (let sent = 0; sent < loaded.length && failed.length === 0; ) {
      const due = Math.floor(((performance.now() - startedMs) / 1_000) * ratePerS)
      for (; sent < Math.min(due, loaded.length) && pending.size < IN_FLIGHT_MAX; sent++) {
        const next = loaded[sent]
        if (next === undefined) break
        const sending = one(next, startedMs + (sent / ratePerS) * 1_000)
          .catch((error: unknown) => void failed.push(error))
          .finally(() => pending.delete(sending))
        pending.add(sending)
      }
      await waitMs(PACE_MS)
    }
    await Promise.all([...pending])
    if (failed.length > 0) throw new Error(`${failed.length} of ${loaded.length} failed`, { cause: failed[0] })
    const tookMs = performance.now() - startedMs
    const { system, user } = process.cpuUsage(cpu)
    return {
      txPerS: loaded.length / (tookMs / 1_000),
      latenciesMs: latencies.toSorted((a, b) => a - b),
      finalAtMs: finalAt.toSorted((a, b) => a - b),
      clientCpuRatio: (system + user) / 1_000 / tookMs,
      bytesPerTx: Math.round(loaded.reduce((sum, { tx }) => sum + tx.bytes.length, 0) / loaded.length),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { connection } of this.#sites) connection.close()
  }
}
