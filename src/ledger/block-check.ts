/**
 * Checks of a block, in the order of their cost; each is pure and returns the first fault. What a block does to the state is
 * checked by executing it, in `chain.ts`.
 *
 * A header alone, without its parent and its body, can be checked as far as its certificate goes: enough for gossip, since
 * what a quorum made final needs no more proof.
 *
 * @see docs/spec/header.md, body.md
 */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { CodedError } from '../core/coded-error.ts'
import type { ChainId } from '../core/ids.ts'
import { BLOCK_TIME_AHEAD_MS_MAX } from '../core/limits.ts'
import { type Justification, bodyCid, txRootOf } from './block-body.ts'
import { type Certificate, checkCertificate, encodeCertificate } from './certificate.ts'
import { chainIdOfLink, isLinkOf } from './fields.ts'
import type { FinalHeader, Header } from './header.ts'
import { type ValidatorSet, leaderOf, sameValidators } from './validators.ts'

export type HeaderFault =
  | { code: 'HEADER_MALFORMED'; problem: string }
  | { code: 'HEADER_WRONG_CHAIN'; chain: string }
  | { code: 'HEADER_KNOWN'; height: number }
  | { code: 'HEADER_FORK'; height: number; block: string; known: string }
  | { code: 'HEADER_EPOCH_UNKNOWN'; epoch: number }
  | { code: 'HEADER_EPOCH_WRONG'; epoch: number; expected: number }
  | { code: 'HEADER_EPOCH_NOT_FINAL'; epoch: number; parent: string }
  | { code: 'HEADER_PARENT_UNKNOWN'; parent: string; height: number }
  | { code: 'HEADER_HEIGHT_WRONG'; height: number; expected: number }
  | { code: 'HEADER_VIEW_WRONG'; view: number; parentView: number }
  | { code: 'HEADER_TIME_NOT_LATER'; timeMs: number; parentTimeMs: number }
  | { code: 'HEADER_TIME_AHEAD'; timeMs: number; latestMs: number }
  | { code: 'HEADER_PROPOSER_WRONG'; proposer: string; leader: string }
  | { code: 'HEADER_HISTORY_ROOT_WRONG'; height: number }
  | { code: 'HEADER_LAYOUT_WRONG'; layoutVersion: number; expected: number }
  | { code: 'HEADER_NEXT_VALIDATORS_WRONG'; height: number }
  | { code: 'HEADER_CERTIFICATE_INVALID'; problem: string }
export class HeaderError extends CodedError<HeaderFault> {}

export type BlockFault =
  | { code: 'BODY_MALFORMED'; problem: string }
  | { code: 'BODY_CID_WRONG'; body: string; expected: string }
  | { code: 'BODY_TX_ROOT_WRONG'; height: number }
  | { code: 'BODY_JUSTIFICATION_INVALID'; problem: string }
  | { code: 'BLOCK_LANE_ORDER_WRONG'; height: number; index: number }
  | { code: 'BLOCK_TX_INADMISSIBLE'; index: number; problem: string }
  | { code: 'BLOCK_STATE_ROOT_WRONG'; height: number }
  | { code: 'BLOCK_RECEIPTS_ROOT_WRONG'; height: number }
export class BlockError extends CodedError<BlockFault> {}

/** A block that is final or may become it, or the genesis, as the next block sees it. */
export interface Head {
  /** 0: the genesis. */
  readonly height: number
  /** CID of the header; of the genesis at height 0. */
  readonly id: CID
  readonly view: number
  readonly timeMs: number
  readonly stateRoot: Uint8Array
  /** Epoch of the next block. */
  readonly nextEpoch: number
  /** Whether the block is the last of its epoch. */
  readonly endsEpoch: boolean
}

/** What a header on this head must say beside what it does. */
export interface Expected {
  readonly historyRoot: Uint8Array
  readonly layoutVersion: number
  /** Validators of the next epoch, where this block ends one. */
  readonly nextValidators: ValidatorSet['validators'] | undefined
}

