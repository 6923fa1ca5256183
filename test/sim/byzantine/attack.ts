/**
 * How a byzantine validator is made: it runs the honest code, and its treason changes what leaves it, adds to it, and uses its key.
 */
import type { CID } from 'multiformats/cid'
import { type ConsensusMessage, decodeMessage, encodeMessage } from '../../../src/consensus/messages.ts'
import type { Replica } from '../../../src/consensus/replica.ts'
import type { InstitutionId } from '../../../src/core/ids.ts'
import type { Signer } from '../../../src/core/ports.ts'
import { type Justification, decodeBody } from '../../../src/ledger/block-body.ts'
import type { Chain } from '../../../src/ledger/chain.ts'
import { type Header, decodeHeader, headerId } from '../../../src/ledger/header.ts'
import type { SignedTx } from '../../../src/ledger/transaction.ts'
import type { ValidatorSet } from '../../../src/ledger/validators.ts'
import type { Ballot, Vote } from '../../../src/ledger/vote.ts'
import { signVote } from '../../../src/consensus/votes.ts'
import type { Random } from '../random.ts'

/** What a traitor has at hand. */
export interface Means {
  readonly institution: InstitutionId
  readonly chain: Chain
  readonly signer: Signer
  readonly random: Random
  /** The honest code that it runs. */
  readonly replica: Replica
  readonly wallMs: () => number
  readonly after: (delayMs: number, run: () => void) => void
  readonly send: (to: InstitutionId, bytes: Uint8Array, delayMs?: number) => void
}

export interface Outgoing {
  readonly bytes: Uint8Array
  readonly delayMs?: number
}

export interface Treason {
  /** What is sent in place of an honest message. */
  says(to: InstitutionId, message: Uint8Array): readonly Outgoing[]
  /** A message came; the honest code gets it too. */
  hears(from: InstitutionId, message: Uint8Array): void
  /** Whether it lets a transaction wait here. */
  takes(tx: SignedTx): boolean
}

/** Begins treason in a process that has just started. */
export type Traitor = (means: Means) => Treason

/** Treason that changes nothing: what an attack doesn't speak of. */
export const HONEST: Treason = {
  says: (_to, bytes) => [{ bytes }],
  hears: () => undefined,
  takes: () => true,
}

export function setOf({ chain }: Means): ValidatorSet {
  const set = chain.validators()
  if (set === undefined) throw new Error('a chain knows the validators of its next block')
  return set
}

/** Institutions of the other validators. */
export function othersOf(means: Means): InstitutionId[] {
  return setOf(means)
    .validators.map(({ institution }) => institution)
    .filter((one) => one !== means.institution)
}

/** Signs whatever the ballot says; nothing where this key doesn't vote in that epoch. */
export async function signAnything(means: Means, ballot: Ballot): Promise<Vote | undefined> {
  const set = means.chain.validators(ballot.epoch)
  if (set === undefined || !set.validators.some(({ institution }) => institution === means.institution))
    return undefined
  return signVote(means.signer, means.chain.id, set, ballot)
}

/** Does it again and again, at times about so far apart. */
export function often(means: Means, everyMs: number, work: () => void): void {
  means.after(everyMs * (0.5 + means.random.unit()), () => {
    work()
    often(means, everyMs, work)
  })
}

/** What an honest replica sent. */
export function read(bytes: Uint8Array): ConsensusMessage | undefined {
  try {
    return decodeMessage(bytes)
  } catch {
    // Another traitor's rubbish.
    return undefined
  }
}

/** Sends a message to each of the others. */
export function tell(means: Means, message: ConsensusMessage, to: readonly InstitutionId[] = othersOf(means)): void {
  const bytes = encodeMessage(message)
  for (const one of to) means.send(one, bytes)
}

/** A new block in place of the one that this validator's honest code proposes, with its vote. */
export type Forge = (means: Means, honest: HonestProposal) => Promise<Forged | undefined>

export interface HonestProposal {
  readonly header: Header
  readonly body: Uint8Array
  readonly justify: Justification
}

export interface Forged {
  readonly header: Uint8Array
  readonly body: Uint8Array
}

/** Treason of a leader: proposals to these receivers are replaced; where nothing can be forged, the honest one is sent. */
export function forging(forge: Forge, isFor: (means: Means, to: InstitutionId) => boolean = () => true): Traitor {
  return (means) => {
    const forged = new Map<number, Promise<Uint8Array | undefined>>()
    return {
      ...HONEST,
      says: (to, bytes) => {
        const message = read(bytes)
        if (message?.type !== 'proposal' || message.again !== null || !isFor(means, to)) return [{ bytes }]
        const { view } = message.vote
        const work = forged.get(view) ?? forgedProposal(means, forge, message)
        forged.set(view, work)
        const isBoth = means.random.chance(0.3)
        work.then(
          (other) => {
            means.send(to, other ?? bytes)
            if (isBoth && other !== undefined) means.send(to, bytes, 2)
          },
          () => means.send(to, bytes),
        )
        return []
      },
    }
  }
}

async function forgedProposal(
  means: Means,
  forge: Forge,
  honest: Extract<ConsensusMessage, { type: 'proposal' }>,
): Promise<Uint8Array | undefined> {
  const header = decodeHeader(honest.header)
  const { justify } = decodeBody(honest.body)
  const made = await forge(means, { header, body: honest.body, justify })
  if (made === undefined) return undefined
  const { epoch, view } = honest.vote
  const vote = await signAnything(means, { epoch, view, kind: 'notarize', block: headerId(made.header) })
  return vote === undefined ? undefined : encodeMessage({ type: 'proposal', ...made, again: null, vote })
}

/** A valid block on a parent that this validator has. */
export async function buildOther(
  means: Means,
  honest: HonestProposal,
  change: { readonly parent?: CID; readonly timeMs?: number; readonly justify?: Justification },
): Promise<Forged> {
  const { header, justify } = honest
  const { parent, timeMs, view } = header
  const { body, header: bytes } = await means.chain.propose({
    parent,
    view,
    timeMs: timeMs + 1,
    proposer: means.institution,
    justify,
    txs: [],
    ...change,
  })
  return { header: bytes, body }
}
