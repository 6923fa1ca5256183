/** Where one column of an extent goes: to a member over the network, or into this peer's own store. */
import type { ShardReceipt } from '../domain/shard-receipt.ts'
import type { ShardPush } from '../p2p/shard-push.ts'
import type { ReceivedBlock, ReservedColumn } from '../p2p/shard-server.ts'

/** What `ShardPush` and `LocalColumn` have in common. */
export interface ColumnSink extends Pick<ShardPush, 'held' | 'push' | 'finish' | 'close'> {
  /** Why nothing more can be pushed; `undefined`: it can. */
  readonly loss: Error | undefined
  silentMs(nowMs: number): number
  excuse(nowMs: number): void
  giveUpSilent(silentMs: number): void
}

/** This peer's own column: taken by the same rules as from anyone, and without a network. */
export class LocalColumn implements ColumnSink {
  readonly #column: ReservedColumn
  #turn: Promise<boolean> = Promise.resolve(true)
  #loss: Error | undefined

  constructor(column: ReservedColumn) {
    this.#column = column
  }

  get held(): Uint8Array {
    return this.#column.held
  }

  get loss(): Error | undefined {
    return this.#loss
  }

  push(block: ReceivedBlock): Promise<boolean> {
    this.#turn = this.#turn.then(async () => this.#store(block))
    return this.#turn
  }

  async finish(map: Uint8Array): Promise<ShardReceipt> {
    await this.#turn
    if (this.#loss !== undefined) throw this.#loss
    try {
      return await this.#column.finish(map)
    } finally {
      this.close('it is done')
    }
  }

  close(reason: string): void {
    if (this.#loss !== undefined) return
    this.#loss = new Error(reason)
    this.#column.end()
  }

  /** A disk that hangs holds up everything here; there is nobody to wait for it in its place. */
  silentMs(): number {
    return 0
  }

  excuse(): void {}

  giveUpSilent(): void {
    this.close('the own store is silent')
  }

  async #store(block: ReceivedBlock): Promise<boolean> {
    if (this.#loss !== undefined) return false
    try {
      await this.#column.store([block])
      return true
    } catch (error) {
      this.close('the own store refused')
      this.#loss = error instanceof Error ? error : new Error(String(error))
      return false
    }
  }
}
