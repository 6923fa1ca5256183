/** `consent grant | list`: what the patient lets others read. */
import { type Command, Option } from 'commander'
import { type AccountId, parseAccountId, parseRecordId } from '../core/ids.ts'
import { wrapKey } from '../crypto/envelope.ts'
import { PURPOSES_OF_USE, type PurposeOfUse, draftConsentGrant, grantKeyContext } from '../domain/grants.ts'
import { integerArgument } from './content-commands.ts'
import { durationArgument } from './duration.ts'
import type { NextAnswer } from './ledger-answers.ts'
import { columns, print, timeText } from './output.ts'
import { encryptionKeyOf } from './record-commands.ts'
import { readGrants } from './record-reads.ts'
import { withPeer } from './session.ts'
import { submitTx } from './submit.ts'
import { objectKey, resolveObject } from './target.ts'
import { TreeReader } from './tree-reader.ts'

interface GrantFlags {
  readonly to: string
  readonly purpose: PurposeOfUse
  readonly for: number
  readonly versionNumber?: number
  readonly as?: string
}

export function consentCommands(program: Command): void {
  const consent = program.command('consent').summary('consent: who may read what, for which purpose, until when')

  consent
    .command('grant')
    .summary('let an account read a record')
    .description(
      'Signed by the patient: wraps the key of one version of a record to the account, and puts the grant on the ledger.',
    )
    .argument('<record>', 'the record')
    .requiredOption('--to <account>', 'account that may read')
    .addOption(
      new Option('--purpose <code>', 'HL7 PurposeOfUse, such as TREAT, HRESCH, HPAYMT')
        .choices(PURPOSES_OF_USE)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--for <time>', 'how long, such as 12h, 30d, 1y')
        .argParser(durationArgument)
        .default(durationArgument('30d'), '30d'),
    )
    .option('--version-number <n>', 'version of the record; by default the newest', integerArgument)
    .option('--as <name>', 'the patient')
    .addHelpText('after', '\nExample:\n  apotheca consent grant rec1… --to acc1… --purpose HRESCH --for 90d --as alice')
    .action(async (id: string, given: GrantFlags, command: Command) =>
      withPeer(command, async ({ account, client, options, signal }) => {
        const patient = await account(given.as)
        const grantee = parseAccountId(given.to)
        const object = await resolveObject(
          client,
          new TreeReader(client, signal),
          parseRecordId(id),
          given.versionNumber,
        )
        const { key } = await objectKey(client, patient, object)
        const record = parseRecordId(id)
        const version = object.record?.version ?? 1
        const context = grantKeyContext({ record, version, manifest: object.manifestCid, grantee })
        const wrapped = await wrapKey(await encryptionKeyOf(client, grantee), key, context)
        // Grants are judged by block time: it begins with the block that is final now.
        const { blockTimeMs: startMs } = await client.get<NextAnswer>(`/api/v1/accounts/${patient.id}/next`)
        const endMs = Math.max(startMs, Date.now()) + given.for
        const draft = draftConsentGrant({
          record,
          version,
          grantee,
          purpose: given.purpose,
          startMs,
          endMs,
          key: wrapped,
        })
        const { height, tx } = await submitTx(client, patient, draft, { signal })
        print(options.json, { record, version, grantee, purpose: given.purpose, startMs, endMs, tx, height }, [
          ['granted', `${grantee} may read version ${version} for ${given.purpose}`],
          ['until', `${timeText(endMs)} UTC`],
          ['final', `at height ${height}`],
        ])
      }),
    )

  consent
    .command('list')
    .summary('list grants on a record, or to an account')
    .option('--record <record>', 'grants on this record')
    .option('--to <account>', 'grants to this account')
    .option('--as <name>', 'acting account, where neither is given: grants to it')
    .addHelpText('after', '\nExample:\n  apotheca consent list --record rec1…')
    .action(async (given: { record?: string; to?: string; as?: string }, command: Command) =>
      withPeer(command, async ({ account, client, options }) => {
        const grantee = async (): Promise<AccountId> =>
          given.to === undefined ? (await account(given.as)).id : parseAccountId(given.to)
        const of = given.record === undefined ? { grantee: await grantee() } : { record: parseRecordId(given.record) }
        const grants = await Array.fromAsync(readGrants(client, of))
        if (options.json) print(true, { grants: grants.map(({ key: _key, ...grant }) => grant) }, [])
        else if (grants.length === 0) process.stdout.write('no grants\n')
        else {
          const rows = grants.map((one) => [
            one.inForce ? 'in force' : 'not in force',
            one.purpose,
            `${timeText(one.endMs)}`,
            `${one.record} v${one.version}`,
            one.grantee,
          ])
          process.stdout.write(`${columns(['grant', 'purpose', 'until (UTC)', 'record', 'may be read by'], rows)}\n`)
        }
      }),
    )
}
