/**
 * Which blocks came here with something that isn't finished yet, and with nothing else: an upload, or a CAR that is being
 * taken in. They go when it is given up. Whatever else brings, keeps or commits a block takes it off this list first.
 */
import { toString } from 'uint8arrays/to-string'
import type { Blocks, RemoveCapability } from '../store/blocks.ts'
import type { RecentBlocks } from './recent-blocks.ts'

/** What one unfinished thing brought. */
export class FreshOwner {
  readonly digests = new Map<string, Uint8Array>()
}

export class FreshBlocks {
  readonly #store: Blocks
  readonly #capability: RemoveCapability
  readonly #recent: RecentBlocks
  readonly #owners = new Map<string, FreshOwner>()

  /** @param deps.recent - told of every block that passes here. */
  constructor(deps: { readonly store: Blocks; readonly capability: RemoveCapability; readonly recent: RecentBlocks }) {
    this.#store = deps.store
    this.#capability = deps.capability
    this.#recent = deps.recent
  }

  /** Notes which of these blocks the owner is the first to bring; called before they are written. */
  claim(owner: FreshOwner, digests: readonly Uint8Array[]): void {
    this.#recent.note(digests)
    for (const digest of digests) {
      const key = keyOf(digest)
      const other = this.#owners.get(key)
      if (other !== undefined && other !== owner) {
        // Another unfinished thing brought this very block: from now on neither may remove it.
        this.release([digest])
      } else if (!this.#store.has(digest)) {
        owner.digests.set(key, digest)
        this.#owners.set(key, owner)
      }
    }
  }

  /** These blocks have come here another way too, or are relied on: they stay. Called before they are written. */
  release(digests: readonly Uint8Array[]): void {
    this.#recent.note(digests)
    for (const digest of digests) {
      const key = keyOf(digest)
      this.#owners.get(key)?.digests.delete(key)
      this.#owners.delete(key)
    }
  }

  /** Blocks of what isn't finished. */
  *digests(): Generator<Uint8Array> {
    const owners = new Set(this.#owners.values())
    for (const owner of owners) yield* owner.digests.values()
  }

  /** The owner is finished: its blocks stay. */
  keep(owner: FreshOwner): void {
    for (const key of owner.digests.keys()) this.#owners.delete(key)
    owner.digests.clear()
  }

  /** The owner is given up: removes what only it brought. */
  async remove(owner: FreshOwner): Promise<void> {
    for (const [key, digest] of [...owner.digests]) {
      // Meanwhile somebody else may have come to rely on it.
      if (!owner.digests.delete(key)) continue
      this.#owners.delete(key)
      await this.#store.remove(digest, this.#capability)
    }
  }
}

function keyOf(digest: Uint8Array): string {
  return toString(digest, 'base64')
}
