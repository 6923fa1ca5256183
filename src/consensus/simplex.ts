/**
 * Simplex: Byzantine agreement among n validators, f = floor((n-1)/3) of which may be faulty in any way, as one pure step.
 * It makes no I/O and reads no clock: what it wants done are effects, what happened are events.
 *
 *   view v:  leader ──proposal──► all ──notarize votes──► q of them: certificate, enter v+1 ──finalize votes──► q: final
 *                                   └─(timer, or invalid block)─nullify votes──► q: certificate, enter v+1
 *
 * The rules are numbered as in the design:
 *  1. Enter view v+1 on a notarize certificate for v whose block is executed, on a nullify certificate for v, or on a finalize
 *     certificate for any view >= v. Timers: 2Δ for the proposal, 3Δ for the view.
 *  2. Propose once per view, on a notarized parent with nullify certificates for every view between; more than 32 views above the final
 *     block not before Δ.
 *  3. Notarize one block per view: its parent is certified, the views between are nullified, it is held whole, executing it
 *     gives its roots, its time is later than its parent's and within two seconds of now. An invalid one: nullify at once.
 *  4. Nullify a view on a timer, on an invalid block, or with its leader, unless finalize was voted in it.
 *  5. Finalize a block that is certified and that this validator notarized, unless it nullified the view.
 *  6. q finalize votes make a block and all its ancestors final. Late votes count.
 *  7. Certificates of a view go to those who show no sign of them half a bound after they were formed; those of finality only at the
 *     end of an epoch, at once: all votes go to all. With many validators, certificates go to the next two leaders. And to whoever asks.
 *  8. No finality for 2Δ: send again the certificates above the final block, and own votes.
 *  9. A leader that was silent for 10 s while a quorum was not gets no time.
 * 10. Signatures are checked once a quorum could be there.
 * A block that ends its epoch is proposed again, in view after view, until it is final; nothing else may follow it.
 *
 * Safety. Two certificates of one kind in one view share an honest signer (2q - n > f), and an honest signer notarizes one
 * block per view and never both nullifies a view and finalizes in it. So if a block is final in view v, there is no other
 * notarized block in v and no nullify certificate of v; a block of a later view must have v nullified or descend from v's block:
 * it descends from it. That needs votes to be durable before they are sent, or a restart would vote again, differently:
 * `cast` means signed, then durable, and only the answer to it leads to sending. The Spin model in test/model checks this. When a block
 * is proposed, and who still has one that was voted for, are no part of the argument: votes are never forgotten above the final block, blocks are.
 *
 * Liveness. Once messages take less than Δ (three quarters of it, where a faulty validator shows its vote to one alone), and Δ grows
 * until they do, an honest leader's block is notarized and finalized by all
 * honest validators before their timers run out; lost messages are sent again (rule 8), and whoever is behind asks. A view with a
 * nullify certificate is stepped over by whoever lacks its block, so a block of such a view that is not known to be notarized may be let
 * go some views later: who builds on it has it.
 *
 * @see docs/spec/consensus.md; docs/decisions/0067-simplex.md; Chan and Pass, "Simplex Consensus" (2023)
 */
import type { CID } from 'multiformats/cid'
import { CONSENSUS_FULL_VIEWS_MAX } from '../core/limits.ts'
import type { Certificate } from '../ledger/certificate.ts'
import type { ValidatorSet } from '../ledger/validators.ts'
import type { Ballot, Vote } from '../ledger/vote.ts'
import type { ConsensusMessage } from './messages.ts'
import type { EventTime, SimplexEffect, SimplexEvent, SimplexNote, SimplexStep } from './simplex-events.ts'
import { answer, ask, isUnsettled, sendAgain, wantAgainMs } from './simplex-again.ts'
import { parentFor } from './simplex-parent.ts'
import {
  built,
  certificatesChecked,
  checkDivergence,
  executeBlocks,
  executed,
  notarize,
  ownProposal,
  propose,
  receiveBlock,
  receiveProposal,
  restoreProposal,
  tryLaterBlocks,
} from './simplex-proposal.ts'
import {
  type Block,
  Draft,
  type FinalPoint,
  type HaltReason,
  NOT_JUSTIFIED,
  type SimplexOptions,
  type SimplexState,
  epochState,
  readBlock,
} from './simplex-state.ts'
import { deadlines, deltaMs, dueMs, growthAfterFinal, growthInView } from './simplex-timers.ts'
import { addVote, adopt, ban, handOnDue, votesChecked } from './simplex-votes.ts'

