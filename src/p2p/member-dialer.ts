/**
 * Keeps a connection to every configured member address: dials, learns who answers there, and dials again after a loss,
 * with a growing pause. An address may come without a peer id; the gate decides whether who answers is a member.
 */
import type { Connection, PeerId } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import * as limits from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { faultOf } from '../core/coded-error.ts'
import { type P2pHost, parseAddress } from './host.ts'

/** Tag that tells libp2p's pruner to end these connections last. */
const MEMBER_TAG = 'apotheca-member'
const MEMBER_TAG_VALUE = 100

/** What is known of one configured address. */
export interface DialStatus {
  readonly address: string
  /** Who answered there last, as text. */
  readonly peer?: string
  readonly state: 'connected' | 'dialing' | 'waiting' | 'self'
  /** Dials that failed since the last lasting connection. */
  readonly failures: number
  /** The last failure: a fault's code, or the system's words. */
  readonly lastFailure?: string
}

export interface MemberDialerDeps {
  readonly host: P2pHost
  readonly log: Log
}

export class MemberDialer {
  readonly #deps: MemberDialerDeps
  readonly #links: readonly Link[]
  #stop = new AbortController()
  #loops: Promise<void>[] = []

  /** @throws {HostError} `P2P_ADDRESS_MALFORMED` */
  constructor(deps: MemberDialerDeps, options: { addresses: readonly string[] }) {
    this.#deps = deps
    this.#links = options.addresses.map((address) => new Link(deps, parseAddress(address)))
  }

  start(): void {
    this.#stop = new AbortController()
    this.#deps.host.addEventListener('peer:disconnect', this.#onDisconnect)
    this.#loops = this.#links.map((link) => link.run(this.#stop.signal))
  }

  async stop(): Promise<void> {
    this.#deps.host.removeEventListener('peer:disconnect', this.#onDisconnect)
    this.#stop.abort()
    await Promise.all(this.#loops)
  }

  status(): DialStatus[] {
    return this.#links.map((link) => link.status())
  }

  /** Dials now whatever waits: after a change of members, or when the machine's network came back. */
  hurry(): void {
    for (const link of this.#links) link.wake()
  }

  readonly #onDisconnect = (event: CustomEvent<PeerId>): void => {
    for (const link of this.#links) link.onDisconnect(event.detail)
  }
}

/** One address: a loop of dial, hold, and pause. */
class Link {
  readonly #deps: MemberDialerDeps
  readonly #address: Multiaddr
  #peer: PeerId | undefined
  #state: DialStatus['state'] = 'waiting'
  #failures = 0
  #lastFailure: string | undefined
  #wake: (() => void) | undefined

  constructor(deps: MemberDialerDeps, address: Multiaddr) {
    this.#deps = deps
    this.#address = address
  }

  status(): DialStatus {
    return {
      address: this.#address.toString(),
      state: this.#state,
      failures: this.#failures,
      ...(this.#peer === undefined ? {} : { peer: this.#peer.toString() }),
      ...(this.#lastFailure === undefined ? {} : { lastFailure: this.#lastFailure }),
    }
  }

  wake(): void {
    this.#wake?.()
  }

  onDisconnect(peer: PeerId): void {
    if (this.#state === 'connected' && this.#peer?.equals(peer) === true) this.wake()
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && this.#state !== 'self') {
      const sinceMs = performance.now()
      if (await this.#connect(signal)) {
        while (!signal.aborted && this.#isConnected()) await this.#sleep(limits.P2P_REDIAL_MS_MAX, signal)
        if (performance.now() - sinceMs >= limits.P2P_SETTLED_MS) this.#failures = 0
        else this.#failures++
      }
      if (signal.aborted || this.#isSelf()) break
      this.#state = 'waiting'
      await this.#sleep(redialPauseMs(this.#failures), signal)
    }
  }

  #isSelf(): boolean {
    return this.#state === 'self'
  }

  #isConnected(): boolean {
    return this.#peer !== undefined && this.#deps.host.getConnections(this.#peer).some((one) => one.status === 'open')
  }

  /** @returns whether there is a connection to who lives at the address. */
  async #connect(signal: AbortSignal): Promise<boolean> {
    // The other side may have dialed first: one connection is enough.
    if (!this.#isConnected()) {
      this.#state = 'dialing'
      try {
        const timeout = AbortSignal.timeout(limits.P2P_DIAL_TIMEOUT_MS)
        await this.#settle(await this.#deps.host.dial(this.#address, { signal: AbortSignal.any([signal, timeout]) }))
      } catch (error) {
        if (!signal.aborted) this.#onFailure(error)
        return false
      }
    }
    this.#state = 'connected'
    return true
  }

  async #settle(connection: Connection): Promise<void> {
    this.#peer = connection.remotePeer
    await this.#deps.host.peerStore.merge(connection.remotePeer, {
      tags: { [MEMBER_TAG]: { value: MEMBER_TAG_VALUE } },
    })
    const fields = { peer: connection.remotePeer.toString(), address: this.#address.toString() }
    this.#deps.log.info({ ...fields, encryption: connection.encryption }, 'connected to a member')
  }

  #onFailure(error: unknown): void {
    const fields = { address: this.#address.toString(), failures: ++this.#failures }
    // A list of addresses that is the same in every peer's config names each peer itself, too.
    if (error instanceof Error && error.name === 'InvalidPeerIdError') {
      this.#state = 'self'
      return
    }
    const failure = failureText(error)
    // The first failure and each new kind is news; the fiftieth refusal is not.
    if (failure === this.#lastFailure && this.#failures > 1)
      this.#deps.log.debug(fields, 'could not connect to a member')
    else this.#deps.log.warn({ ...fields, failure, fault: faultOf(error) }, 'could not connect to a member')
    this.#lastFailure = failure
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        this.#wake = undefined
        resolve()
      }
      const timer = setTimeout(done, ms)
      timer.unref()
      signal.addEventListener('abort', done, { once: true })
      this.#wake = done
    })
  }
}

/** Doubles from the shortest to the longest pause; jitter keeps a restarted consortium from dialing in step. */
function redialPauseMs(failures: number): number {
  const ms = Math.min(limits.P2P_REDIAL_MS_MAX, limits.P2P_REDIAL_MS_MIN * 2 ** Math.min(failures, 16))
  return ms * (0.5 + Math.random() / 2)
}

function failureText(error: unknown): string {
  return faultOf(error)?.code ?? (error instanceof Error ? error.message : String(error))
}
