/** Who may connect: the members' peers, as the ledger has them after its newest final block. */
import type { InstitutionId } from '../core/ids.ts'
import type { Log } from '../core/ports.ts'
import { listMemberPeers } from '../domain/accounts.ts'
import { membersChangedAt } from '../domain/validator-sets.ts'
import type { Chain } from '../ledger/chain.ts'

export interface MemberSetDeps {
  readonly chain: Pick<Chain, 'genesis' | 'reader' | 'onBlock'>
  readonly log: Log
}

export class MemberSet {
  readonly #deps: MemberSetDeps
  readonly #listeners = new Set<() => void>()
  #institutions: ReadonlyMap<string, InstitutionId> = new Map()
  #peers: ReadonlySet<string> = new Set()
  #changedAt = -1
  #stopListening: (() => void) | undefined
  #reading: Promise<void> = Promise.resolve()

  private constructor(deps: MemberSetDeps) {
    this.#deps = deps
  }

  static async open(deps: MemberSetDeps): Promise<MemberSet> {
    const set = new MemberSet(deps)
    await set.#read()
    set.#stopListening = deps.chain.onBlock(() => {
      set.#reading = set.#reading
        .then(async () => set.#read())
        // The set as it was stays in force; the next block has it read again.
        .catch((error: unknown) => deps.log.error({ err: error }, 'the members could not be read from the ledger'))
    })
    return set
  }

  /** Peer ids of all members. */
  get peers(): ReadonlySet<string> {
    return this.#peers
  }

  /** Institution by peer id. */
  get institutions(): ReadonlyMap<string, InstitutionId> {
    return this.#institutions
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener)
  }

  async stop(): Promise<void> {
    this.#stopListening?.()
    this.#listeners.clear()
    await this.#reading
  }

  async #read(): Promise<void> {
    const { log, chain } = this.#deps
    const changedAt = await membersChangedAt(chain.reader)
    if (changedAt === this.#changedAt) return
    const institutions = new Map<string, InstitutionId>()
    for await (const { institution, peer } of listMemberPeers(chain.reader)) institutions.set(peer, institution)
    // No ledger is without members: one that has lost them is mended by those that the genesis names.
    if (institutions.size === 0)
      for (const { id, peers } of chain.genesis.institutions) for (const peer of peers) institutions.set(peer, id)
    this.#institutions = institutions
    this.#peers = new Set(institutions.keys())
    const isFirst = this.#changedAt === -1
    this.#changedAt = changedAt
    if (isFirst) return
    log.info({ height: changedAt, peers: institutions.size }, 'the members changed')
    for (const listener of this.#listeners) listener()
  }
}