export interface SimplexStart {
  readonly options: SimplexOptions
  readonly set: ValidatorSet
  readonly me: number
  readonly final: FinalPoint
  /** This validator's votes above the final block, from its vote log, and the blocks that were logged with them. */
  readonly votes: readonly Vote[]
  readonly blocks: readonly Block[]
  /** That were logged with the votes. */
  readonly certificates: readonly Certificate[]
  /** Nothing is voted up to this view. */
  readonly floorView: number
  /** Steps that Δ has grown. @default 0 */
  readonly growth?: number
  /** Nothing is voted any more. */
  readonly halted?: HaltReason
}

/** Begins with an epoch, or again after a restart: what was voted before is never contradicted. */
export function startSimplex(start: SimplexStart, at: EventTime): SimplexStep {
  const { blocks, certificates, final, floorView, growth = 0, halted, me, options, set, votes } = start
  const { nowMs } = at
  const draft = new Draft(epochState({ options, set, me, final, nowMs, transactionsSinceMs: undefined }), at)
  draft.set({ growth, halted })
  if (halted !== undefined) return { state: draft.state, effects: [] }
  for (const block of blocks) {
    const isHere = block.header.epoch === set.epoch && block.header.height > final.height
    if (isHere) draft.holdBlock(block, 'held')
  }
  for (const vote of votes) {
    if (vote.epoch !== set.epoch || vote.view <= final.view) continue
    remember(draft, vote)
    if (vote.view > draft.state.view) draft.set({ view: vote.view })
  }
  // Later than all that was said, so that a view is not begun twice.
  draft.set({ floorView, view: Math.max(draft.state.view, floorView + 1) })
  for (const vote of votes) addVote(draft, vote, true)
  for (const certificate of certificates) adopt(draft, certificate, false)
  draft.set({ unlogged: [] })
  for (const { block, epoch, kind, view } of votes) {
    const isHere = kind === 'notarize' && epoch === set.epoch && view > final.view
    if (isHere && block !== undefined) restoreProposal(draft, view, block)
  }
  draft.set({ resendMs: nowMs })
  return finish(draft)
}

/** One event. The same state and event give the same answer. */
export function stepSimplex(state: SimplexState, event: SimplexEvent): SimplexStep {
  const draft = new Draft(state, event)
  // A halted validator does nothing more; the peer goes on following the others.
  if (state.halted !== undefined) return { state, effects: [] }
  switch (event.type) {
    case 'time':
      // The timer is gone, also where it ran out a little early, as those of a busy event loop do: it must be set again.
      draft.set({ timerMs: undefined })
      tryLaterBlocks(draft)
      break
    case 'transactions':
      waitForTransactions(draft, event.wait)
      break
    case 'message':
      receive(draft, event.from, event.message)
      break
    case 'cast':
      cast(draft, event.votes)
      break
    case 'built':
      built(draft, event.view, event.block)
      break
    case 'nothing-to-build':
      if (event.epoch !== state.set.epoch) break
      draft.editOwn(event.view, { proposed: false })
      draft.set({ transactionsSinceMs: undefined })
      break
    case 'executed':
      executed(draft, event.block, event.verdict)
      break
    case 'votes-checked':
      votesChecked(draft, event.ballot, event.good, event.bad)
      break
    case 'certificates-checked':
      certificatesChecked(draft, event)
      break
    case 'head':
      moveHead(draft, event.final)
      tryLaterBlocks(draft)
      break
    default:
      event satisfies never
  }
  return finish(draft)
}

