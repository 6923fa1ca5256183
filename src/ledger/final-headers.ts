/** Judging headers that are said to be final: from gossip without body and parent, or at a height that is taken. */
import { equals } from 'uint8arrays/equals'
import { CodecError } from '../core/codec.ts'
import type { ChainId } from '../core/ids.ts'
import type { Clock, Log } from '../core/ports.ts'
import { type Head, HeaderError, type HeaderFault, chainFault, finalityFault, timeFault } from './block-check.ts'
import type { ChainStore } from './chain-store.ts'
import { type FinalHeader, decodeFinalHeader, headerId } from './header.ts'
import type { ValidatorSet } from './validators.ts'

/** What gossip should do with a header: relay it, drop it, or hold it against the sender. */
export type HeaderVerdict =
  | { readonly verdict: 'accept'; readonly final: FinalHeader }
  | { readonly verdict: 'ignore' | 'reject'; readonly fault: HeaderFault }

export interface FinalHeadersDeps {
  readonly chain: ChainId
  readonly store: ChainStore
  readonly head: () => Head
  readonly setOf: (epoch: number) => ValidatorSet | undefined
  readonly clock: Clock
  readonly log: Log
}

/** Faults that aren't the sender's doing: an old message, our clock, our lag; or a fork, which is worth more than blame. */
const NOT_THE_SENDERS: ReadonlySet<HeaderFault['code']> = new Set([
  'HEADER_KNOWN',
  'HEADER_TIME_AHEAD',
  'HEADER_EPOCH_UNKNOWN',
  'HEADER_FORK',
])

export class FinalHeaders {
  readonly #deps: FinalHeadersDeps

  constructor(deps: FinalHeadersDeps) {
    this.#deps = deps
  }

  /** @param bytes - untrusted gossip message; see `encodeFinalHeader`. */
  async judge(bytes: Uint8Array): Promise<HeaderVerdict> {
    let final: FinalHeader
    try {
      final = decodeFinalHeader(bytes)
    } catch (error) {
      if (!(error instanceof CodecError)) throw error
      return { verdict: 'reject', fault: { code: 'HEADER_MALFORMED', problem: error.fault.code } }
    }
    const fault = await this.#gossipFault(final)
    if (fault === undefined) return { verdict: 'accept', final }
    return { verdict: NOT_THE_SENDERS.has(fault.code) ? 'ignore' : 'reject', fault }
  }

  /** Whether the chain has the block. @throws {HeaderError} `HEADER_FORK`, or what is wrong with a header at a height that is taken */
  async isKnown(final: FinalHeader): Promise<boolean> {
    const { chain, head, store } = this.#deps
    const { height } = final.header
    if (height > head().height) return false
    const known = await store.header(height)
    if (known !== undefined && equals(known, final.headerBytes)) return true
    throw new HeaderError(chainFault(final.header, chain) ?? this.fault(final) ?? this.#fork(final, known))
  }

  /** What is wrong with the header by its certificate, the parent and the body left aside. */
  fault(final: FinalHeader, kind?: 'finalize' | 'notarize'): HeaderFault | undefined {
    const { epoch } = final.header
    const set = this.#deps.setOf(epoch)
    return set === undefined
      ? { code: 'HEADER_EPOCH_UNKNOWN', epoch }
      : finalityFault(final, this.#deps.chain, set, kind)
  }

  #fork(final: FinalHeader, known: Uint8Array | undefined): HeaderFault {
    const { height } = final.header
    const knownId = known === undefined ? '' : headerId(known).toString()
    this.#deps.log.error({ height, block: final.id.toString(), known: knownId }, 'two final blocks at one height')
    return { code: 'HEADER_FORK', height, block: final.id.toString(), known: knownId }
  }

  async #gossipFault(final: FinalHeader): Promise<HeaderFault | undefined> {
    const { chain, clock, head } = this.#deps
    const { header } = final
    const early = chainFault(header, chain)
    if (early !== undefined) return early
    try {
      // The head itself is relayed still: it may have come to this peer by another way than gossip.
      if ((await this.isKnown(final)) && header.height < head().height) {
        return { code: 'HEADER_KNOWN', height: header.height }
      }
    } catch (error) {
      if (error instanceof HeaderError) return error.fault
      throw error
    }
    return this.fault(final) ?? timeFault(header, clock.nowMs())
  }
}
