/** The production machines over a state in memory, without blocks: thousands of transactions a second, for tests of rules. */
import { base16 } from 'multiformats/bases/base16'
import { machines } from '../../../src/domain/machines.ts'
import { type Genesis, chainIdOf, encodeGenesis } from '../../../src/ledger/genesis.ts'
import { Registry } from '../../../src/ledger/machine.ts'
import type { ListOptions, StateChange, StateEntry, StateReader } from '../../../src/ledger/state.ts'
import { decodeStateValue, encodeStateValue } from '../../../src/ledger/state.ts'
import { type DraftTx, type SignedTx, signTx, txBodyOf } from '../../../src/ledger/transaction.ts'
import { HOUR_MS, type Person } from '../ledger/network.ts'

export class MemoryLedger {
  readonly chain: ReturnType<typeof chainIdOf>
  nowMs: number
  height = 1
  readonly #registry = new Registry(machines)
  readonly #state = new Map<string, { readonly key: Uint8Array; readonly bytes: Uint8Array }>()
  #seq = 0

  constructor(genesis: Genesis) {
    this.chain = chainIdOf(encodeGenesis(genesis))
    this.nowMs = genesis.timeMs + 1
    this.#apply(machines.flatMap((machine) => machine.genesis?.(genesis) ?? []))
  }

  readonly reader: StateReader = {
    get: async (namespace, key) => {
      const found = this.#state.get(nameOf(namespace, key))
      return found === undefined ? undefined : decodeStateValue(found.bytes).value
    },
    list: (namespace, prefix, options) => this.#list(namespace, prefix, options),
  }

  sign(by: Person, draft: DraftTx): Promise<SignedTx> {
    this.#seq++
    const at = { chain: this.chain, org: by.org, account: by.id, seq: this.#seq, expiresMs: this.nowMs + HOUR_MS }
    return signTx(txBodyOf(draft, at), [by.signer])
  }

  /** A transaction in a block of its own. @returns `ok`, or the code of the fault. */
  async send(by: Person, draft: DraftTx): Promise<string> {
    return this.take(await this.sign(by, draft))
  }

  async take(tx: SignedTx): Promise<string> {
    const { type } = tx.body
    const parent = new Uint8Array(32).fill(this.height)
    const block = { chain: this.chain, height: this.height, parent, timeMs: this.nowMs }
    this.height++
    const step = await this.#registry.type(type)?.apply(this.reader, tx, block)
    if (step === undefined) throw new Error(`no type ${type}`)
    if (!step.ok) return step.fault.code
    this.#registry.checkNamespaces(type, step.changes)
    this.#apply(step.changes)
    return 'ok'
  }

  #apply(changes: readonly StateChange[]): void {
    for (const { key, namespace, value } of changes) {
      const name = nameOf(namespace, key)
      if (value === undefined) this.#state.delete(name)
      else this.#state.set(name, { key, bytes: encodeStateValue({ version: this.height, value }) })
    }
  }

  async *#list(
    namespace: string,
    prefix: Uint8Array,
    { limit = Infinity }: ListOptions = {},
  ): AsyncGenerator<StateEntry> {
    const start = nameOf(namespace, prefix)
    const names = [...this.#state.keys()].filter((name) => name.startsWith(start)).toSorted()
    for (const name of names.slice(0, limit)) {
      const found = this.#state.get(name)
      if (found !== undefined) yield { key: found.key, ...decodeStateValue(found.bytes) }
    }
  }
}

const nameOf = (namespace: string, key: Uint8Array): string => `${namespace} ${base16.baseEncode(key)}`
