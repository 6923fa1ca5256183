/** `record add | amend | list | show`: what a patient's record holds, across institutions. */
import type { Command } from 'commander'
import { type AccountId, type TxId, parseAccountId, parseCid, parseRecordId } from '../core/ids.ts'
import { byteString } from '../core/schema.ts'
import { type WrappedKey, wrapKey } from '../crypto/envelope.ts'
import {
  type MedicalRecord,
  draftRecordAdd,
  draftRecordAmend,
  recordIdOfTx,
  recordKeyContext,
} from '../domain/records.ts'
import { accountIdOfKeys, accountKeysBy } from '../ledger/account-keys.ts'
import type { CID } from 'multiformats/cid'
import type { CliAccount } from './account.ts'
import type { ApiClient } from './api-client.ts'
import { CliError } from './faults.ts'
import type { AccountAnswer } from './ledger-answers.ts'
import { columns, print, timeText } from './output.ts'
import { readRecord, readRecordsOf, readVersions } from './record-reads.ts'
import { type Session, withPeer } from './session.ts'
import { submitTx } from './submit.ts'
import { objectKey, resolveObject } from './target.ts'
import { TreeReader } from './tree-reader.ts'

const accountKeys = accountKeysBy(byteString)

interface AddFlags {
  readonly patient: string
  readonly category: string
  readonly as?: string
}

export function recordCommands(program: Command): void {
  const record = program.command('record').summary('medical records: which objects belong to which patient')

  record
    .command('add')
    .summary('add an object to the record of a patient')
    .description('Names a stored object on the ledger as a record of a patient, with its key wrapped to the patient.')
    .argument('<object>', 'CID that "put" printed as object')
    .requiredOption('--patient <account>', 'account of the patient')
    .requiredOption('--category <name>', 'such as imaging, surgery, medication')
    .option('--as <name>', 'account that signs: the author')
    .addHelpText(
      'after',
      '\nExample:\n  apotheca record add bafyrei… --patient acc1… --category imaging --as radiology',
    )
    .action(async (object: string, given: AddFlags, command: Command) =>
      withPeer(command, async (session) => {
        const { client, options, signal } = session
        const author = await session.account(given.as)
        const patient = parseAccountId(given.patient)
        const manifest = parseCid(object)
        const key = await rewrapFor(session, author, manifest, patient)
        const draft = draftRecordAdd({ patient, category: given.category, manifest, key })
        const { height, tx } = await submitTx(client, author, draft, { signal })
        const id = recordIdOfTx(tx)
        print(options.json, { record: id, version: 1, tx, height }, [
          ['record', id],
          ['version', '1'],
          ['final', `at height ${height}`],
        ])
      }),
    )

  record
    .command('amend')
    .summary('add a new version to a record')
    .argument('<record>', 'the record')
    .argument('<object>', 'CID that "put" printed as object')
    .option('--as <name>', 'account that signs')
    .addHelpText('after', '\nExample:\n  apotheca record amend rec1… bafyrei… --as radiology')
    .action(async (id: string, object: string, given: { as?: string }, command: Command) =>
      withPeer(command, async (session) => {
        const { client, options, signal } = session
        const author = await session.account(given.as)
        const record = parseRecordId(id)
        const manifest = parseCid(object)
        const before = await readRecord(client, record)
        const key = await rewrapFor(session, author, manifest, before.patient)
        const { height, tx } = await submitTx(client, author, draftRecordAmend({ record, manifest, key }), { signal })
        const version = await versionOf(client, before, tx)
        print(options.json, { record, version, tx, height }, [
          ['record', record],
          ['version', String(version)],
          ['final', `at height ${height}`],
        ])
      }),
    )

  record
    .command('list')
    .summary('list the records of a patient')
    .option('--patient <account>', 'account of the patient; by default the acting account')
    .option('--as <name>', 'acting account')
    .addHelpText('after', '\nExample:\n  apotheca record list --patient acc1…')
    .action(async (given: { patient?: string; as?: string }, command: Command) =>
      withPeer(command, async ({ account, client, options }) => {
        const patient = given.patient === undefined ? (await account(given.as)).id : parseAccountId(given.patient)
        const records = await Array.fromAsync(readRecordsOf(client, patient))
        if (options.json) print(true, { records }, [])
        else if (records.length === 0) process.stdout.write('no records\n')
        else {
          const rows = records.map((one) => [
            timeText(one.addedMs),
            one.category,
            one.custodian,
            String(one.versions),
            one.id,
          ])
          process.stdout.write(`${columns(['added (UTC)', 'category', 'kept by', 'versions', 'record'], rows)}\n`)
        }
      }),
    )

  record
    .command('show')
    .summary('show a record with its versions')
    .argument('<record>', 'the record')
    .addHelpText('after', '\nExample:\n  apotheca record show rec1…')
    .action(async (id: string, _given: object, command: Command) =>
      withPeer(command, async ({ client, options }) => {
        const record = await readRecord(client, parseRecordId(id))
        const versions = await Array.fromAsync(readVersions(client, record.id), ({ key: _key, ...one }) => one)
        const rows = versions.map((one) => [
          String(one.version),
          timeText(one.timeMs),
          one.org,
          one.manifest.toString(),
        ])
        print(options.json, { ...record, versions }, [
          ['record', record.id],
          ['patient', record.patient],
          ['category', record.category],
          ['kept by', record.custodian],
          ['versions', `\n${columns(['no.', 'added (UTC)', 'by', 'object'], rows)}`],
        ])
      }),
    )
}

/** Opens the object's key as the author, and wraps it to the patient. */
async function rewrapFor(session: Session, author: CliAccount, manifest: CID, patient: AccountId): Promise<WrappedKey> {
  const { client, signal } = session
  const object = await resolveObject(client, new TreeReader(client, signal), manifest.toString(), undefined)
  const { key } = await objectKey(client, author, object)
  return wrapKey(await encryptionKeyOf(client, patient), key, recordKeyContext({ patient, manifest }))
}

/**
 * The key that things are sealed to an account with. The peer is not believed: an account's id is the hash of the keys that it began with,
 * and nothing adds keys to an account. What comes with a later key can't be checked here, and isn't used.
 *
 * @throws {CliError} `ACCOUNT_KEYS_DIFFER`; {CodecError} `CODEC_SHAPE`; {ApiError}
 */
export async function encryptionKeyOf(client: ApiClient, account: AccountId): Promise<CliAccount['encryption']> {
  const { keys } = await client.get<AccountAnswer>(`/api/v1/accounts/${account}`)
  const [first] = keys
  if (first !== undefined && keys.length === 1) {
    const { encryption, signingKey } = first
    const read = accountKeys({ encryption, signingKey }, 'keys[0]')
    if (accountIdOfKeys(read) === account) return read.encryption
  }
  throw new CliError({ code: 'ACCOUNT_KEYS_DIFFER', account })
}

/** The version that a final amendment has become: among those since, of which others may have written some. */
async function versionOf(client: ApiClient, before: Pick<MedicalRecord, 'id' | 'versions'>, tx: TxId): Promise<number> {
  const { id, versions } = before
  for await (const one of readVersions(client, id, versions)) if (one.tx === tx) return one.version
  throw new CliError({ code: 'PEER_ANSWER_INVALID' })
}
