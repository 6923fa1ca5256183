/** `gc`, `pin`, `hold`, `lease`, `erase`: what is kept, why, and what goes. */
import { type Command, InvalidArgumentError } from 'commander'
import type { CID } from 'multiformats/cid'
import { type AccountId, parseCid, parseRecordId } from '../core/ids.ts'
import type { Signer } from '../core/ports.ts'
import {
  type CheckedErasure,
  ERASURE_CERTIFICATE_BYTES_MAX,
  checkErasureCertificate,
} from '../domain/erasure-certificate.ts'
import { draftStorageErase } from '../domain/storage-erasure.ts'
import { draftStorageHold, draftStorageUnhold } from '../domain/storage-holds.ts'
import { draftStorageRelease, draftStorageRenew } from '../domain/storage-leases.ts'
import type { KeepingAnswer } from '../gateway/storage-routes.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import type { CollectionSummary } from '../peer/collection-report.ts'
import type { Pin } from '../peer/pins.ts'
import { adminOf } from './admin-key.ts'
import { durationArgument } from './duration.ts'
import { readBounded, trustedChain, writeProof } from './ledger-commands.ts'
import { print } from './output.ts'
import { type Mention, mentionsOf, readRecord, readVersion } from './record-reads.ts'
import { type Session, run, withPeer } from './session.ts'
import { certificateRows, collectionText, holdsText, pinsText } from './storage-words.ts'
import { submitTx } from './submit.ts'

interface SignerFlags {
  readonly as?: string
  readonly adminKey?: string
}

export function storageCommands(program: Command): void {
  program
    .command('gc')
    .summary('remove from this peer what nothing needs any more')
    .description(
      'Removes blocks that nothing has needed for as long as the chain says (7 days, unless its genesis says otherwise), by the time of final ' +
        'blocks. The peer does so by itself; with --dry-run it only lists what would go, why, and when at the earliest.',
    )
    .option('--dry-run', 'remove nothing', false)
    .addHelpText('after', '\nExample:\n  apotheca gc --dry-run')
    .action(async (given: { dryRun: boolean }, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const path = `/api/v1/gc?dry=${given.dryRun}`
        const summary = await client.get<CollectionSummary>(path, { method: 'POST', signal })
        if (options.json) print(true, summary, [])
        else process.stdout.write(`${collectionText(summary, given.dryRun)}\n`)
      }),
    )
  pinCommands(program)
  holdCommands(program)
  leaseCommands(program)
  eraseCommands(program)
}

function pinCommands(program: Command): void {
  const pin = program.command('pin').summary('what users keep on this peer')
  pin
    .command('list')
    .summary('list what is kept, "get --keep" included')
    .addHelpText('after', '\nExample:\n  apotheca pin list')
    .action(async (_given: object, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const { pins } = await client.get<{ pins: readonly Pin[] }>('/api/v1/pins', { signal })
        if (options.json) print(true, { pins }, [])
        else process.stdout.write(`${pinsText(pins)}\n`)
      }),
    )
  const change = (name: string, method: string, summary: string, done: string): void => {
    pin
      .command(name)
      .summary(summary)
      .argument('<cid>', 'what is below it and here')
      .addHelpText('after', `\nExample:\n  apotheca pin ${name} bafyrei…`)
      .action(async (text: string, _given: object, command: Command) =>
        withPeer(command, async ({ client, options, signal }) => {
          const cid = parseCid(text)
          await client.call(`/api/v1/pins/${cid.toString()}`, { method, signal })
          print(options.json, { cid }, [[done, cid.toString()]])
        }),
      )
  }
  change('add', 'PUT', 'keep what is here below a CID, whatever the ledger says', 'kept')
  change('remove', 'DELETE', 'keep it no longer: it goes when nothing else needs it', 'no longer kept')
}

