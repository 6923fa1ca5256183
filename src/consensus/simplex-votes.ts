/**
 * Votes become certificates: counted by ballot, checked only when a quorum could be there (rule 10), kept past the view
 * (rule 6). Two votes of one signer that the rules forbid together are reported.
 */
import type { CID } from 'multiformats/cid'
import {
  CONSENSUS_BALLOTS_PER_SIGNER_MAX,
  CONSENSUS_BROADCAST_VALIDATORS_MAX,
  CONSENSUS_VIEWS_AHEAD_MAX,
} from '../core/limits.ts'
import { type Certificate, certificateOfVotes, signersOf } from '../ledger/certificate.ts'
import type { Ballot, Vote } from '../ledger/vote.ts'
import { type BallotBox, type Draft, type HaltReason, boxKey, isLastOfEpoch } from './simplex-state.ts'

const EMPTY: BallotBox['votes'] = new Map()

/** Takes a vote; `checked` where its signature is known to hold. */
export function addVote(draft: Draft, vote: Vote, checked: boolean): void {
  const { set, view: current } = draft.state
  const { signer, view } = vote
  if (vote.epoch !== set.epoch || signer >= set.validators.length) return
  if (view <= draft.state.final.view || view > current + CONSENSUS_VIEWS_AHEAD_MAX) return
  const key = boxKey(vote)
  const { boxes } = draft.view(view)
  const box = boxes.get(key) ?? { ballot: ballotOf(vote), votes: EMPTY, checking: false }
  if (box.votes.has(signer)) return
  const others = [...boxes.values()].flatMap((one) => one.votes.get(signer)?.vote ?? [])
  // An honest signer has one ballot of each kind; a few more are kept as evidence, and no flood of them.
  if (others.length >= CONSENSUS_BALLOTS_PER_SIGNER_MAX) return
  for (const other of others) {
    // Each pair: the signature of one may be no signature at all.
    if (conflict(other, vote)) draft.emit({ type: 'report', evidence: { first: other, second: vote } })
  }
  setBox(draft, { ...box, votes: new Map(box.votes).set(signer, { vote, checked }) })
  count(draft, view, key)
}

/** Takes the verdict on a box's signatures. */
export function votesChecked(draft: Draft, ballot: Ballot, good: readonly number[], bad: readonly number[]): void {
  // Of an epoch that is over: its views have numbers that this one has too.
  if (ballot.epoch !== draft.state.set.epoch) return
  const key = boxKey(ballot)
  const box = draft.view(ballot.view).boxes.get(key)
  if (box === undefined) return
  const votes = new Map(box.votes)
  for (const signer of good) {
    const entry = votes.get(signer)
    if (entry !== undefined) votes.set(signer, { ...entry, checked: true })
  }
  for (const signer of bad) votes.delete(signer)
  setBox(draft, { ...box, votes, checking: false })
  for (const signer of bad) ban(draft, signer)
  count(draft, ballot.view, key)
}

/**
 * Takes a certificate whose signatures hold.
 *
 * @param formed - here, of votes; it is handed on then (rule 7).
 */
export function adopt(draft: Draft, certificate: Certificate, formed: boolean): void {
  const { final, set } = draft.state
  const { block, kind, view } = certificate
  if (certificate.epoch !== set.epoch || view <= final.view) return
  if (!formed && isForeign(draft, certificate)) {
    halt(draft, 'key-in-use-elsewhere')
    return
  }
  const known = draft.view(view)
  if (kind === 'notarize' && known.notarization === undefined) draft.editView(view, { notarization: certificate })
  else if (kind === 'nullify' && known.nullification === undefined) draft.editView(view, { nullification: certificate })
  else if (kind === 'finalize' && known.finalization === undefined) draft.editView(view, { finalization: certificate })
  else return
  draft.set({ unlogged: [...draft.state.unlogged, certificate] })
  if (block !== undefined) want(draft, block, signersOf(certificate.signers))
  if (formed) handOn(draft, certificate)
}

/** Asks for a block that only a certificate is known of. */
export function want(draft: Draft, block: CID, from: readonly number[]): void {
  const id = block.toString()
  const { final, me, wanted } = draft.state
  if (draft.block(block) !== undefined || final.id.equals(block) || wanted.has(id)) return
  const others = from.filter((one) => one !== me)
  draft.set({ wanted: new Map(wanted).set(id, { block, from: others, asked: 1, askedMs: draft.nowMs }) })
  const [first] = others
  if (first !== undefined) draft.emit({ type: 'send', to: first, message: { type: 'want', block } })
}

/** Nothing of this validator is believed any more, until the next epoch or a restart. */
export function ban(draft: Draft, validator: number): void {
  const { banned, me } = draft.state
  if (validator === me || banned.includes(validator)) return
  draft.set({ banned: [...banned, validator] })
  draft.emit({ type: 'note', what: { name: 'banned', validator } })
}

