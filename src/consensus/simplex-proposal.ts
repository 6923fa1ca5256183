/** Proposals: what a leader makes (rule 2), and what the others do with it (rule 3). */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import {
  BLOCK_TIME_AHEAD_MS_MAX,
  CONSENSUS_ANCESTORS_WANTED_MAX,
  CONSENSUS_PROPOSALS_AHEAD_MAX,
} from '../core/limits.ts'
import type { Justification } from '../ledger/block-body.ts'
import { type Certificate, encodeCertificate, signersOf } from '../ledger/certificate.ts'
import type { Header } from '../ledger/header.ts'
import type { Ballot, Vote } from '../ledger/vote.ts'
import type { ConsensusMessage } from './messages.ts'
import {
  type Block,
  type Draft,
  type FinalPoint,
  NOT_JUSTIFIED,
  type ViewProposal,
  isLastOfEpoch,
} from './simplex-state.ts'
import { parentFor } from './simplex-parent.ts'
import { dueMs } from './simplex-timers.ts'
import { adopt, addVote, ban, halt, want } from './simplex-votes.ts'

/** Rule 2: proposes in the current view, where this validator leads it and a block is due. */
export function propose(draft: Draft): void {
  const { me, transactionsSinceMs, view } = draft.state
  if (draft.leader(view) !== me || draft.view(view).own.proposed) return
  const parent = parentFor(draft, view)
  if (parent === undefined) return
  if (parent.ending !== undefined) {
    proposeAgain(draft, view, parent.ending, parent.justify)
    return
  }
  if (draft.nowMs < dueMs(draft)) return
  draft.editOwn(view, { proposed: true })
  draft.emit({
    type: 'build',
    for: transactionsSinceMs === undefined ? 'idle' : 'transactions',
    view,
    parent: parent.point.id,
    timeMs: Math.max(draft.wallMs, parent.point.timeMs + 1),
    justify: parent.justify,
  })
}

/** The block that was asked for is there: its notarize vote makes it a proposal. */
export function built(draft: Draft, view: number, block: Block): void {
  // The view may have ended meanwhile, or this validator voted in it before a restart.
  const { set, view: current } = draft.state
  if (block.header.epoch !== set.epoch || view !== current || draft.view(view).own.notarized !== undefined) return
  draft.holdBlock(block, 'valid')
  setProposal(draft, view, block.id, block.justify, 'yes')
  castNotarize(draft, view, block.id, block)
}

/** A proposal, as the leader's message has it; untrusted. */
export function receiveProposal(
  draft: Draft,
  from: number,
  given: { readonly block: Block; readonly again: Justification | null; readonly vote: Vote },
): void {
  const { block, vote } = given
  const { final, set, view: current } = draft.state
  const { view } = vote
  const isLeaders =
    vote.kind === 'notarize' &&
    vote.epoch === set.epoch &&
    vote.signer === from &&
    draft.leader(view) === from &&
    vote.block?.equals(block.id) === true
  if (!isLeaders || view <= final.view || view > current + CONSENSUS_PROPOSALS_AHEAD_MAX) return
  addVote(draft, vote, false)
  if (draft.view(view).proposal !== undefined || draft.view(view).own.notarized !== undefined) return
  const justify = given.again ?? block.justify
  // A parent below the final block can't be built on, and would be justified by any number of certificates.
  const isBelow = given.again === null && block.header.parentView < final.view
  if (isBelow || !isShaped(block, view, given.again)) {
    setProposal(draft, view, block.id, justify, 'no')
    return
  }
  if (draft.block(block.id) === undefined) draft.holdBlock(block, 'held')
  const certificates = [...(justify.parentCert === null ? [] : [justify.parentCert]), ...justify.nullifyCerts]
  const unknown = certificates.filter((one) => !isKnown(draft, one))
  setProposal(draft, view, block.id, justify, unknown.length === 0 ? 'yes' : 'checking')
  if (unknown.length > 0)
    draft.emit({ type: 'check-certificates', epoch: set.epoch, from, view, certificates: unknown })
}

/** A block that was asked for. */
export function receiveBlock(draft: Draft, block: Block): void {
  if (!draft.state.wanted.has(block.id.toString())) return
  draft.holdBlock(block, 'held')
}

export function certificatesChecked(
  draft: Draft,
  verdict: {
    readonly epoch: number
    readonly from: number
    readonly view: number | undefined
    readonly good: readonly Certificate[]
    readonly bad: number
  },
): void {
  const { bad, epoch, from, good, view } = verdict
  // Of an epoch that is over: views and validators have other numbers now.
  if (epoch !== draft.state.set.epoch) return
  for (const certificate of good) adopt(draft, certificate, false)
  if (bad > 0) ban(draft, from)
  const proposal = view === undefined ? undefined : draft.view(view).proposal
  if (view === undefined || proposal === undefined || view <= draft.state.final.view) return
  draft.editView(view, { proposal: { ...proposal, justified: bad === 0 ? 'yes' : 'no' } })
}