/** What this validator would build on in its view; `undefined` while that isn't settled. */
export function tipOf(state: SimplexState): CID | undefined {
  return parentFor(new Draft(state, { nowMs: 0, wallMs: 0 }), state.view)?.point.id
}

function finish(draft: Draft): SimplexStep {
  settle(draft)
  handOnDue(draft)
  sendAgain(draft)
  setTimer(draft)
  const effects = withCertificates(draft)
  return { state: draft.state, effects }
}

/**
 * The certificates that votes rest on go into the log with them. Else a restart could leave a validator with a finalize vote and
 * no certificate of that view: it may not nullify then, and with one more validator silent nobody would leave the view.
 */
function withCertificates(draft: Draft): readonly SimplexEffect[] {
  const { unlogged } = draft.state
  const first = draft.effects.findIndex(({ type }) => type === 'cast')
  if (unlogged.length === 0 || first === -1) return draft.effects
  draft.set({ unlogged: [] })
  return draft.effects.map((effect, index) =>
    index === first && effect.type === 'cast' ? { ...effect, certificates: unlogged } : effect,
  )
}

/** Applies the rules until none applies. */
function settle(draft: Draft): void {
  do {
    executeBlocks(draft)
    checkDivergence(draft)
    if (draft.state.halted !== undefined) return
    finalize(draft)
    commit(draft)
  } while (enterNext(draft))
  const isInvalid = notarize(draft)
  propose(draft)
  nullify(draft, isInvalid)
}

/** Rule 1. @returns whether a view was entered. */
function enterNext(draft: Draft): boolean {
  const { view, views } = draft.state
  const finalized = Math.max(0, ...[...views].filter(([, one]) => one.finalization !== undefined).map(([at]) => at))
  if (finalized >= view) return enter(draft, finalized + 1, 'finalized')
  const { notarization, nullification } = draft.view(view)
  if (notarization?.block !== undefined && draft.isExecuted(notarization.block))
    return enter(draft, view + 1, 'notarized')
  return nullification !== undefined && enter(draft, view + 1, 'nullified')
}

function enter(draft: Draft, view: number, by: Extract<SimplexNote, { name: 'view' }>['by']): true {
  letGoJustification(draft)
  draft.set({ view, enteredMs: draft.nowMs })
  draft.set({ growth: growthInView(draft.state, by === 'nullified') })
  draft.emit({ type: 'note', what: { name: 'view', view, by } })
  forgetBlocks(draft)
  return true
}

/** Of the view that is left: far above the final block it holds hundreds of certificates, in each view anew. */
function letGoJustification(draft: Draft): void {
  const { view } = draft.state
  const { proposal } = draft.view(view)
  if (proposal !== undefined) draft.editView(view, { proposal: { ...proposal, justify: NOT_JUSTIFIED } })
}

/**
 * Blocks of past views that nothing came of; those that were voted for are kept, since others may ask for them: for some views, where
 * their own was given up.
 */
function forgetBlocks(draft: Draft): void {
  const { blocks, view, views } = draft.state
  const needed = new Set<string>()
  for (const [at, { finalization, notarization, nullification, own }] of views) {
    const isGivenUp = nullification !== undefined && view > at + CONSENSUS_FULL_VIEWS_MAX
    for (const id of [finalization?.block, notarization?.block, isGivenUp ? undefined : own.notarized])
      if (id !== undefined) needed.add(String(id))
  }
  // With the blocks between them and the final one.
  for (const id of needed) {
    const parent = blocks.get(id)?.block.header.parent.toString()
    if (parent !== undefined && blocks.has(parent)) needed.add(parent)
  }
  const kept = [...blocks].filter(([id, { block }]) => block.header.view >= view || needed.has(id))
  if (kept.length < blocks.size) draft.set({ blocks: new Map(kept) })
}

