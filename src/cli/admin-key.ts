/** An institution's admin key, from a file that is brought along for this: it signs here, and the daemon never sees it. */
import { equals } from 'uint8arrays/equals'
import type { Signer } from '../core/ports.ts'
import { openKeystore, readKeystorePublic } from '../crypto/keystore.ts'
import { softwareSigner } from '../crypto/signatures.ts'
import type { Institution } from '../domain/accounts.ts'
import { ADMIN_KEY } from '../peer/identity.ts'
import { readKeystoreFile } from '../store/keystore-file.ts'
import type { ApiClient } from './api-client.ts'
import { CliError } from './faults.ts'
import type { GlobalOptions } from './home.ts'
import { readPassphrase } from './passphrase.ts'

export interface Admin {
  readonly institution: Institution
  /** Asks for the passphrase. */
  openSigner(): Promise<Signer>
}

/**
 * Finds the institution that the key decides for.
 *
 * @throws {CliError} `ADMIN_KEY_MISSING`, `ADMIN_KEY_UNKNOWN`; faults of the keystore and the peer
 */
export async function adminOf(
  client: ApiClient,
  options: GlobalOptions,
  file: string,
  signal: AbortSignal,
): Promise<Admin> {
  const bytes = await readKeystoreFile(file)
  const admin = readKeystorePublic(bytes).find(({ name, type }) => name === ADMIN_KEY && type === 'ed25519')
  if (admin === undefined) throw new CliError({ code: 'ADMIN_KEY_MISSING', file })
  const { institutions } = await client.get<{ institutions: Institution[] }>('/api/v1/institutions', { signal })
  const institution = institutions.find(({ adminKey }) => equals(adminKey, admin.publicKey))
  if (institution === undefined) throw new CliError({ code: 'ADMIN_KEY_UNKNOWN', file })
  const openSigner = async (): Promise<Signer> => {
    const prompt = `Passphrase of the admin key of ${institution.id}: `
    const keys = await openKeystore(bytes, await readPassphrase(options.passphraseFile, prompt))
    const key = keys.find(({ name }) => name === ADMIN_KEY)
    if (key === undefined) throw new CliError({ code: 'ADMIN_KEY_MISSING', file })
    return softwareSigner(key.privateKey)
  }
  return { institution, openSigner }
}
