/**
 * Clients that go on submitting whatever happens to the daemons: each waits until its transaction is final, asks another daemon when
 * one doesn't answer, and writes down what it was told.
 */
import type { DaemonNetwork, DaemonPeer } from '../../scripts/daemon-network.ts'
import { ApiConnection, Author, registerAuthor } from '../../scripts/ledger-client.ts'
import type { ChainId } from '../../src/core/ids.ts'
import type { SignedTx } from '../../src/ledger/transaction.ts'
import type { Acknowledged } from './ledger-checker.ts'

const SUBMIT_MS = 2_000
const WAIT_MS = 2_000
const PAUSE_MS = 50

export class LedgerClients implements AsyncDisposable {
  readonly acknowledged: Acknowledged[] = []
  readonly #network: DaemonNetwork
  readonly #running: Promise<void>[] = []
  readonly #stopping = new AbortController()
  /** The daemons are going: nothing is waited for any more. */
  #givenUp = false

  private constructor(network: DaemonNetwork) {
    this.#network = network
  }

  /** @param count - of clients; each has an account at one of the institutions, in turn. */
  static async start(network: DaemonNetwork, count: number): Promise<LedgerClients> {
    const clients = new LedgerClients(network)
    for (let index = 0; index < count; index++) {
      const home = network.peer(index % network.peers.length)
      const { chain } = await home.get<{ chain: ChainId }>('/ledger/head')
      const author = await Author.make({ institution: home.id, chain })
      const connection = new ApiConnection(await home.api())
      await registerAuthor(connection, author)
      connection.close()
      clients.#running.push(clients.#run(author, index))
    }
    return clients
  }

  /** Settles when each client's last transaction is final. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all(this.#running)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#givenUp = true
    await this.stop()
  }

  async #run(author: Author, index: number): Promise<void> {
    const { peers } = this.#network
    for (let turn = index; !this.#stopping.signal.aborted; ) {
      const tx = await author.signRecord()
      while (!this.#givenUp) {
        const peer = peers[turn % peers.length]
        const final = peer === undefined ? undefined : await tryAt(peer, tx)
        if (final !== undefined) {
          this.acknowledged.push(final)
          break
        }
        turn++
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
      }
    }
  }
}

/** @returns what the daemon says; `undefined` where it is down, stopped, or can't make it final. */
async function tryAt(peer: DaemonPeer, tx: SignedTx): Promise<Acknowledged | undefined> {
  let connection: ApiConnection | undefined
  try {
    connection = new ApiConnection(await peer.api())
    await connection.submit(tx, { timeoutMs: SUBMIT_MS })
    const final = await connection.waitFinal(tx.id, WAIT_MS)
    return final === undefined ? undefined : { tx: final.tx, height: final.height, ok: final.receipt.ok }
  } catch {
    // Whatever went wrong with this daemon is what the test does to it; another one must answer.
    return undefined
  } finally {
    connection?.close()
  }
}