/** Rule 4. */
function nullify(draft: Draft, isInvalid: boolean): void {
  const { set, transactionsSinceMs, view } = draft.state
  const { boxes, own, proposal } = draft.view(view)
  if (own.nullified || own.finalized !== undefined) return
  const { proposalMs, viewMs } = deadlines(draft)
  const isLate = draft.nowMs >= viewMs || (proposalMs !== undefined && draft.nowMs >= proposalMs)
  const isLeaders = boxes.get('nullify ')?.votes.has(draft.leader(view)) === true
  if (!isInvalid && !isLate && !isLeaders) return
  draft.editOwn(view, { nullified: true })
  const why = isInvalid ? 'invalid' : isLate ? 'timer' : 'leader'
  draft.emit({ type: 'note', what: { name: 'nullify', view, why } })
  draft.emit({ type: 'cast', ballots: [{ epoch: set.epoch, view, kind: 'nullify' }] })
  // The leader may know nothing of the transactions that this validator waits for.
  if (proposal === undefined && transactionsSinceMs !== undefined) draft.emit({ type: 'share-transactions' })
}

/** Rule 5, for every view above the final block: a certificate may come late. */
function finalize(draft: Draft): void {
  const ballots: Ballot[] = []
  for (const view of draft.knownViews()) {
    const { notarization, own } = draft.view(view)
    const block = notarization?.block
    if (block === undefined || own.nullified || own.finalized !== undefined) continue
    if (own.notarized?.equals(block) !== true) continue
    draft.editOwn(view, { finalized: block })
    ballots.push({ epoch: draft.state.set.epoch, view, kind: 'finalize', block })
  }
  if (ballots.length > 0) draft.emit({ type: 'cast', ballots })
}

/** Rule 6. */
function commit(draft: Draft): void {
  for (const view of draft.knownViews().reverse()) {
    const { finalization } = draft.view(view)
    const block = finalization?.block
    if (finalization === undefined || block === undefined || draft.block(block)?.status !== 'valid') continue
    if (draft.state.committing !== block.toString()) {
      draft.set({ committing: block.toString() })
      draft.emit({ type: 'commit', block, certificate: finalization })
    }
    return
  }
}

/** The votes are durable: they may be sent. */
function cast(draft: Draft, votes: readonly Vote[]): void {
  for (const vote of votes) {
    addVote(draft, vote, true)
    const proposal = vote.kind === 'notarize' && vote.view === draft.state.view ? ownProposal(draft) : undefined
    draft.emit({ type: 'send', to: undefined, message: proposal ?? { type: 'vote', vote } })
  }
}

function waitForTransactions(draft: Draft, wait: boolean): void {
  const { transactionsSinceMs } = draft.state
  if (wait === (transactionsSinceMs !== undefined)) return
  draft.set({ transactionsSinceMs: wait ? draft.nowMs : undefined })
}

function receive(draft: Draft, from: number, message: ConsensusMessage): void {
  const { banned, heardMs, me } = draft.state
  if (from === me || from >= heardMs.length || banned.includes(from)) return
  draft.set({ heardMs: heardMs.with(from, draft.nowMs) })
  switch (message.type) {
    case 'proposal': {
      const { again, body, header, vote } = message
      if (!isPlaced(draft, from, vote)) return
      const block = vote.signer === from && draft.leader(vote.view) === from ? readBlock(header, body) : undefined
      if (block === undefined) ban(draft, from)
      else receiveProposal(draft, from, { block, again, vote })
      return
    }
    case 'vote':
      // Only then: in another epoch the same validator has another index.
      if (!isPlaced(draft, from, message.vote)) return
      if (message.vote.signer !== from) ban(draft, from)
      else addVote(draft, message.vote, false)
      return
    case 'certificate':
      receiveCertificate(draft, from, message.certificate)
      return
    case 'ask':
      answer(draft, from, message)
      return
    case 'want':
      draft.emit({ type: 'serve', to: from, block: message.block, held: draft.block(message.block)?.block })
      return
    case 'block': {
      const block = readBlock(message.header, message.body)
      if (block === undefined) ban(draft, from)
      else receiveBlock(draft, block)
      return
    }
    case 'transactions':
      return
    default:
      message satisfies never
  }
}

