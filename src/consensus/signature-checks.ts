/** Checks signatures of votes and certificates, off the main thread where the port can; see `verifyMany`. */
import { CONSENSUS_CHECKED_TOGETHER } from '../core/limits.ts'
import type { SignatureCheck } from '../crypto/signatures.ts'
import { type Certificate, certificateShapeFault, signersOf } from '../ledger/certificate.ts'
import type { ValidatorSet } from '../ledger/validators.ts'
import { type Ballot, type Evidence, type Vote, ballotBytes } from '../ledger/vote.ts'
import type { ReplicaDeps } from './replica-ports.ts'

export class SignatureChecks {
  readonly #deps: Pick<ReplicaDeps, 'chain' | 'verify'>

  constructor(deps: Pick<ReplicaDeps, 'chain' | 'verify'>) {
    this.#deps = deps
  }

  /** @returns the signers of these votes for one ballot, by whether their signature holds. */
  async votes(
    set: ValidatorSet,
    ballot: Ballot,
    votes: readonly Vote[],
  ): Promise<{ readonly good: number[]; readonly bad: number[] }> {
    const verdicts = await this.#deps.verify(votes.map((vote) => this.#voteCheck(set, vote, ballotBytes(ballot))))
    const signersWhere = (verdict: boolean): number[] =>
      votes.filter((_vote, index) => verdicts[index] === verdict).map(({ signer }) => signer)
    return { good: signersWhere(true), bad: signersWhere(false) }
  }

  /** Checks certificates a few at a time, and none behind the first that doesn't hold. @returns how many don't: 0 or 1 */
  async certificates(
    certificates: readonly Certificate[],
  ): Promise<{ readonly good: readonly Certificate[]; readonly bad: number }> {
    const good: Certificate[] = []
    let checks: SignatureCheck[] = []
    let together: Certificate[] = []
    for (const [index, certificate] of certificates.entries()) {
      const more = this.#certificateChecks(certificate)
      if (more === undefined) return { good, bad: 1 }
      checks.push(...more)
      together.push(certificate)
      if (checks.length < CONSENSUS_CHECKED_TOGETHER && index < certificates.length - 1) continue
      if (!(await this.#deps.verify(checks)).every(Boolean)) return { good, bad: 1 }
      good.push(...together)
      checks = []
      together = []
    }
    return { good, bad: 0 }
  }

  /** Whether both votes are signed. */
  async evidence(set: ValidatorSet, { first, second }: Evidence): Promise<boolean> {
    const verdicts = await this.#deps.verify(
      [first, second].map((vote) => this.#voteCheck(set, vote, ballotBytes(vote))),
    )
    return verdicts.every(Boolean)
  }

  #voteCheck(set: ValidatorSet, vote: Vote, message: Uint8Array): SignatureCheck {
    const publicKey = set.validators[vote.signer]?.key ?? new Uint8Array(0)
    return { publicKey, signature: vote.sig, type: vote.kind, chain: this.#deps.chain.id, message }
  }

  /** @returns what must be verified of a certificate, or `undefined` where it is none. */
  #certificateChecks(certificate: Certificate): SignatureCheck[] | undefined {
    const { chain } = this.#deps
    const set = chain.validators(certificate.epoch)
    if (set === undefined || certificateShapeFault(certificate, set) !== undefined) return undefined
    const message = ballotBytes(certificate)
    return signersOf(certificate.signers).map((signer, index) => ({
      publicKey: set.validators[signer]?.key ?? new Uint8Array(0),
      signature: certificate.sigs[index] ?? new Uint8Array(0),
      type: certificate.kind,
      chain: chain.id,
      message,
    }))
  }
}
