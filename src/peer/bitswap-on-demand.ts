/**
 * Bitswap, from the moment that somebody is there who needs it. Our own peers speak `/apotheca/blocks/1`; a member that doesn't is
 * another IPFS program, and for it Helia is loaded: 60 MB of memory and half a second that a peer without such guests is spared.
 *
 * @see docs/decisions/0043-bitswap-on-demand.md
 */
import type { IdentifyResult } from '@libp2p/interface'
import type { Log } from '../core/ports.ts'
import type { FindHolders, MemberHelia } from '../p2p/helia-node.ts'
import type { P2pHost } from '../p2p/host.ts'
import { BLOCKS_PROTOCOL } from '../p2p/protocols.ts'
import type { Blocks } from '../store/blocks.ts'
import { HeliaBlockstore } from '../store/helia-blockstore.ts'
import type { ExtentDirectory } from './extent-directory.ts'

export interface BitswapOnDemandDeps {
  readonly host: P2pHost
  readonly store: Blocks
  readonly directory: Pick<ExtentDirectory, 'holdersOf'>
  readonly log: Log
  /** Called when Helia can't be started: a broken installation. */
  readonly onFailure: (error: unknown) => void
}

export class BitswapOnDemand {
  readonly #deps: BitswapOnDemandDeps
  #helia: Promise<MemberHelia | undefined> | undefined

  constructor(deps: BitswapOnDemandDeps) {
    this.#deps = deps
  }

  start(): void {
    this.#deps.host.addEventListener('peer:identify', this.#onIdentify)
  }

  async stop(): Promise<void> {
    this.#deps.host.removeEventListener('peer:identify', this.#onIdentify)
    await (await this.#helia)?.stop()
  }

  readonly #onIdentify = (event: CustomEvent<IdentifyResult>): void => {
    if (event.detail.protocols.includes(BLOCKS_PROTOCOL)) return
    this.#helia ??= this.#load()
  }

  async #load(): Promise<MemberHelia | undefined> {
    const { directory, host, log, onFailure, store } = this.#deps
    try {
      const { startHelia } = await import('../p2p/helia-node.ts')
      const findHolders: FindHolders = async (cid, signal) => directory.holdersOf(cid, signal)
      return await startHelia({ host, blockstore: new HeliaBlockstore(store), findHolders, log })
    } catch (error) {
      onFailure(error)
      return undefined
    }
  }
}