function holdCommands(program: Command): void {
  const hold = program.command('hold').summary('legal holds: what must not be deleted')
  hold
    .command('add')
    .summary('place a hold on an object')
    .description(
      'Places a hold in the name of a court, a regulator, the institution that stored the object, or the custodian of a record that names it. ' +
        'While it lasts the object is kept and can not be erased.',
    )
    .argument('<object>', 'CID that "put" printed as object')
    .requiredOption('--reason <code>', 'agreed between institutions, such as litigation, retention; never a name')
    .requiredOption('--admin-key <file>', 'admin-key.json of the institution')
    .option('--record <record:version>', 'a version that names the object, for its custodian', recordVersionArgument)
    .addHelpText('after', '\nExample:\n  apotheca hold add bafyrei… --reason litigation --admin-key admin-key.json')
    .action(async (object: string, given: SignerFlags & { reason: string; record?: Mention }, command: Command) =>
      withPeer(command, async (session) => {
        const { reason, record } = given
        const manifest = parseCid(object)
        const named = record === undefined ? {} : { record }
        await submitAs(session, given, draftStorageHold({ manifest, reason, ...named }), ['held', manifest])
      }),
    )
  hold
    .command('remove')
    .summary('lift the own hold')
    .argument('<object>', 'CID of the object')
    .requiredOption('--admin-key <file>', 'admin-key.json of the institution')
    .addHelpText('after', '\nExample:\n  apotheca hold remove bafyrei… --admin-key admin-key.json')
    .action(async (object: string, given: SignerFlags, command: Command) =>
      withPeer(command, async (session) => {
        const manifest = parseCid(object)
        await submitAs(session, given, draftStorageUnhold(manifest), ['hold lifted', manifest])
      }),
    )
  hold
    .command('list')
    .summary('show why an object is kept: records, lease, holds')
    .argument('<object>', 'CID of the object')
    .addHelpText('after', '\nExample:\n  apotheca hold list bafyrei…')
    .action(async (object: string, _given: object, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const answer = await client.get<KeepingAnswer>(`/api/v1/objects/${parseCid(object).toString()}/keeping`, {
          signal,
        })
        if (options.json) print(true, answer, [])
        else process.stdout.write(`${holdsText(answer)}\n`)
      }),
    )
}

function leaseCommands(program: Command): void {
  const lease = program.command('lease').summary('how long an object is kept that no record names')
  lease
    .command('renew')
    .summary('keep an object for longer')
    .argument('<object>', 'CID of the object')
    .requiredOption('--for <time>', 'from now, such as 30d, 2y', durationArgument)
    .option('--as <name>', 'account that stored it')
    .option('--admin-key <file>', 'or admin-key.json of its institution')
    .addHelpText('after', '\nExample:\n  apotheca lease renew bafyrei… --for 2y --as radiology')
    .action(async (object: string, given: SignerFlags & { for: number }, command: Command) =>
      withPeer(command, async (session) => {
        const manifest = parseCid(object)
        const path = `/api/v1/objects/${manifest.toString()}/keeping`
        const { blockTimeMs } = await session.client.get<KeepingAnswer>(path, { signal: session.signal })
        const leaseMs = Math.max(blockTimeMs, Date.now()) + given.for
        await submitAs(session, given, draftStorageRenew({ manifest, leaseMs }), ['kept for longer', manifest])
      }),
    )
  lease
    .command('release')
    .summary('let an object go: unless a record names it or a hold is on it, it is deleted after some days')
    .argument('<object>', 'CID of the object')
    .option('--as <name>', 'account that stored it')
    .option('--admin-key <file>', 'or admin-key.json of its institution')
    .addHelpText('after', '\nExample:\n  apotheca lease release bafyrei… --as radiology')
    .action(async (object: string, given: SignerFlags, command: Command) =>
      withPeer(command, async (session) => {
        const manifest = parseCid(object)
        await submitAs(session, given, draftStorageRelease(manifest), ['released', manifest])
      }),
    )
}

