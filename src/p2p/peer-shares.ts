/**
 * What each member takes of something that all members share. A member may have several connections at once, so what is
 * bounded per connection is not bounded: shares go by peer id.
 */
export class PeerShares<Share> {
  readonly #streamsMax: number
  readonly #newShare: () => Share
  readonly #shares = new Map<string, { readonly share: Share; streams: number }>()

  constructor(streamsMax: number, newShare: () => Share) {
    this.#streamsMax = streamsMax
    this.#newShare = newShare
  }

  /** Counts one more stream of a peer. @returns `undefined`: it has as many as it may, and this one is not counted */
  enter(peer: string): Share | undefined {
    const entry = this.#shares.get(peer) ?? { share: this.#newShare(), streams: 0 }
    if (entry.streams >= this.#streamsMax) return undefined
    entry.streams++
    this.#shares.set(peer, entry)
    return entry.share
  }

  /** A stream that was counted has ended; with the last one the share is forgotten. */
  leave(peer: string): void {
    const entry = this.#shares.get(peer)
    if (entry === undefined) return
    entry.streams--
    if (entry.streams === 0) this.#shares.delete(peer)
  }

  /** Of every peer that has a stream. */
  *all(): Generator<Share> {
    for (const { share } of this.#shares.values()) yield share
  }
}
