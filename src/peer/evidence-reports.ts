/** Reports validators that made two votes which exclude each other: once each, in the name of this institution's account. */
import type { Log } from '../core/ports.ts'
import { TX_LIFETIME_MS } from '../core/limits.ts'
import { faultOf } from '../core/coded-error.ts'
import { draftEvidenceSubmit } from '../domain/evidence.ts'
import type { Chain } from '../ledger/chain.ts'
import { signTx, txBodyOf } from '../ledger/transaction.ts'
import type { Evidence } from '../ledger/vote.ts'
import type { InstitutionId } from '../core/ids.ts'
import type { Identity } from './identity.ts'
import type { LedgerNode } from './ledger-node.ts'

export interface EvidenceReportsDeps {
  readonly chain: Chain
  readonly node: LedgerNode
  readonly account: Identity['account']
  readonly institution: InstitutionId
  readonly log: Log
}

export class EvidenceReports {
  readonly #deps: EvidenceReportsDeps
  /** By epoch and signer: one proof against a key is enough. */
  readonly #reported = new Set<string>()
  #turn: Promise<void> = Promise.resolve()

  constructor(deps: EvidenceReportsDeps) {
    this.#deps = deps
  }

  /** @param evidence - its signatures are checked. */
  report(evidence: Evidence): void {
    const { epoch, signer } = evidence.first
    const key = `${epoch} ${signer}`
    if (this.#reported.has(key)) return
    this.#reported.add(key)
    // One after the other: each takes the next `seq` of the account.
    this.#turn = this.#turn.then(async () => this.#submit(evidence))
  }

  async #submit(evidence: Evidence): Promise<void> {
    const { account, chain, institution: org, log, node } = this.#deps
    const draft = draftEvidenceSubmit(evidence)
    try {
      const seq = await chain.nextSeq(account.id, draft.lane)
      const expiresMs = chain.head.timeMs + TX_LIFETIME_MS
      const body = txBodyOf(draft, { chain: chain.id, org, account: account.id, seq, expiresMs })
      const { bytes } = await signTx(body, [account.signer])
      await node.submit(bytes)
    } catch (error) {
      // Others have seen the same votes, and report them too.
      log.warn({ err: error, fault: faultOf(error) }, 'evidence against a validator was not taken')
    }
  }
}
