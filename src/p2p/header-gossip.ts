/**
 * Carries final headers over one topic: `{ header, certificate }`, relayed only when the certificate holds.
 *
 * The message id of a good header is its block id, so that copies with other (equally valid) signatures are dropped as
 * duplicates. A message that is not good has the hash of its bytes as id: otherwise a member could send a real header with
 * a broken certificate first, and the id would be used up when the genuine one arrives. So the verdict comes before the id,
 * and is kept by the hash of the bytes: a copy from each neighbour costs one hash.
 *
 * @see docs/spec/header-gossip.md, docs/decisions/0023-gossip-ids.md
 */
import { createHash } from 'node:crypto'
import { type GossipSub, TopicValidatorResult } from '@chainsafe/libp2p-gossipsub'
import { equals } from 'uint8arrays/equals'
import { CodecError } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import { FINAL_HEADER_BYTES_MAX, GOSSIP_IGNORED_MS, GOSSIP_VERDICTS_MAX } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import type { GossipIds } from './gossip-ids.ts'
import { headersTopic } from './protocols.ts'

export type GossipFault = { code: 'GOSSIP_TOO_LARGE'; bytes: number; bytesMax: number }
export class GossipError extends CodedError<GossipFault> {}

/** `reject`: the sender's fault. `ignore`: maybe our own lag; it isn't relayed, and may be judged again a second later. */
export type HeaderVerdict = 'accept' | 'ignore' | 'reject'

export interface HeaderGossipDeps {
  readonly pubsub: Pick<GossipSub, 'topicValidators' | 'subscribe' | 'unsubscribe' | 'publish' | 'getSubscribers'>
  readonly gossipIds: GossipIds
  /** Checks header and certificate, and takes what it accepts. Called once for each distinct message. */
  readonly admit: (bytes: Uint8Array) => HeaderVerdict | Promise<HeaderVerdict>
  /** Block id of a message that was accepted. */
  readonly idOf: (bytes: Uint8Array) => Uint8Array
  readonly log: Log
}

interface Judged {
  readonly verdict: HeaderVerdict
  readonly id: Uint8Array
}

export class HeaderGossip {
  readonly #deps: HeaderGossipDeps
  readonly #topic: string
  /** By the hash of the message, oldest first. */
  readonly #judged = new Map<string, Promise<Judged>>()
  /** Id of what this peer published last. */
  #published: Uint8Array | undefined

  constructor(deps: HeaderGossipDeps, options: { chain: string }) {
    this.#deps = deps
    this.#topic = headersTopic(options.chain)
  }

  start(): void {
    // Ids and validator first: no window in which an unchecked header is relayed.
    // The same block with another quorum's certificate: gossipsub drops it as one that it has, and no signature is looked at.
    this.#deps.gossipIds.set(this.#topic, async (bytes) => this.#publishedId(bytes) ?? (await this.#judge(bytes)).id)
    this.#deps.pubsub.topicValidators.set(this.#topic, async (_peer, message) => {
      return RESULT_OF[(await this.#judge(message.data)).verdict]
    })
    this.#deps.pubsub.subscribe(this.#topic)
  }

  stop(): void {
    this.#deps.pubsub.unsubscribe(this.#topic)
    this.#deps.pubsub.topicValidators.delete(this.#topic)
    this.#deps.gossipIds.delete(this.#topic)
    this.#judged.clear()
  }

  /** Peers known to listen on the topic. */
  listeners(): number {
    return this.#deps.pubsub.getSubscribers(this.#topic).length
  }

  /**
   * Sends a header that this peer holds for final. With nobody connected it goes nowhere, and that's no fault: whoever
   * comes later catches up.
   *
   * @returns how many peers it was handed to.
   * @throws {GossipError} `GOSSIP_TOO_LARGE`
   */
  async publish(bytes: Uint8Array): Promise<number> {
    if (bytes.length > FINAL_HEADER_BYTES_MAX) {
      throw new GossipError({ code: 'GOSSIP_TOO_LARGE', bytes: bytes.length, bytesMax: FINAL_HEADER_BYTES_MAX })
    }
    const id = this.#deps.idOf(bytes)
    this.#keep(hashOf(bytes).toString('base64'), Promise.resolve({ verdict: 'accept', id }))
    this.#published = id
    return (await this.#deps.pubsub.publish(this.#topic, bytes)).recipients.length
  }

  /** The id of the message, where it is about the block that was published last. */
  #publishedId(bytes: Uint8Array): Uint8Array | undefined {
    if (this.#published === undefined || bytes.length > FINAL_HEADER_BYTES_MAX) return undefined
    try {
      const id = this.#deps.idOf(bytes)
      return equals(id, this.#published) ? id : undefined
    } catch (error) {
      // No header: judged as any other.
      if (error instanceof CodecError) return undefined
      throw error
    }
  }

  #judge(bytes: Uint8Array): Promise<Judged> {
    const hash = hashOf(bytes)
    const key = hash.toString('base64')
    const known = this.#judged.get(key)
    if (known !== undefined) return known
    const judged = this.#admit(bytes, hash, key)
    this.#keep(key, judged)
    return judged
  }

  async #admit(bytes: Uint8Array, hash: Uint8Array, key: string): Promise<Judged> {
    if (bytes.length > FINAL_HEADER_BYTES_MAX) return { verdict: 'reject', id: hash }
    try {
      const verdict = await this.#deps.admit(bytes)
      if (verdict === 'accept') return { verdict, id: this.#deps.idOf(bytes) }
      if (verdict === 'ignore') this.#forgetLater(key)
      return { verdict, id: hash }
    } catch (error) {
      // Our bug: don't blame the peer. Logged here, since gossipsub swallows a validator's throw.
      this.#deps.log.error({ err: error }, 'the header validator failed')
      this.#forgetLater(key)
      return { verdict: 'ignore', id: hash }
    }
  }

  #keep(key: string, judged: Promise<Judged>): void {
    this.#judged.delete(key)
    this.#judged.set(key, judged)
    if (this.#judged.size <= GOSSIP_VERDICTS_MAX) return
    const oldest = this.#judged.keys().next()
    if (oldest.done !== true) this.#judged.delete(oldest.value)
  }

  #forgetLater(key: string): void {
    setTimeout(() => this.#judged.delete(key), GOSSIP_IGNORED_MS).unref()
  }
}

const RESULT_OF = {
  accept: TopicValidatorResult.Accept,
  ignore: TopicValidatorResult.Ignore,
  reject: TopicValidatorResult.Reject,
} as const satisfies Record<HeaderVerdict, TopicValidatorResult>

function hashOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}