function eraseCommands(program: Command): void {
  const erase = program
    .command('erase')
    .summary('have an object deleted everywhere, for good')
    .description(
      'Erases an object: every peer that holds a part of it deletes that at once, and signs so. By its institution, by the account that ' +
        'stored it while no record names it, or by the patient of all records that do: name the record then.',
    )
    .argument('<target>', 'CID of an object, or a record')
    .option('--as <name>', 'account that asks for it')
    .option('--admin-key <file>', 'or admin-key.json of its institution')
    .addHelpText(
      'after',
      '\nExamples:\n  apotheca erase bafyrei… --as radiology\n  apotheca erase certificate bafyrei…',
    )
    .action(async (target: string, given: SignerFlags, command: Command) =>
      withPeer(command, async (session) => {
        const { manifest, records } = await erasedTarget(session, target)
        await submitAs(session, given, draftStorageErase({ manifest, records }), ['erased', manifest])
      }),
    )
  erase
    .command('certificate')
    .summary('show who has signed the deletion, and who has not; write it to a file')
    .argument('<object>', 'CID of the object')
    .option('--out <file>', 'write the certificate, which anyone can check without a peer')
    .option('--force', 'overwrite the file', false)
    .addHelpText('after', '\nExample:\n  apotheca erase certificate bafyrei… --out erased.cert')
    .action(async (object: string, given: { out?: string; force: boolean }, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const { body } = await client.call(`/api/v1/objects/${parseCid(object).toString()}/erasure`, { signal })
        const { chain } = await client.get<{ chain: string }>('/api/v1/ledger/head', { signal })
        const checked = await checkErasureCertificate(new Uint8Array(body), await trustedChain({ chain }))
        if (given.out !== undefined) await writeProof(given.out, new Uint8Array(body), given.force)
        printCertificate(options.json, checked, given.out)
      }),
    )
  erase
    .command('check')
    .summary('check an erasure certificate; needs no peer and no network')
    .argument('<file>', 'the certificate')
    .option('--chain <id>', 'id of the chain, from a source that you trust')
    .option('--genesis <file>', 'or the genesis of the consortium, from a source that you trust')
    .addHelpText('after', '\nExample:\n  apotheca erase check erased.cert --chain bafyrei…')
    .action(async (file: string, given: { chain?: string; genesis?: string }, command: Command) =>
      run(command, async (options) => {
        const bytes = await readBounded(file, ERASURE_CERTIFICATE_BYTES_MAX)
        const checked = await checkErasureCertificate(bytes, await trustedChain(given))
        printCertificate(options.json, checked, undefined)
      }),
    )
}

function printCertificate(json: boolean, checked: CheckedErasure, out: string | undefined): void {
  const rows = certificateRows(checked)
  const { certificate, proved } = checked
  print(
    json,
    { ...certificate, proved, ...(out === undefined ? {} : { out }) },
    out === undefined ? rows : [...rows, ['written', out]],
  )
}

/** A record's newest object, with all versions of the record that name it. */
async function erasedTarget(
  { client, signal }: Session,
  target: string,
): Promise<{ readonly manifest: CID; readonly records: readonly Mention[] }> {
  if (!target.startsWith('rec1')) return { manifest: parseCid(target), records: [] }
  const record = await readRecord(client, parseRecordId(target))
  const { manifest } = await readVersion(client, record)
  const path = `/api/v1/objects/${manifest.toString()}/keeping`
  const { records: named } = await client.get<KeepingAnswer>(path, { signal })
  return { manifest, records: await mentionsOf(client, record, manifest, named) }
}

async function submitAs(
  session: Session,
  given: SignerFlags,
  draft: DraftTx,
  [done, manifest]: readonly [string, CID],
): Promise<void> {
  const { client, options, signal } = session
  const { height, tx } = await submitTx(client, await signerOf(session, given), draft, { signal })
  print(options.json, { manifest, tx, height }, [
    [done, manifest.toString()],
    ['final', `at height ${height}`],
  ])
}

async function signerOf(
  { account, client, options, signal }: Session,
  { adminKey, as }: SignerFlags,
): Promise<{ readonly id: AccountId; openSigner(): Promise<Signer> }> {
  if (adminKey === undefined) return account(as)
  const admin = await adminOf(client, options, adminKey, signal)
  return { id: admin.institution.account, openSigner: admin.openSigner }
}

function recordVersionArgument(text: string): Mention {
  const [, record, version] = /^(rec1[^:]+):([1-9]\d{0,8})$/.exec(text) ?? []
  if (record === undefined) throw new InvalidArgumentError('write a record and the number of a version: rec1…:2')
  return { record: parseRecordId(record), version: Number(version) }
}
