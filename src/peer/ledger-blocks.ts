/** The ledger's own blocks in the block store: headers and bodies, which others fetch from here by CID. They always stay. */
import { setImmediate as pause } from 'node:timers/promises'
import { COLLECT_SLICE_BLOCKS } from '../core/limits.ts'
import type { Chain } from '../ledger/chain.ts'
import { DigestSet } from '../shards/digest-set.ts'

export class LedgerBlocks {
  readonly #chain: Pick<Chain, 'head' | 'reader'>
  /** Headers once read aren't read again: blocks only come. */
  readonly digests = new DigestSet()
  #height = 0

  constructor(chain: Pick<Chain, 'head' | 'reader'>) {
    this.#chain = chain
  }

  /** Finds those that are new. @throws the signal's reason */
  async look(signal: AbortSignal): Promise<void> {
    const { head, reader } = this.#chain
    while (this.#height < head.height) {
      const final = await reader.plainHeaderAt(this.#height + 1)
      // Of a ledger that was taken over, the oldest headers may be missing: their blocks were never here.
      if (final !== undefined) {
        this.digests.add(final.id.multihash.digest)
        this.digests.add(final.header.body.multihash.digest)
      }
      this.#height++
      if (this.#height % COLLECT_SLICE_BLOCKS !== 0) continue
      signal.throwIfAborted()
      await pause()
    }
  }
}