/** Whether a vote or certificate is of this epoch and above the final block; else whoever is behind is helped on. */
function isPlaced(draft: Draft, from: number, { epoch, kind, view }: Pick<Vote, 'epoch' | 'kind' | 'view'>): boolean {
  const { final, finalMs, options, set, view: current } = draft.state
  if (epoch > set.epoch) {
    draft.emit({ type: 'catch-up' })
    return false
  }
  if (epoch < set.epoch || view <= final.view) {
    // The last votes for a block mostly come when it is final already, and draw nothing: who sent them has the other votes, or soon will.
    // Who gave the view up lacked its certificate.
    const isStraggler = kind !== 'nullify' && view === final.view && draft.nowMs < finalMs + options.deltaMs
    if (!isStraggler) answer(draft, from, { epoch, view })
    return false
  }
  if (view > current + 1) ask(draft, from)
  return true
}

function receiveCertificate(draft: Draft, from: number, certificate: Certificate): void {
  if (!isPlaced(draft, from, certificate)) return
  const { finalization, notarization, nullification } = draft.view(certificate.view)
  const known = { notarize: notarization, nullify: nullification, finalize: finalization }[certificate.kind]
  if (known !== undefined) return
  const { epoch } = draft.state.set
  draft.emit({ type: 'check-certificates', epoch, from, view: undefined, certificates: [certificate] })
}

/** A block became final, here or by catching up. */
function moveHead(draft: Draft, final: FinalPoint): void {
  const { state, nowMs } = draft
  if (final.height <= state.final.height) return
  const blocks = [...state.blocks].filter(([, { block }]) => block.header.height > final.height)
  const views = [...state.views].filter(([view]) => view > final.view)
  const isBehind = state.view <= final.view
  draft.set({
    final,
    blocks: new Map(blocks),
    views: new Map(views),
    // What is still named by a certificate, or is a parent, is wanted again in this step.
    wanted: new Map(),
    committing: blocks.some(([id]) => id === state.committing) ? state.committing : undefined,
    finalMs: nowMs,
    unlogged: state.unlogged.filter(({ view }) => view > final.view),
    handing: state.handing.filter(({ certificate }) => certificate.view > final.view),
    growth: growthAfterFinal(state.growth),
    ...(isBehind ? { view: final.view + 1, enteredMs: nowMs } : {}),
  })
  draft.set({ resendMs: nowMs + 2 * deltaMs(draft.state) })
}

/** Takes up a vote from before the restart. */
function remember(draft: Draft, { block, kind, view }: Vote): void {
  if (kind === 'nullify') draft.editOwn(view, { nullified: true })
  else if (kind === 'finalize') draft.editOwn(view, block === undefined ? {} : { finalized: block })
  else if (block !== undefined) draft.editOwn(view, { notarized: block, proposed: true })
}

function setTimer(draft: Draft): void {
  const { handing, me, resendMs, timerMs, view, wanted } = draft.state
  const { own } = draft.view(view)
  const times = [...wanted.values()].map((one) => wantAgainMs(draft, one))
  times.push(...handing.map(({ dueMs: atMs }) => atMs))
  if (isUnsettled(draft)) times.push(resendMs)
  if (!own.nullified && own.finalized === undefined) {
    const { proposalMs, viewMs } = deadlines(draft)
    times.push(proposalMs ?? viewMs)
  }
  if (draft.leader(view) === me && !own.proposed) times.push(dueMs(draft))
  // What lies in the past has been done as far as it can be: something else must happen first.
  const atMs = Math.min(...times.filter((time) => time > draft.nowMs))
  if (!Number.isFinite(atMs) || (atMs === timerMs && timerMs > draft.nowMs)) return
  draft.set({ timerMs: atMs })
  draft.emit({ type: 'timer', atMs })
}
