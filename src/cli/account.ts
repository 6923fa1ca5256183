/** An account on this machine: its public keys at once, its private ones when they are needed. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { AccountId } from '../core/ids.ts'
import type { Signer } from '../core/ports.ts'
import type { WrapProfile } from '../crypto/envelope.ts'
import { type KeystoreKey, openKeystore, readKeystorePublic } from '../crypto/keystore.ts'
import { softwareSigner } from '../crypto/signatures.ts'
import { accountIdOfKeys } from '../ledger/account-keys.ts'
import { KeystoreFileError, readKeystoreFile } from '../store/keystore-file.ts'
import { CliError } from './faults.ts'
import { type GlobalOptions, keystorePath } from './home.ts'
import { readPassphrase } from './passphrase.ts'

export const SIGNING_KEY = 'signing'
export const ENCRYPTION_KEY = 'encryption'

export interface CliAccount {
  readonly name: string
  readonly id: AccountId
  readonly signingKey: Uint8Array
  readonly encryption: { readonly wrap: WrapProfile; readonly publicKey: Uint8Array }
  /** Asks for the passphrase, once. */
  openSigner(): Promise<Signer>
  openEncryption(): Promise<{ wrap: WrapProfile; privateKey: Uint8Array }>
}

/**
 * The account to act as: the one named, or the only one there is.
 *
 * @throws {CliError} `ACCOUNT_NEEDED`, `ACCOUNT_KEY_MISSING`; faults of the keystore
 */
export async function openAccount(options: GlobalOptions, name: string | undefined): Promise<CliAccount> {
  const chosen = name ?? (await onlyAccount(options.home))
  let file: Uint8Array
  try {
    file = await readKeystoreFile(keystorePath(options.home, chosen))
  } catch (error) {
    if (error instanceof KeystoreFileError && error.fault.code === 'KEYSTORE_FILE_MISSING') {
      throw new CliError({ code: 'ACCOUNT_KEY_MISSING', name: chosen }, { cause: error })
    }
    throw error
  }
  return accountOf(chosen, file, async () => readPassphrase(options.passphraseFile, `Passphrase of ${chosen}: `))
}

/** An account over the bytes of its keystore. */
export function accountOf(name: string, file: Uint8Array, passphrase: () => Promise<Uint8Array>): CliAccount {
  const published = readKeystorePublic(file)
  const signing = published.find((key) => key.name === SIGNING_KEY && key.type === 'ed25519')
  const encryption = published.find((key) => key.name === ENCRYPTION_KEY)
  if (signing === undefined || encryption === undefined || encryption.type === 'ed25519') {
    throw new CliError({ code: 'ACCOUNT_KEY_MISSING', name })
  }
  const wrap = encryption.type
  let opened: Promise<readonly KeystoreKey[]> | undefined
  const privateKey = async (wanted: string): Promise<Uint8Array> => {
    opened ??= passphrase().then(async (words) => openKeystore(file, words))
    const key = (await opened).find((one) => one.name === wanted)
    if (key === undefined) throw new CliError({ code: 'ACCOUNT_KEY_MISSING', name })
    return key.privateKey
  }
  return {
    name,
    id: accountIdOfKeys({ signingKey: signing.publicKey, encryption: { wrap, publicKey: encryption.publicKey } }),
    signingKey: signing.publicKey,
    encryption: { wrap, publicKey: encryption.publicKey },
    openSigner: async () => softwareSigner(await privateKey(SIGNING_KEY)),
    openEncryption: async () => ({ wrap, privateKey: await privateKey(ENCRYPTION_KEY) }),
  }
}

async function onlyAccount(home: string): Promise<string> {
  const files = await readdir(join(home, 'keys')).catch(() => [])
  const names = files.filter((file) => file.endsWith('.json')).map((file) => file.slice(0, -'.json'.length))
  const only = names[0]
  if (names.length !== 1 || only === undefined) {
    throw new CliError({ code: 'ACCOUNT_NEEDED', known: names.length === 0 ? 'none' : names.sort().join(', ') })
  }
  return only
}
