/**
 * Blocks that somebody is about to write, or to rely on, told before that happens. What they belong to may be said later; until then, and
 * for `freshMs` at least, the collector leaves them. It is asked in the very step in which a block goes: who relies on a block has said so
 * before he looks whether it is here.
 */
import { DigestSet } from '../shards/digest-set.ts'

export class RecentBlocks {
  readonly #freshMs: number
  #before = new DigestSet()
  #now = new DigestSet()
  #sinceMs = performance.now()
  #round = new DigestSet()

  constructor(freshMs: number) {
    this.#freshMs = freshMs
  }

  note(digests: readonly Uint8Array[]): void {
    for (const digest of digests) {
      this.#now.add(digest)
      this.#round.add(digest)
    }
  }

  has(digest: Uint8Array): boolean {
    return this.#now.has(digest) || this.#before.has(digest)
  }

  /** A round begins: what is noted from now on may be missing in its view. */
  beginRound(): void {
    this.#round = new DigestSet()
  }

  isOfRound(digest: Uint8Array): boolean {
    return this.#round.has(digest)
  }

  /** A round has seen all of it, and taken away the marks of earlier ones: what is old enough is forgotten. */
  endRound(): void {
    const nowMs = performance.now()
    if (nowMs - this.#sinceMs < this.#freshMs) return
    this.#before = this.#now
    this.#now = new DigestSet()
    this.#sinceMs = nowMs
  }
}
