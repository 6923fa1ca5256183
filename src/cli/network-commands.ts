/** `network create | members | layout | leave | propose`: the consortium, and what a change of it would move. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { setTimeout as waitMs } from 'node:timers/promises'
import { CodedError } from '../core/coded-error.ts'
import { type InstitutionId, parseInstitutionId } from '../core/ids.ts'
import { LEAVE_LOOK_MS } from '../core/limits.ts'
import { parseSize } from '../core/size.ts'
import type { ChangedAnswer, LayoutAnswer, LeaveAnswer, MembersAnswer } from '../gateway/network-routes.ts'
import type { ValidatorsAnswer } from '../gateway/validator-routes.ts'
import { adminOf } from './admin-key.ts'
import { durationArgument } from './duration.ts'
import type { OfferChange } from './layout-plan.ts'
import { columns, print } from './output.ts'
import { run, withPeer } from './session.ts'
import { submitTx } from './submit.ts'
import { reportVoice } from './validator-commands.ts'

const WITH_PATTERN = /^([^=@]+)=([^=@]+)(?:@([a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?))?$/
const CAPACITY_PATTERN = /^([^=@]+)=([^=@]+)$/

export function networkCommands(program: Command): void {
  const network = program.command('network').summary('the consortium')
  createCommand(network)
  membersCommand(network)
  layoutCommand(network)
  leaveCommand(network)
  proposeCommand(network)
}

function membersCommand(network: Command): void {
  network
    .command('members')
    .summary('show the member institutions and their peers')
    .addHelpText('after', '\nExample:\n  apotheca network members')
    .action(async (_given: object, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const answer = await client.get<MembersAnswer>('/api/v1/network/members', { signal })
        const { membersText } = await import('./network-words.ts')
        if (options.json) print(true, answer, [])
        else process.stdout.write(`${membersText(answer)}\n`)
      }),
    )
}

function layoutCommand(network: Command): void {
  // One list for all three options: changes are made in the order in which they are written.
  const changes: OfferChange[] = []
  const change =
    (kind: OfferChange['kind']) =>
    (text: string): readonly OfferChange[] => {
      changes.push(changeArgument(kind, text))
      return changes
    }
  network
    .command('layout')
    .summary('show who stores how much, or what a change of that would move')
    .description(
      'Shows the placement table in force: peers, zones, shares, and how full they are. With a change it shows what that would move, ' +
        'and changes nothing.',
    )
    .option(
      '--with <institution=bytes[@zone]>',
      'as if it offered so much more room, such as clinic=10TiB@west',
      change('with'),
    )
    .option('--without <institution>', 'as if it offered none', change('without'))
    .option('--capacity <institution=bytes>', 'as if it offered so much in all', change('capacity'))
    .addHelpText(
      'after',
      '\nExamples:\n  apotheca network layout\n  apotheca network layout --with clinic-g=20TiB@harbour --without lab-c',
    )
    .action(async (_given: object, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const answer = await client.get<LayoutAnswer>('/api/v1/network/layout', { signal })
        const { planLayout, tableInForce } = await import('./layout-plan.ts')
        const { layoutText, planText } = await import('./network-words.ts')
        const inForce = tableInForce(answer)
        if (changes.length === 0) {
          if (options.json) print(true, answer, [])
          else process.stdout.write(`${layoutText(answer, inForce)}\n`)
          return
        }
        const plan = planLayout(answer, changes)
        const { table, ...moved } = plan
        const { code, groups, peers } = table
        if (options.json) print(true, { height: answer.height, changes, code, groups, peers, ...moved }, [])
        else process.stdout.write(`${planText(answer, inForce, changes, plan)}\n`)
      }),
    )
}

function leaveCommand(network: Command): void {
  network
    .command('leave')
    .summary('give up storing: drain the peers of this institution')
    .description(
      'Drains the storage peers of the institution whose peer this is: they get nothing new, and others take over what they hold. ' +
        'Repeated, it says how much they still hold.',
    )
    .addOption(new Option('--wait', 'wait until they hold nothing').conflicts('cancel'))
    .option('--cancel', 'stay: offer the room of what is draining again, as it was')
    .addHelpText('after', '\nExample:\n  apotheca network leave --wait')
    .action(async (given: { wait?: boolean; cancel?: boolean }, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const { heldColumns, leaveRows, stayRows } = await import('./network-words.ts')
        const path = '/api/v1/network/leave'
        const isStaying = given.cancel === true
        const method = isStaying ? 'DELETE' : 'POST'
        const { changed } = await client.get<ChangedAnswer>(path, { method, signal })
        let answer = await client.get<LeaveAnswer>(path, { signal })
        while (given.wait === true && heldColumns(answer.peers) > 0) {
          await waitMs(LEAVE_LOOK_MS, undefined, { signal })
          answer = await client.get<LeaveAnswer>(path, { signal })
        }
        const rows = isStaying ? stayRows(answer, changed.length) : leaveRows(answer, changed.length)
        print(options.json, { ...answer, changed }, rows)
      }),
    )
}

interface ProposeFlags {
  readonly admit?: string
  readonly name?: string
  readonly role?: string
  readonly addPeer?: string
  readonly removePeer?: string
  readonly remove?: string
  readonly for: number
  readonly adminKey: string
}

function proposeCommand(network: Command): void {
  network
    .command('propose')
    .summary('propose to admit or remove an institution, or a peer of one')
    .description(
      'Proposes one change of the members. It is in force with the approval that makes more than two thirds of the institutions; the ' +
        'others approve it with "validators approve".',
    )
    .option('--admit <identity.json>', 'admit the institution whose peer made this file')
    .option('--name <name>', 'with --admit: its name, for people')
    .option('--role <role>', 'with --admit: what it is, such as hospital')
    .option('--add-peer <institution=id>', 'let a further peer of an institution in')
    .option('--remove-peer <institution=id>', 'let a peer in no more')
    .option('--remove <institution>', 'end the membership of an institution')
    .addOption(
      new Option('--for <time>', 'how long it may be approved, such as 12h, 30d')
        .argParser(durationArgument)
        .default(durationArgument('7d'), '7d'),
    )
    .requiredOption('--admin-key <file>', 'admin-key.json of the institution that proposes')
    .addHelpText(
      'after',
      '\nExamples:\n  apotheca network propose --admit clinic.json --name "Clinic G" --role hospital --admin-key admin-key.json\n' +
        '  apotheca network propose --remove lab-c --admin-key admin-key.json',
    )
    .action(async (given: ProposeFlags, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const { memberChangeOf } = await import('./member-change.ts')
        const member = await memberChangeOf(given)
        const { draftMembershipPropose } = await import('../domain/membership.ts')
        const admin = await adminOf(client, options, given.adminKey, signal)
        const { base, blockTimeMs } = await client.get<ValidatorsAnswer>('/api/v1/validators', { signal })
        const expiresMs = Math.max(blockTimeMs, Date.now()) + given.for
        const draft = draftMembershipPropose({ base, changes: [], member, expiresMs })
        const account = { id: admin.institution.account, openSigner: admin.openSigner }
        const { height, tx } = await submitTx(client, account, draft, { signal })
        await reportVoice(client, { json: options.json, signal, proposal: tx, by: admin.institution.id, height })
      }),
    )
}

function createCommand(network: Command): void {
  network
    .command('create')
    .summary('make the genesis of a new consortium')
    .description('Merges a template with the public identities of the founding peers. Its hash is the id of the chain.')
    .argument('<template>', 'institutions and validators, without keys')
    .argument('<identities...>', 'identity.json of each founding peer')
    .requiredOption('--out <file>', 'genesis to write')
    .option(
      '--extra-peer <institution=id>',
      'a further peer id, such as of an IPFS program; repeatable',
      extraPeer,
      new Map(),
    )
    .addHelpText(
      'after',
      '\nExample:\n  apotheca network create template.json a/identity.json b/identity.json --out genesis.json',
    )
    .action(
      async (
        template: string,
        identities: string[],
        given: { out: string; extraPeer: Map<string, string[]> },
        command: Command,
      ) =>
        run(command, async (options) => {
          const { makeGenesis } = await import('../peer/network.ts')
          const { readPublicIdentity, writeWhole } = await import('../peer/identity.ts')
          const founders = await Promise.all(identities.map(readPublicIdentity))
          const { chain, genesis, json } = await makeGenesis(template, founders, {
            nowMs: Date.now(),
            extraPeers: given.extraPeer,
          })
          await writeWhole(given.out, json, 0o644)
          const rows = genesis.institutions.map((one) => [one.id, one.role, String(one.peers.length)])
          print(options.json, { chain, genesis: given.out, institutions: genesis.institutions.map((one) => one.id) }, [
            ['network', genesis.name],
            ['chain', chain],
            ['genesis', given.out],
            ['members', `\n${columns(['institution', 'role', 'peers'], rows)}`],
          ])
        }),
    )
}

function changeArgument(kind: OfferChange['kind'], text: string): OfferChange {
  if (kind === 'without') return { kind, institution: institutionArgument(text) }
  const [, name = '', size = '', zone] = (kind === 'with' ? WITH_PATTERN : CAPACITY_PATTERN).exec(text) ?? []
  if (name === '') {
    throw new InvalidArgumentError(`write institution=bytes${kind === 'with' ? ' or institution=bytes@zone' : ''}`)
  }
  const institution = institutionArgument(name)
  const bytes = sizeArgument(size)
  return kind === 'with'
    ? { kind, institution, bytes, ...(zone === undefined ? {} : { zone }) }
    : { kind, institution, bytes }
}

function sizeArgument(text: string): number {
  const bytes = parseSize(text)
  if (bytes === undefined || bytes === 0) throw new InvalidArgumentError('write a number and a unit: 500GiB, 20TiB')
  return bytes
}

function institutionArgument(name: string): InstitutionId {
  try {
    return parseInstitutionId(name)
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    throw new InvalidArgumentError('the id of an institution is 1 to 32 of a-z, 0-9 and -')
  }
}

function extraPeer(text: string, before: Map<string, string[]>): Map<string, string[]> {
  const [institution, id, ...rest] = text.split('=')
  if (institution === undefined || id === undefined || rest.length > 0)
    throw new InvalidArgumentError('write institution=peer-id')
  return new Map(before).set(institution, [...(before.get(institution) ?? []), id])
}
