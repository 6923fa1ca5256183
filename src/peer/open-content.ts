/** Reading, put together: by the ledger from those who hold shards, else from whoever has a block. */
import type { Clock, Log } from '../core/ports.ts'
import type { Chain } from '../ledger/chain.ts'
import { BlockFetcher } from '../p2p/block-fetcher.ts'
import type { P2pHost } from '../p2p/host.ts'
import type { Blocks } from '../store/blocks.ts'
import { ContentService } from './content.ts'
import { CopyReader } from './copy-reader.ts'
import { ExtentDirectory } from './extent-directory.ts'
import { ExtentReader } from './extent-reader.ts'
import type { LedgerArrival } from './ledger-arrival.ts'
import { PeerHistory } from './peer-history.ts'

export interface OpenContentDeps {
  readonly chain: Chain
  readonly arrival: LedgerArrival
  readonly host: P2pHost
  readonly store: Blocks
  /** This peer's own id. */
  readonly self: string
  readonly claim: (digests: readonly Uint8Array[]) => void
  readonly clock: Clock
  readonly log: Log
}

/** @param closers - gets what stops it. */
export function openContent(
  deps: OpenContentDeps,
  closers: (() => Promise<void>)[],
): { readonly content: ContentService; readonly directory: ExtentDirectory; readonly history: PeerHistory } {
  const { arrival, chain, claim, clock, host, log, self, store } = deps
  const history = new PeerHistory({ host, clock })
  history.start()
  closers.push(async () => history.stop())
  const fetcher = new BlockFetcher({ host, log })
  const copies = new CopyReader({ store, fetcher, history, self })
  const directory = new ExtentDirectory({ state: () => chain.reader, copies })
  const extents = new ExtentReader({ store, fetcher, history, log, self })
  return {
    content: new ContentService({ store, fetcher, directory, arrival, extents, copies, history, claim }),
    directory,
    history,
  }
}
