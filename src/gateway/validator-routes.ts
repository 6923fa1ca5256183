/** Validators over HTTP: who votes, what is approved and waits, which keys are suspended, and proposals. */
import type { FastifyInstance } from 'fastify'
import { equals } from 'uint8arrays/equals'
import { CodedError } from '../core/coded-error.ts'
import { type ChainId, type InstitutionId, type TxId, parseTxId } from '../core/ids.ts'
import { EPOCH_BLOCKS, EPOCH_SETS_KEPT, LIST_MAX } from '../core/limits.ts'
import { DAG_CBOR, digestCid } from '../crypto/hash.ts'
import {
  type MembershipFault,
  type MembershipProposal,
  getMembershipProposal,
  openProposals,
} from '../domain/membership.ts'
import type { ValidatorChange } from '../domain/validator-plan.ts'
import {
  type Suspension,
  approvalsNeeded,
  approvedChanges,
  endsEarly,
  getRoster,
  listSuspensions,
  memberIds,
} from '../domain/validator-sets.ts'
import type { Chain } from '../ledger/chain.ts'
import { type Validator, type ValidatorSet, quorumOf } from '../ledger/validators.ts'
import type { Peer } from '../peer/peer.ts'
import { sendDagJson } from './dag-json-reply.ts'

/** How membership stands after the newest final block. */
export interface ValidatorsAnswer {
  readonly chain: ChainId
  readonly height: number
  readonly blockTimeMs: number
  /** Of the next block. */
  readonly epoch: number
  /** The block that the epoch starts from. */
  readonly since: { readonly height: number; readonly timeMs: number }
  /** The last block of the epoch, unless an approved `now` ends it earlier. */
  readonly endsAtHeight: number
  /** The next block is the last of the epoch. */
  readonly endsNow: boolean
  /** What a proposal made now must name. */
  readonly base: number
  readonly institutions: number
  readonly approvalsNeeded: number
  readonly quorum: number
  /** Who votes; `sinceEpoch`: with this key, without a break, as far back as 1,024 epochs. */
  readonly validators: readonly (Validator & { readonly sinceEpoch: number })[]
  /** Approved as validators, and left out for evidence against their keys. */
  readonly leftOut: readonly Validator[]
  /** Approved changes that wait for the end of an epoch, in their order. */
  readonly waiting: readonly ValidatorChange[]
  readonly suspended: readonly (Suspension & { readonly key: Uint8Array })[]
  readonly proposals: readonly ProposalAnswer[]
}

/** Whether a proposal can still be approved. */
export type ProposalState = 'open' | 'expired' | 'stale'

export interface ProposalAnswer extends MembershipProposal {
  readonly id: TxId
  /** `stale`: it changes validators that are not in force any more. */
  readonly state: ProposalState
  readonly approvalsNeeded: number
  readonly institutions: readonly InstitutionId[]
}

const tags = ['ledger']
const idParams = {
  type: 'object',
  properties: { id: { type: 'string', minLength: 1, maxLength: 64 } },
  required: ['id'],
} as const

export function validatorRoutes(api: FastifyInstance, { chain }: Peer): void {
  api.get(
    '/validators',
    { schema: { summary: 'Validators, approved changes, suspended keys and open proposals', tags } },
    async (_request, reply) => sendDagJson(reply, await validatorsAnswer(chain)),
  )

  api.get<{ Params: { readonly id: string } }>(
    '/validators/proposals/:id',
    { schema: { summary: 'A proposal that waits for approvals', tags, params: idParams } },
    async (request, reply) => {
      const id = parseTxId(request.params.id)
      const proposal = await getMembershipProposal(chain.reader, id)
      const unknown: MembershipFault = { code: 'MEMBERSHIP_PROPOSAL_UNKNOWN', proposal: id }
      if (proposal === undefined) throw new CodedError(unknown)
      await sendDagJson(reply, await proposalAnswer(chain, { id, ...proposal }))
    },
  )
}

async function validatorsAnswer(chain: Chain): Promise<ValidatorsAnswer> {
  const { head, reader } = chain
  const set = chain.validators()
  const validators = set?.validators ?? []
  const roster = await getRoster(reader)
  const institutions = (await memberIds(reader)).length
  const endsNow = await endsEarly(reader)
  return {
    chain: chain.id,
    height: head.height,
    blockTimeMs: head.timeMs,
    epoch: head.nextEpoch,
    since: await startOf(chain, set),
    endsAtHeight: endsNow ? head.height + 1 : (Math.floor(head.height / EPOCH_BLOCKS) + 1) * EPOCH_BLOCKS,
    endsNow,
    base: roster.since,
    institutions,
    approvalsNeeded: approvalsNeeded(institutions),
    quorum: quorumOf(validators.length),
    validators: sinceWhen(chain, validators, head.nextEpoch),
    leftOut: roster.validators.filter((one) => !isIn(validators, one)),
    waiting: await approvedChanges(reader),
    suspended: await Array.fromAsync(listSuspensions(reader, { limit: LIST_MAX })),
    proposals: await Array.fromAsync(openProposals(reader), async (one) => proposalAnswer(chain, one)),
  }
}

async function proposalAnswer(
  { head, reader }: Chain,
  proposal: MembershipProposal & { readonly id: TxId },
): Promise<ProposalAnswer> {
  const { since } = await getRoster(reader)
  const institutions = await memberIds(reader)
  const state = proposal.base !== since ? 'stale' : proposal.expiresMs <= head.timeMs ? 'expired' : 'open'
  return { ...proposal, state, approvalsNeeded: approvalsNeeded(institutions.length), institutions }
}

/** The block that the epoch starts from: its hash is the epoch's seed. */
async function startOf(
  { genesis, reader }: Chain,
  set: ValidatorSet | undefined,
): Promise<{ readonly height: number; readonly timeMs: number }> {
  const found =
    set === undefined || set.epoch === 0 ? undefined : await reader.headerById(digestCid(DAG_CBOR, set.seed))
  return found === undefined
    ? { height: 0, timeMs: genesis.timeMs }
    : { height: found.header.height, timeMs: found.header.timeMs }
}

function sinceWhen(chain: Chain, validators: readonly Validator[], epoch: number): ValidatorsAnswer['validators'] {
  const since = validators.map(() => epoch)
  let open = validators.map((_one, index) => index)
  for (let before = epoch - 1; before >= Math.max(0, epoch - EPOCH_SETS_KEPT) && open.length > 0; before--) {
    const earlier = chain.validators(before)?.validators ?? []
    open = open.filter((index) => isIn(earlier, validators[index]))
    for (const index of open) since[index] = before
  }
  return validators.map((one, index) => ({ ...one, sinceEpoch: since[index] ?? epoch }))
}

function isIn(list: readonly Validator[], wanted: Validator | undefined): boolean {
  return list.some((one) => one.institution === wanted?.institution && equals(one.key, wanted.key))
}