/** Time is checked apart from all else: a header too early for a slow clock is right later. */
export function timeFault(header: Header, nowMs: number): HeaderFault | undefined {
  const latestMs = nowMs + BLOCK_TIME_AHEAD_MS_MAX
  return header.timeMs > latestMs ? { code: 'HEADER_TIME_AHEAD', timeMs: header.timeMs, latestMs } : undefined
}

/** What can be said of a header by its epoch's validators alone, its certificate left aside. */
export function leaderFault(
  header: Pick<Header, 'parentView' | 'proposer' | 'view'>,
  set: ValidatorSet,
): HeaderFault | undefined {
  const leader = set.validators[leaderOf(set, header.view)]?.institution ?? ''
  if (header.proposer !== leader) return { code: 'HEADER_PROPOSER_WRONG', proposer: header.proposer, leader }
  if (header.view <= header.parentView) {
    return { code: 'HEADER_VIEW_WRONG', view: header.view, parentView: header.parentView }
  }
  return undefined
}

/**
 * What can be said of a certified header by its epoch's validators alone.
 *
 * @param kind - of the certificate: only `finalize` makes a block final.
 */
export function finalityFault(
  final: FinalHeader,
  chain: ChainId,
  set: ValidatorSet,
  kind: 'finalize' | 'notarize' = 'finalize',
): HeaderFault | undefined {
  const { certificate, header, id } = final
  const early = leaderFault(header, set)
  if (early !== undefined) return early
  const other = ballotFault(certificate, id, header, kind)
  if (other !== undefined) return other
  const problem = checkCertificate(certificate, chain, set)?.code
  return problem === undefined ? undefined : { code: 'HEADER_CERTIFICATE_INVALID', problem }
}

/** Whether a certificate is one of this kind for this block, its signatures left aside. */
export function ballotFault(
  certificate: Certificate,
  id: CID,
  header: Header,
  kind: 'finalize' | 'notarize',
): HeaderFault | undefined {
  const problem = isBallotOf(certificate, id, header) ? `not a ${kind} certificate` : 'of another block'
  return isBallotOf(certificate, id, header) && certificate.kind === kind
    ? undefined
    : { code: 'HEADER_CERTIFICATE_INVALID', problem }
}

/** Whether the header may follow this head. */
export function placeFault(header: Header, head: Head, expected: Expected): HeaderFault | undefined {
  const { height } = header
  const parent = header.parent.toString()
  if (parent !== head.id.toString()) return { code: 'HEADER_PARENT_UNKNOWN', parent, height }
  if (height !== head.height + 1) return { code: 'HEADER_HEIGHT_WRONG', height, expected: head.height + 1 }
  if (header.epoch !== head.nextEpoch) {
    return { code: 'HEADER_EPOCH_WRONG', epoch: header.epoch, expected: head.nextEpoch }
  }
  if (header.parentView !== head.view || header.view <= head.view) {
    return { code: 'HEADER_VIEW_WRONG', view: header.view, parentView: header.parentView }
  }
  if (header.timeMs <= head.timeMs) {
    return { code: 'HEADER_TIME_NOT_LATER', timeMs: header.timeMs, parentTimeMs: head.timeMs }
  }
  if (!equals(header.historyRoot, expected.historyRoot)) return { code: 'HEADER_HISTORY_ROOT_WRONG', height }
  const { layoutVersion } = header
  if (layoutVersion !== expected.layoutVersion) {
    return { code: 'HEADER_LAYOUT_WRONG', layoutVersion, expected: expected.layoutVersion }
  }
  const isSameEnd = (header.nextValidators === undefined) === (expected.nextValidators === undefined)
  if (!isSameEnd || !sameValidators(header.nextValidators ?? [], expected.nextValidators ?? [])) {
    return { code: 'HEADER_NEXT_VALIDATORS_WRONG', height }
  }
  return undefined
}

/**
 * Whether these bytes are the body that the header names, with the transactions it commits to.
 *
 * @param leaves - of its envelopes, from `leafHash`.
 */
