/**
 * What Prometheus reads at `/metrics`: process, ledger, consensus, waiting transactions, members, store.
 *
 * Gauges are read when they are asked for; only the time to finality is counted as blocks come. Labels are lanes and the ids of
 * institutions, so their number is bounded and nothing of a patient is among them.
 *
 * @see docs/operate.md, "Metrics"
 */
import { performance } from 'node:perf_hooks'
import { Gauge, Histogram, Registry } from 'prom-client'
import type { Clock } from '../core/ports.ts'
import { type Peer, type PeerStatus, peerStatus } from '../peer/peer.ts'

const PREFIX = 'apotheca_'
/** From a quick LAN to a ledger that is in trouble. */
const FINAL_BUCKETS_S = [0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60]
const FINAL_S_MAX = 120

export class Metrics {
  readonly #registry = new Registry()
  readonly #stopListening: () => void

  constructor({ clock, peer }: { readonly peer: Peer; readonly clock: Clock }) {
    this.#process()
    this.#ledger(peer)
    this.#consensus(peer)
    this.#members(peer)
    this.#store(peer)
    this.#stopListening = this.#finality(peer, clock)
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** The text form of Prometheus. */
  render(): Promise<string> {
    return this.#registry.metrics()
  }

  close(): void {
    this.#stopListening()
    this.#registry.clear()
  }

  #gauge(name: string, help: string, read: () => number | undefined): void {
    const registers = [this.#registry]
    new Gauge({
      name: `${PREFIX}${name}`,
      help,
      registers,
      collect() {
        const value = read()
        if (value === undefined) this.remove()
        else this.set(value)
      },
    })
  }

  /** One value for each name; names that are gone are left out. */
  #gauges(name: string, help: string, label: string, read: () => readonly (readonly [string, number])[]): void {
    const registers = [this.#registry]
    new Gauge({
      name: `${PREFIX}${name}`,
      help,
      labelNames: [label],
      registers,
      collect() {
        this.reset()
        for (const [labelled, value] of read()) this.set({ [label]: labelled }, value)
      },
    })
  }

  #process(): void {
    this.#gauge('process_resident_bytes', 'Memory of the process.', () => process.memoryUsage.rss())
    this.#gauge('process_heap_bytes', 'JavaScript heap in use.', () => process.memoryUsage().heapUsed)
    this.#gauge('process_cpu_seconds', 'CPU time used since the start, user and system.', () => {
      const { system, user } = process.cpuUsage()
      return (system + user) / 1e6
    })
    this.#gauge('process_event_loop_ratio', 'Part of its time since the start that the event loop was busy.', () => {
      return performance.eventLoopUtilization().utilization
    })
    this.#gauge('process_up_seconds', 'Time since the start.', () => process.uptime())
  }

  #ledger(peer: Peer): void {
    const { chain, ledger, mempool } = peer
    this.#gauge('ledger_height', 'Height of the newest final block.', () => chain.head.height)
    this.#gauge('ledger_block_view', 'View of the newest final block.', () => chain.head.view)
    this.#gauge('ledger_epoch', 'Epoch of the next block.', () => chain.head.nextEpoch)
    this.#gauge(
      'ledger_block_time_seconds',
      'Time of the newest final block, since 1970.',
      () => chain.head.timeMs / 1e3,
    )
    this.#gauge('ledger_behind_blocks', 'Blocks that this peer knows to lack.', () => ledger.behind)
    this.#gauges('mempool_transactions', 'Transactions that wait for a block, by lane.', 'lane', () =>
      mempool.byLane().map(({ count, lane }) => [String(lane), count] as const),
    )
    this.#gauges('mempool_bytes', 'Bytes of the transactions that wait, by lane.', 'lane', () =>
      mempool.byLane().map(({ bytes, lane }) => [String(lane), bytes] as const),
    )
  }

  #consensus(peer: Peer): void {
    const status = (): ReturnType<NonNullable<Peer['consensus']>> => peer.consensus?.()
    this.#gauge('consensus_view', 'View that this peer is in.', () => status()?.view)
    this.#gauge(
      'consensus_pending_blocks',
      'Blocks proposed or notarized and not final.',
      () => status()?.pendingBlocks,
    )
    this.#gauge('consensus_quorum', 'Validators that must vote for a block.', () => status()?.quorum)
    this.#gauge('consensus_halted', '1 where this validator stopped voting until someone acts.', () => {
      const now = status()
      return now === undefined ? undefined : Number(now.halted !== undefined)
    })
    this.#gauge(
      'consensus_stalled_since_seconds',
      'Since when nothing becomes final, since 1970; 0: all is well.',
      () => {
        const now = status()
        return now === undefined ? undefined : (now.stalledSinceMs ?? 0) / 1e3
      },
    )
    const help = 'Silent validators: since when, since 1970; 0: not heard since this peer started.'
    this.#gauges('consensus_silent_since_seconds', help, 'institution', () =>
      (status()?.missing ?? []).map((one) => [one.institution, (one.silentSinceMs ?? 0) / 1e3] as const),
    )
    this.#gauges('consensus_leader', '1 at the institution that leads the view.', 'institution', () => {
      const leader = status()?.leader
      return leader === undefined ? [] : [[leader, 1] as const]
    })
  }

  #members(peer: Peer): void {
    const count = (members: PeerStatus['members']): number => members.filter((one) => one.connected).length
    this.#gauge('members_connected', 'Peers of members that are connected.', () => count(peerStatus(peer).members))
    this.#gauge('members_known', 'Peers of members, this one left out.', () => peerStatus(peer).members.length)
  }

  #store({ store }: Peer): void {
    this.#gauge('store_blocks', 'Blocks stored.', () => store.stats().blocks)
    this.#gauge('store_bytes', 'Bytes stored.', () => store.stats().bytes)
    this.#gauge('store_capacity_bytes', 'Bytes that may be stored.', () => store.stats().capacityBytes)
    this.#gauge('store_disk_free_bytes', 'Free bytes of the disk.', () => store.stats().freeBytes)
  }

  /** Counts the time from a block's time to its being final here; blocks of before an outage, fetched later, say nothing of it. */
  #finality(peer: Peer, clock: Clock): () => void {
    const seconds = new Histogram({
      name: `${PREFIX}block_final_seconds`,
      help: 'Time from the time of a block to its being final here.',
      buckets: FINAL_BUCKETS_S,
      registers: [this.#registry],
    })
    return peer.chain.onBlock(({ final }) => {
      const took = Math.max(0, clock.nowMs() - final.header.timeMs) / 1e3
      if (took <= FINAL_S_MAX) seconds.observe(took)
    })
  }
}
