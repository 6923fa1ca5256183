/** Reports validators that made two votes which exclude each other: once each, in the name of this institution's account. */
import type { Log } from '../core/ports.ts'
import { faultOf } from '../core/coded-error.ts'
import { draftEvidenceSubmit } from '../domain/evidence.ts'
import type { Evidence } from '../ledger/vote.ts'
import type { InstitutionAccount } from './institution-account.ts'

export interface EvidenceReportsDeps {
  readonly account: Pick<InstitutionAccount, 'submit'>
  readonly log: Log
}

export class EvidenceReports {
  readonly #deps: EvidenceReportsDeps
  /** By epoch and signer: one proof against a key is enough. */
  readonly #reported = new Set<string>()
  readonly #stopped = new AbortController()

  constructor(deps: EvidenceReportsDeps) {
    this.#deps = deps
  }

  /** @param evidence - its signatures are checked. */
  report(evidence: Evidence): void {
    const { epoch, signer } = evidence.first
    const key = `${epoch} ${signer}`
    if (this.#reported.has(key)) return
    this.#reported.add(key)
    void this.#submit(evidence)
  }

  stop(): void {
    this.#stopped.abort()
  }

  async #submit(evidence: Evidence): Promise<void> {
    const { account, log } = this.#deps
    try {
      await account.submit(draftEvidenceSubmit(evidence), this.#stopped.signal)
    } catch (error) {
      // Others have seen the same votes, and report them too.
      if (!this.#stopped.signal.aborted) {
        log.warn({ err: error, fault: faultOf(error) }, 'evidence against a validator was not taken')
      }
    }
  }
}