export function halt(draft: Draft, why: HaltReason): void {
  if (draft.state.halted !== undefined) return
  draft.set({ halted: why })
  draft.emit({ type: 'note', what: { name: 'halted', why } })
}

/** A certificate with a signature of this key for something that it did not vote for: the key is in use elsewhere. */
function isForeign(draft: Draft, { block, kind, signers, view }: Certificate): boolean {
  const { floorView, me } = draft.state
  if (view <= floorView || !signersOf(signers).includes(me)) return false
  const { finalized, notarized, nullified } = draft.view(view).own
  if (kind === 'nullify') return !nullified
  const own = kind === 'notarize' ? notarized : finalized
  return block === undefined || own?.equals(block) !== true
}

/**
 * Rule 7. All votes go to all, so others form the same certificate of them, unless somebody shows his vote to some alone: who lacks it
 * still after half the bound on a message's way gets it then, where the block isn't final by itself meanwhile. What others lack of
 * finality the next block, gossip and rule 8 make up for; but at the end of an epoch who formed it may be no validator any more, and answer
 * nobody.
 */
function handOn(draft: Draft, certificate: Certificate): void {
  const { handing, me, options, set } = draft.state
  const message = { type: 'certificate', certificate } as const
  if (set.validators.length <= CONSENSUS_BROADCAST_VALIDATORS_MAX) {
    if (certificate.kind !== 'finalize') {
      draft.set({ handing: [...handing, { certificate, dueMs: draft.nowMs + options.deltaMs / 2 }] })
    } else if (mayEndEpoch(draft, certificate)) draft.emit({ type: 'send', to: undefined, message })
    return
  }
  const next = new Set([draft.leader(certificate.view + 1), draft.leader(certificate.view + 2)])
  for (const to of next) if (to !== me) draft.emit({ type: 'send', to, message })
}

/** Whether the block is the last of its epoch, as far as is known. */
function mayEndEpoch(draft: Draft, { block }: Certificate): boolean {
  const held = block === undefined ? undefined : draft.block(block)
  return held === undefined || isLastOfEpoch(held.block.header)
}

/** Sends the certificates that are due to those who lack them. */
export function handOnDue(draft: Draft): void {
  const { final, handing, me, set } = draft.state
  const due = handing.filter(({ dueMs }) => dueMs <= draft.nowMs)
  if (due.length === 0) return
  draft.set({ handing: handing.filter(({ dueMs }) => dueMs > draft.nowMs) })
  for (const { certificate } of due) {
    if (certificate.view <= final.view) continue
    for (const to of set.validators.keys()) {
      if (to !== me && !hasPassed(draft, to, certificate.view)) {
        draft.emit({ type: 'send', to, message: { type: 'certificate', certificate } })
      }
    }
  }
}

/** Whether a validator said something that it says only behind a certificate of this view: a finalize vote in it, or any later vote. */
function hasPassed(draft: Draft, validator: number, view: number): boolean {
  return draft
    .knownViews()
    .filter((at) => at >= view)
    .some((at) =>
      [...draft.view(at).boxes.values()].some(
        ({ ballot, votes }) => votes.has(validator) && (at > view || ballot.kind === 'finalize'),
      ),
    )
}

function ballotOf({ block, epoch, kind, view }: Vote): Ballot {
  return { epoch, view, kind, ...(block === undefined ? {} : { block }) }
}

function setBox(draft: Draft, box: BallotBox): void {
  const { view } = box.ballot
  draft.editView(view, { boxes: new Map(draft.view(view).boxes).set(boxKey(box.ballot), box) })
}

/** Forms the certificate, or has the signatures checked that it lacks. */
function count(draft: Draft, view: number, key: string): void {
  const known = draft.view(view)
  const box = known.boxes.get(key)
  if (box === undefined || box.votes.size < draft.quorum || box.checking) return
  const { kind } = box.ballot
  const has = { notarize: known.notarization, nullify: known.nullification, finalize: known.finalization }[kind]
  if (has !== undefined) return
  const all = [...box.votes.values()]
  const checked = all.filter((one) => one.checked).map((one) => one.vote)
  const certificate = certificateOfVotes(box.ballot, checked, draft.state.set)
  if (certificate !== undefined) {
    adopt(draft, certificate, true)
    return
  }
  setBox(draft, { ...box, checking: true })
  const votes = all.filter((one) => !one.checked).map((one) => one.vote)
  draft.emit({ type: 'check-votes', ballot: box.ballot, votes })
}

/** Whether an honest signer never makes both votes, in one view. */
function conflict(a: Vote, b: Vote): boolean {
  if (a.kind === 'nullify' || b.kind === 'nullify') return a.kind === 'finalize' || b.kind === 'finalize'
  return a.block?.toString() !== b.block?.toString()
}