/**
 * Has blocks executed whose parents are: those that are notarized, since they may be built on, and the one that is proposed
 * in the current view.
 */
export function executeBlocks(draft: Draft): void {
  const { final, view: current } = draft.state
  for (const view of draft.knownViews()) {
    const { finalization, notarization, proposal } = draft.view(view)
    const ids = [notarization?.block, finalization?.block]
    if (view === current && proposal?.justified === 'yes') ids.push(proposal.block)
    for (const [certificate, id] of [
      [notarization, ids[0]],
      [finalization, ids[1]],
    ] as const) {
      // Asked for as long as a certificate names it: nothing goes on without it.
      if (certificate !== undefined && id !== undefined) want(draft, id, signersOf(certificate.signers))
    }
    for (const id of ids) if (id !== undefined) executeWithAncestors(draft, id, final, finalization !== undefined)
  }
}

export function executed(draft: Draft, id: CID, verdict: 'valid' | 'invalid' | 'later'): void {
  const held = draft.block(id)
  if (held === undefined) return
  draft.holdBlock(held.block, verdict)
}

/** Rule 3: notarizes the current view's proposal. @returns whether it can't be: the view is to be nullified at once. */
export function notarize(draft: Draft): boolean {
  const { view } = draft.state
  const { own, proposal } = draft.view(view)
  if (proposal === undefined || own.notarized !== undefined) return false
  const held = draft.block(proposal.block)
  if (proposal.justified === 'no' || held?.status === 'invalid') return true
  if (proposal.justified === 'checking' || held?.status !== 'valid') return false
  const { header } = held.block
  const isAgain = header.view !== view
  const parent = parentOf(draft, proposal, isAgain)
  if (parent === 'unknown') return false
  if (parent === 'wrong') return true
  // A block that is proposed again was judged when it was new.
  if (!isAgain && !isOfNow(draft, proposal, header)) return true
  castNotarize(draft, view, proposal.block, held.block)
  return false
}

/**
 * Whether the block's time is within two seconds of now. How late it is was judged when it came: executing it takes as long as it
 * takes, and says nothing about its leader's clock.
 */
function isOfNow(draft: Draft, { receivedWallMs }: ViewProposal, { timeMs }: Header): boolean {
  return receivedWallMs - timeMs <= BLOCK_TIME_AHEAD_MS_MAX && timeMs - draft.wallMs <= BLOCK_TIME_AHEAD_MS_MAX
}

/** Takes up what was proposed and notarized before a restart. */
export function restoreProposal(draft: Draft, view: number, id: CID): void {
  const held = draft.block(id)
  if (held === undefined) return
  const isAgain = held.block.header.view !== view
  const justify = isAgain ? parentFor(draft, view)?.justify : held.block.justify
  if (justify !== undefined) setProposal(draft, view, id, justify, 'yes')
}

/** Blocks that this chain could not take are tried again. */
export function tryLaterBlocks(draft: Draft): void {
  for (const { block, status } of draft.state.blocks.values()) if (status === 'later') draft.holdBlock(block, 'held')
}

/** The proposal of the current view, if this validator made it: to be sent, and sent again. */
export function ownProposal(draft: Draft): Extract<ConsensusMessage, { type: 'proposal' }> | undefined {
  const { me, view } = draft.state
  const { boxes, own, proposal } = draft.view(view)
  if (draft.leader(view) !== me || own.notarized === undefined || proposal === undefined) return undefined
  const held = draft.block(own.notarized)
  const vote = boxes.get(`notarize ${own.notarized}`)?.votes.get(me)?.vote
  if (held === undefined || vote === undefined) return undefined
  const { body, header, headerBytes } = held.block
  return { type: 'proposal', header: headerBytes, body, again: header.view === view ? null : proposal.justify, vote }
}

function proposeAgain(draft: Draft, view: number, block: Block, justify: Justification): void {
  draft.editOwn(view, { proposed: true })
  setProposal(draft, view, block.id, justify, 'yes')
  castNotarize(draft, view, block.id, block)
}

function castNotarize(draft: Draft, view: number, id: CID, block: Block): void {
  const ballot: Ballot = { epoch: draft.state.set.epoch, view, kind: 'notarize', block: id }
  draft.editOwn(view, { notarized: id, proposed: true })
  draft.emit({ type: 'cast', ballots: [ballot], block })
}

