/**
 * Message ids of gossip, by topic. Gossipsub takes one id function for all topics and takes it when the host is made;
 * topics come later, so each one that wants ids of its own registers here.
 */
import { createHash } from 'node:crypto'

/** The id of a message on one topic; must not throw, since the bytes are a stranger's. */
export type MessageId = (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>

export class GossipIds {
  readonly #byTopic = new Map<string, MessageId>()

  set(topic: string, id: MessageId): void {
    this.#byTopic.set(topic, id)
  }

  delete(topic: string): void {
    this.#byTopic.delete(topic)
  }

  /** Where a topic names no id, it is the hash of topic and bytes. */
  idOf(topic: string, bytes: Uint8Array): Uint8Array | Promise<Uint8Array> {
    const id = this.#byTopic.get(topic)
    return id === undefined ? createHash('sha256').update(topic).update('\0').update(bytes).digest() : id(bytes)
  }
}