export function bodyFault(header: Header, bytes: Uint8Array, leaves: readonly Uint8Array[]): BlockFault | undefined {
  const { height } = header
  const given = bodyCid(bytes).toString()
  const expected = header.body.toString()
  if (given !== expected) return { code: 'BODY_CID_WRONG', body: given, expected }
  if (!equals(txRootOf(leaves), header.txRoot)) return { code: 'BODY_TX_ROOT_WRONG', height }
  return undefined
}

/**
 * Whether the block's place is justified: its parent is certified, and every view between was nullified.
 *
 * The block that begins an epoch is justified by a finalize certificate of the block that ended the one before, in whatever view
 * that was formed: only a final block may hand over to other validators. All others by a certificate of their parent's view.
 *
 * @param known.parent - what the block follows.
 * @param known.parentCertificate - bytes of the parent's certificate, if it was checked already: the same one isn't again.
 * @param known.setOf - validators of an epoch. @default signatures are not checked: the caller did
 */
export function justificationFault(
  header: Header,
  justify: Justification,
  chain: ChainId,
  known: {
    readonly parent: Head
    readonly parentCertificate?: Uint8Array | undefined
    readonly setOf?: (epoch: number) => ValidatorSet | undefined
  },
): BlockFault | undefined {
  const { nullifyCerts, parentCert } = justify
  const { setOf } = known
  const invalid = (problem: string): BlockFault => ({ code: 'BODY_JUSTIFICATION_INVALID', problem })
  const certificateProblem = (given: Certificate): string | undefined => {
    if (setOf === undefined) return undefined
    const set = setOf(given.epoch)
    return set === undefined ? 'epoch unknown' : checkCertificate(given, chain, set)?.code
  }
  if ((parentCert === null) !== (header.height === 1)) return invalid('parent certificate missing or not needed')
  if (parentCert !== null) {
    const problem = parentProblem(parentCert, known.parent)
    if (problem !== undefined) return invalid(problem)
    const { parentCertificate } = known
    const isChecked = parentCertificate !== undefined && equals(parentCertificate, encodeCertificate(parentCert))
    const signatures = isChecked ? undefined : certificateProblem(parentCert)
    if (signatures !== undefined) return invalid(signatures)
  }
  if (nullifyCerts.length !== header.view - header.parentView - 1) return invalid('views between are not all nullified')
  for (const [index, given] of nullifyCerts.entries()) {
    const isNext = given.kind === 'nullify' && given.view === header.parentView + 1 + index
    if (!isNext || given.epoch !== header.epoch) return invalid('views between are not all nullified')
    const problem = certificateProblem(given)
    if (problem !== undefined) return invalid(problem)
  }
  return undefined
}

/** Whether a header is of this chain at all. */
export function chainFault(header: Header, chain: ChainId): HeaderFault | undefined {
  if (isLinkOf(header.chain, chain)) return undefined
  return { code: 'HEADER_WRONG_CHAIN', chain: chainIdOfLink(header.chain) }
}

/** What is wrong with a certificate of this parent, its signatures left aside. */
function parentProblem(given: Certificate, parent: Head): string | undefined {
  const { endsEpoch, id, nextEpoch, view } = parent
  const epoch = endsEpoch ? nextEpoch - 1 : nextEpoch
  const isView = endsEpoch ? given.view >= view : given.view === view
  if (!isView || given.epoch !== epoch || given.block?.equals(id) !== true) return 'parent certificate of another block'
  return endsEpoch && given.kind !== 'finalize' ? 'the parent ended its epoch and is not final' : undefined
}

/** Whether the certificate is of this block. A block that ends its epoch is proposed again in later views, until it is final. */
function isBallotOf({ block, epoch, view }: Certificate, id: CID, header: Header): boolean {
  const isView = header.nextValidators === undefined ? view === header.view : view >= header.view
  return isView && epoch === header.epoch && block?.equals(id) === true
}