function setProposal(
  draft: Draft,
  view: number,
  block: CID,
  justify: Justification,
  justified: ViewProposal['justified'],
): void {
  const isOver = view < draft.state.view
  draft.editView(view, {
    proposal: {
      block,
      justify: isOver ? NOT_JUSTIFIED : justify,
      justified,
      receivedMs: draft.nowMs,
      receivedWallMs: draft.wallMs,
    },
  })
}

/** Whether the block and its justification are for this view, as far as they say so themselves. */
function isShaped(block: Block, view: number, again: Justification | null): boolean {
  const { header, id, justify } = block
  if (again === null) {
    if (header.view !== view || header.view <= header.parentView) return false
    return isGap(justify, { block: header.parent, epoch: header.epoch, from: header.parentView, to: view })
  }
  if (!isLastOfEpoch(header) || again.parentCert === null || again.parentCert.view < header.view) return false
  return isGap(again, { block: id, epoch: header.epoch, from: again.parentCert.view, to: view })
}

function isGap(
  { nullifyCerts, parentCert }: Justification,
  gap: { readonly block: CID; readonly epoch: number; readonly from: number; readonly to: number },
): boolean {
  if (parentCert !== null && (parentCert.kind === 'nullify' || parentCert.block?.equals(gap.block) !== true))
    return false
  if (nullifyCerts.length !== gap.to - gap.from - 1) return false
  return nullifyCerts.every(
    ({ epoch, kind, view }, index) => kind === 'nullify' && epoch === gap.epoch && view === gap.from + 1 + index,
  )
}

/** Whether exactly these bytes were verified here: the same votes under other signatures are not. */
function isKnown(draft: Draft, certificate: Certificate): boolean {
  const { final } = draft.state
  const { finalization, notarization, nullification } = draft.view(certificate.view)
  const bytes = encodeCertificate(certificate)
  return [final.certificate, finalization, notarization, nullification].some(
    (known) => known !== undefined && known !== null && equals(encodeCertificate(known), bytes),
  )
}

/** The parent that the proposal names, held against the certificates that this validator has. */
function parentOf(draft: Draft, proposal: ViewProposal, isAgain: boolean): 'right' | 'wrong' | 'unknown' {
  const { final } = draft.state
  const held = draft.block(proposal.block)
  if (held === undefined) return 'unknown'
  const { parentCert } = proposal.justify
  if (isAgain) {
    const notarized = parentCert?.block
    return notarized?.equals(proposal.block) === true ? 'right' : 'wrong'
  }
  const { parent, parentView } = held.block.header
  if (final.id.equals(parent))
    return parentView === final.view && isCertificateOf(parentCert, final) ? 'right' : 'wrong'
  const above = draft.block(parent)
  if (above === undefined) return 'unknown'
  // What ends an epoch must be final before anything follows it.
  if (isLastOfEpoch(above.block.header) || above.block.header.view !== parentView) return 'wrong'
  return parentCert?.view === parentView && parentCert.epoch === draft.state.set.epoch ? 'right' : 'wrong'
}

function isCertificateOf(certificate: Certificate | null, final: FinalPoint): boolean {
  if (certificate === null || final.certificate === null) return certificate === null && final.certificate === null
  return certificate.block?.equals(final.id) === true
}

function executeWithAncestors(draft: Draft, id: CID, final: FinalPoint, isFinalized: boolean): void {
  const held = draft.block(id)
  if (held?.status !== 'held') return
  const { parent } = held.block.header
  if (!draft.isExecuted(parent)) {
    const above = draft.block(parent)
    if (above?.status === 'invalid') draft.holdBlock(held.block, 'invalid')
    else if (above !== undefined) executeWithAncestors(draft, parent, final, isFinalized)
    else if (isFinalized && held.block.header.height > final.height + CONSENSUS_ANCESTORS_WANTED_MAX) {
      // Final blocks come in bulk from any peer.
      draft.emit({ type: 'catch-up' })
    } else if (held.block.header.height > final.height + 1) {
      const { parentCert } = held.block.justify
      if (parentCert !== null) want(draft, parent, signersOf(parentCert.signers))
    } else draft.emit({ type: 'catch-up' })
    return
  }
  draft.holdBlock(held.block, 'executing')
  draft.emit({ type: 'execute', block: held.block })
}

/** A quorum notarized a block that gives something else here: nothing that this validator computes can be relied on. */
export function checkDivergence(draft: Draft): void {
  for (const view of draft.knownViews()) {
    const { finalization, notarization } = draft.view(view)
    const block = notarization?.block ?? finalization?.block
    if (block !== undefined && draft.block(block)?.status === 'invalid') halt(draft, 'state-differs')
  }
}
