/** Rules 7 and 8: whoever is behind is helped on, and what may be lost is sent again. */
import { CONSENSUS_CERTIFICATES_SENT_MAX, CONSENSUS_WANT_MS_MAX } from '../core/limits.ts'
import type { Certificate } from '../ledger/certificate.ts'
import type { ConsensusMessage } from './messages.ts'
import { ownProposal } from './simplex-proposal.ts'
import type { Draft, Wanted } from './simplex-state.ts'
import { deltaMs } from './simplex-timers.ts'

/** Asks a validator that is further for what this one lacks. */
export function ask(draft: Draft, from: number): void {
  const { askedMs, set, view } = draft.state
  if (draft.nowMs < (askedMs[from] ?? -Infinity) + deltaMs(draft.state)) return
  draft.set({ askedMs: askedMs.with(from, draft.nowMs) })
  draft.emit({ type: 'send', to: from, message: { type: 'ask', epoch: set.epoch, view } })
}

/** Sends what a validator lacks that is in this view still. */
export function answer(draft: Draft, to: number, asked: { readonly epoch: number; readonly view: number }): void {
  const { answeredMs, options, set } = draft.state
  if (asked.epoch > set.epoch || draft.nowMs < (answeredMs[to] ?? -Infinity) + options.deltaMs) return
  draft.set({ answeredMs: answeredMs.with(to, draft.nowMs) })
  above(draft, asked.epoch < set.epoch ? 0 : asked.view, to)
}

/**
 * What this validator knows and did from a view on: the newest certificates, its own votes, and its proposal.
 *
 * @param to - who lacks it; `undefined`: all.
 */
function above(draft: Draft, from: number, to: number | undefined): void {
  const { final, me } = draft.state
  const certificates: Certificate[] = []
  const votes: ConsensusMessage[] = []
  if (from <= final.view && final.certificate !== null) certificates.push(final.certificate)
  for (const view of draft.knownViews().filter((one) => one >= from)) {
    const { boxes, finalization, notarization, nullification } = draft.view(view)
    for (const one of [notarization, nullification, finalization]) if (one !== undefined) certificates.push(one)
    for (const box of boxes.values()) {
      const vote = box.votes.get(me)?.vote
      if (vote !== undefined) votes.push({ type: 'vote', vote })
    }
  }
  for (const certificate of certificates.slice(0, CONSENSUS_CERTIFICATES_SENT_MAX)) {
    draft.emit({ type: 'send', to, message: { type: 'certificate', certificate } })
  }
  proposeTo(draft, to)
  for (const message of votes.slice(-CONSENSUS_CERTIFICATES_SENT_MAX)) draft.emit({ type: 'send', to, message })
}

/** Sends the own proposal again to those who may lack it: a block may be a megabyte, and on a slow line it is still on its way. */
function proposeTo(draft: Draft, to: number | undefined): void {
  const { set, view } = draft.state
  const message = ownProposal(draft)
  const { boxes, proposal } = draft.view(view)
  if (message === undefined || proposal === undefined) return
  if (draft.nowMs < proposal.receivedMs + 2 * deltaMs(draft.state)) return
  const hasVoted = (validator: number): boolean =>
    boxes.get(`notarize ${proposal.block}`)?.votes.has(validator) === true
  for (const index of to === undefined ? set.validators.keys() : [to]) {
    if (index !== draft.state.me && !hasVoted(index)) draft.emit({ type: 'send', to: index, message })
  }
}

/** Rule 8; and blocks that were not given are asked of the next validator. */
export function sendAgain(draft: Draft): void {
  wantAgain(draft)
  if (!isUnsettled(draft) || draft.nowMs < draft.state.resendMs) return
  draft.set({ resendMs: draft.nowMs + 2 * deltaMs(draft.state) })
  above(draft, draft.state.final.view, undefined)
}

/** Whether there is anything above the final block that others may lack. */
export function isUnsettled(draft: Draft): boolean {
  const { final, view, views } = draft.state
  return view > final.view + 1 || views.size > 0
}

function wantAgain(draft: Draft): void {
  const { wanted } = draft.state
  const next = new Map(wanted)
  for (const [id, one] of wanted) {
    const { asked, block, from } = one
    if (draft.nowMs < wantAgainMs(draft, one)) continue
    const to = from[asked % Math.max(1, from.length)]
    if (to === undefined) next.delete(id)
    else {
      next.set(id, { block, from, asked: asked + 1, askedMs: draft.nowMs })
      draft.emit({ type: 'send', to, message: { type: 'want', block } })
    }
    // Asked of all: it may be final meanwhile.
    if (asked >= from.length) draft.emit({ type: 'catch-up' })
  }
  if (wanted.size > 0) draft.set({ wanted: next })
}

/** With each round of asking the pause grows. */
export function wantAgainMs(draft: Draft, { asked, askedMs, from }: Wanted): number {
  const rounds = 1 + Math.floor(asked / Math.max(1, from.length))
  return askedMs + Math.min(rounds * deltaMs(draft.state), CONSENSUS_WANT_MS_MAX)
}
