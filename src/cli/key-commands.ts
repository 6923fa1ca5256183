/** `key create`, `key register`, `key show`: accounts of people. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type WrapProfile, generateEncryptionKey } from '../crypto/envelope.ts'
import { sealKeystore } from '../crypto/keystore.ts'
import { generateSigningKey } from '../crypto/signatures.ts'
import { draftAccountCreate } from '../domain/accounts.ts'
import { KeystoreFileError, readKeystoreFile, writeKeystoreFile } from '../store/keystore-file.ts'
import { type CliAccount, ENCRYPTION_KEY, SIGNING_KEY, accountOf, openAccount } from './account.ts'
import { ApiClient, ApiError } from './api-client.ts'
import { CliError } from './faults.ts'
import { type GlobalOptions, keystorePath, peerAddress } from './home.ts'
import type { AccountAnswer } from './ledger-answers.ts'
import { print } from './output.ts'
import { newPassphrase } from './passphrase.ts'
import { run, withPeer } from './session.ts'
import { type FinalTx, submitTx } from './submit.ts'

export function keyCommands(program: Command): void {
  const key = program.command('key').summary('accounts: their keys, and their place on the ledger')

  key
    .command('create')
    .summary('make an account and register it')
    .description(
      'Makes the keys of an account, seals them under a passphrase, and registers the account through the peer.',
    )
    .argument('<name>', 'name of the keystore on this machine; it is sent nowhere', nameArgument)
    .addOption(
      new Option('--wrap <profile>', 'how keys are wrapped to the account')
        .choices(['x-wing', 'x25519'])
        .default('x-wing', 'x-wing, post-quantum'),
    )
    .option('--offline', 'do not register; do it later with "key register"', false)
    .addHelpText('after', '\nExample:\n  apotheca key create alice')
    .action(async (name: string, given: { wrap: WrapProfile; offline: boolean }, command: Command) =>
      run(command, async (options, signal) => {
        const account = await createAccount(options, name, given.wrap)
        const registered = given.offline ? undefined : await register(options, account, signal)
        print(options.json, { account: account.id, ...registered }, [
          ['account', account.id],
          ['keystore', keystorePath(options.home, name)],
          ['ledger', registered === undefined ? 'not registered yet' : `registered at height ${registered.height}`],
        ])
      }),
    )

  key
    .command('register')
    .summary('register an account made offline')
    .argument('[name]', 'name of the keystore')
    .addHelpText('after', '\nExample:\n  apotheca key register alice')
    .action(async (name: string | undefined, _given: object, command: Command) =>
      run(command, async (options, signal) => {
        const account = await openAccount(options, name)
        const registered = await register(options, account, signal)
        print(options.json, { account: account.id, ...registered }, [
          ['account', account.id],
          ['ledger', `registered at height ${registered.height}`],
        ])
      }),
    )

  key
    .command('show')
    .summary('show an account: its id, keys, and what the ledger has')
    .argument('[name]', 'name of the keystore')
    .option('--offline', 'do not ask the ledger', false)
    .addHelpText('after', '\nExample:\n  apotheca key show alice')
    .action(async (name: string | undefined, given: { offline: boolean }, command: Command) => {
      const show = async (options: GlobalOptions, onLedger: AccountAnswer | undefined): Promise<void> => {
        const account = await openAccount(options, name)
        const { encryption, id, signingKey } = account
        print(options.json, { account: id, signingKey, encryption, institution: onLedger?.org }, [
          ['account', id],
          ['signing key', `ed25519 ${Buffer.from(signingKey).toString('hex')}`],
          ['encryption', `${encryption.wrap}, ${encryption.publicKey.length} bytes`],
          [
            'ledger',
            given.offline ? 'not asked' : onLedger === undefined ? 'not registered' : `registered by ${onLedger.org}`,
          ],
        ])
      }
      if (given.offline) await run(command, async (options) => show(options, undefined))
      else {
        await withPeer(command, async ({ options, client, account }) =>
          show(options, await ledgerAccount(client, (await account(name)).id)),
        )
      }
    })
}

async function createAccount(options: GlobalOptions, name: string, wrap: WrapProfile): Promise<CliAccount> {
  const path = keystorePath(options.home, name)
  const passphrase = await newPassphrase(options.passphraseFile, name)
  const encryption = await generateEncryptionKey(wrap)
  const keys = [
    { name: SIGNING_KEY, type: 'ed25519' as const, ...generateSigningKey() },
    { name: ENCRYPTION_KEY, type: wrap, publicKey: encryption.publicKey, privateKey: encryption.privateKey },
  ]
  try {
    await writeKeystoreFile(path, await sealKeystore(keys, passphrase))
  } catch (error) {
    const taken = error instanceof KeystoreFileError && error.fault.code === 'KEYSTORE_FILE_EXISTS'
    throw taken ? new CliError({ code: 'KEYSTORE_EXISTS', file: path }, { cause: error }) : error
  }
  // The passphrase is still at hand: it isn't asked for again to sign the registration.
  return accountOf(name, await readKeystoreFile(path), async () => passphrase)
}

async function register(options: GlobalOptions, account: CliAccount, signal: AbortSignal): Promise<FinalTx> {
  const client = new ApiClient(await peerAddress(options))
  try {
    const { encryption, signingKey } = account
    return await submitTx(client, account, draftAccountCreate({ signingKey, encryption }), {
      signal,
      route: 'accounts',
    })
  } finally {
    client.close()
  }
}

async function ledgerAccount(client: ApiClient, id: string): Promise<AccountAnswer | undefined> {
  try {
    return await client.get<AccountAnswer>(`/api/v1/accounts/${id}`)
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return undefined
    throw error
  }
}

function nameArgument(text: string): string {
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(text)) throw new InvalidArgumentError('use 1 to 64 of a-z, 0-9, ., _ and -')
  return text
}
