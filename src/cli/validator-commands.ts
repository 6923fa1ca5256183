/** `validators list | propose | approve | show`: who votes, and how the institutions change it with their admin keys. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { fromString } from 'uint8arrays/from-string'
import { CodedError, faultOf } from '../core/coded-error.ts'
import { type InstitutionId, type TxId, parseInstitutionId, parseTxId } from '../core/ids.ts'
import { draftMembershipApprove, draftMembershipPropose } from '../domain/membership.ts'
import type { ValidatorChange } from '../domain/validator-plan.ts'
import type { ProposalAnswer, ValidatorsAnswer } from '../gateway/validator-routes.ts'
import { adminOf } from './admin-key.ts'
import type { ApiClient } from './api-client.ts'
import { durationArgument } from './duration.ts'
import { CliError } from './faults.ts'
import { print } from './output.ts'
import { withPeer } from './session.ts'
import { submitTx } from './submit.ts'
import { proposalRows, validatorsText } from './validator-words.ts'

const KEY_PATTERN = /^[0-9a-f]{64}$/

interface ProposeFlags {
  readonly now?: boolean
  readonly for: number
  readonly adminKey: string
}

export function validatorCommands(program: Command): void {
  const validators = program.command('validators').summary('who votes, and changes of it')

  validators
    .command('list')
    .summary('show who votes, what is approved and waits, suspended keys, and proposals')
    .addHelpText('after', '\nExample:\n  apotheca validators list')
    .action(async (_given: object, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const answer = await client.get<ValidatorsAnswer>('/api/v1/validators', { signal })
        if (options.json) print(true, answer, [])
        else process.stdout.write(`${validatorsText(answer)}\n`)
      }),
    )

  validators
    .command('show')
    .summary('show a proposal: what it changes, who approved, how many are missing')
    .argument('<proposal>', 'the proposal')
    .addHelpText('after', '\nExample:\n  apotheca validators show tx1…')
    .action(async (id: string, _given: object, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const proposal = await getProposal(client, parseTxId(id), signal)
        print(options.json, proposal, proposalRows(proposal))
      }),
    )

  proposeCommand(validators)
  approveCommand(validators)
}

function proposeCommand(validators: Command): void {
  // One list for all three options: changes come into force in the order in which they are written.
  const changes: ValidatorChange[] = []
  const change =
    (kind: ValidatorChange['kind']) =>
    (text: string): readonly ValidatorChange[] => {
      changes.push(changeArgument(kind, text))
      return changes
    }
  validators
    .command('propose')
    .summary('propose a change of the validators')
    .description(
      'Proposes changes of the validators, in the order given. They are in force once more than two thirds of the institutions have ' +
        'approved them with their admin keys, from the next epoch on; the proposal counts as the approval of its own institution.',
    )
    .option('--add <institution=key>', 'let an institution vote; its consensusKey from identity.json', change('add'))
    .option('--remove <institution>', 'let a validator vote no more', change('remove'))
    .option('--rotate <institution=key>', 'replace the consensus key of a validator', change('rotate'))
    .option('--now', 'end the epoch as soon as it is approved')
    .addOption(
      new Option('--for <time>', 'how long it may be approved, such as 12h, 30d')
        .argParser(durationArgument)
        .default(durationArgument('7d'), '7d'),
    )
    .requiredOption('--admin-key <file>', 'admin-key.json of the institution')
    .addHelpText(
      'after',
      '\nExamples:\n  apotheca validators propose --add hospital-e=0f3a… --now --admin-key admin-key.json\n' +
        '  apotheca validators propose --rotate hospital-b=91c4… --for 14d --admin-key admin-key.json',
    )
    .action(async (given: ProposeFlags, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const now = given.now === true
        if (changes.length === 0 && !now) throw new CliError({ code: 'VALIDATORS_CHANGE_NEEDED' })
        const admin = await adminOf(client, options, given.adminKey, signal)
        const { base, blockTimeMs } = await client.get<ValidatorsAnswer>('/api/v1/validators', { signal })
        const draft = draftMembershipPropose({
          base,
          changes,
          ...(now ? { now } : {}),
          // Judged by block time: it may stand still for a while, but not run ahead.
          expiresMs: Math.max(blockTimeMs, Date.now()) + given.for,
        })
        const account = { id: admin.institution.account, openSigner: admin.openSigner }
        const { height, tx } = await submitTx(client, account, draft, { signal })
        await reportVoice(client, { json: options.json, signal, proposal: tx, by: admin.institution.id, height })
      }),
    )
}

function approveCommand(validators: Command): void {
  validators
    .command('approve')
    .summary('approve a proposal')
    .description(
      'Approves a proposal in the name of the institution whose admin key is given. Look at it first: "validators show".',
    )
    .argument('<proposal>', 'the proposal')
    .requiredOption('--admin-key <file>', 'admin-key.json of the institution')
    .addHelpText('after', '\nExample:\n  apotheca validators approve tx1… --admin-key admin-key.json')
    .action(async (id: string, given: { adminKey: string }, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const proposal = parseTxId(id)
        const admin = await adminOf(client, options, given.adminKey, signal)
        const account = { id: admin.institution.account, openSigner: admin.openSigner }
        const { height } = await submitTx(client, account, draftMembershipApprove({ proposal }), { signal })
        await reportVoice(client, { json: options.json, signal, proposal, by: admin.institution.id, height })
      }),
    )
}

/** Says how the proposal stands after this institution's voice. */
export async function reportVoice(
  client: ApiClient,
  given: { json: boolean; signal: AbortSignal; proposal: TxId; by: InstitutionId; height: number },
): Promise<void> {
  const { by, height, json, proposal } = given
  const open = await getProposal(client, proposal, given.signal).catch((error: unknown) => {
    // It is let go once it is in force.
    if (faultOf(error)?.code === 'MEMBERSHIP_PROPOSAL_UNKNOWN') return undefined
    throw error
  })
  const voice = ['given', `by ${by}, final at height ${height}`] as const
  if (open !== undefined) print(json, { height, inForce: false, ...open }, [voice, ...proposalRows(open)])
  else {
    print(json, { height, inForce: true, id: proposal }, [
      voice,
      ['proposal', proposal],
      ['decided', 'more than two thirds have approved it; "apotheca validators list" says from when on it counts'],
    ])
  }
}

async function getProposal(client: ApiClient, id: TxId, signal: AbortSignal): Promise<ProposalAnswer> {
  return client.get<ProposalAnswer>(`/api/v1/validators/proposals/${id}`, { signal })
}

function changeArgument(kind: ValidatorChange['kind'], text: string): ValidatorChange {
  const [name = '', key, ...rest] = text.split('=')
  const institution = institutionArgument(name)
  if (kind === 'remove') {
    if (key !== undefined) throw new InvalidArgumentError('name the institution alone')
    return { kind, institution }
  }
  if (key === undefined || rest.length > 0 || !KEY_PATTERN.test(key)) {
    throw new InvalidArgumentError('write institution=key, the key in 64 characters of lower-case hex')
  }
  return { kind, institution, key: fromString(key, 'base16') }
}

function institutionArgument(name: string): InstitutionId {
  try {
    return parseInstitutionId(name)
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    throw new InvalidArgumentError('the id of an institution is 1 to 32 of a-z, 0-9 and -')
  }
}
