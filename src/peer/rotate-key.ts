/**
 * A new consensus key for this institution: where the vote log of the old one is damaged or gone, where the old one was suspended,
 * or as a precaution. It votes once the institutions have approved it.
 *
 *   old keystore kept aside ──► old vote log set aside ──► new keystore in place
 *
 * A run that is cut short is repeated. Between the last two steps the old key finds no vote log, and doesn't sign.
 */
import { join } from 'node:path'
import { toString } from 'uint8arrays/to-string'
import { openKeystore, sealKeystore } from '../crypto/keystore.ts'
import { generateSigningKey } from '../crypto/signatures.ts'
import { KeystoreFileError, readKeystoreFile, writeKeystoreFile } from '../store/keystore-file.ts'
import { LevelStore } from '../store/level-store.ts'
import { VOTES_FOLDER, setVoteLogAside } from '../store/vote-log.ts'
import type { PeerConfig } from './config.ts'
import { PeerError } from './faults.ts'
import { CONSENSUS_KEY, KEYS_FILE, updatePublicIdentity } from './identity.ts'
import { readPassphraseFile } from './passphrase-file.ts'

export interface RotatedKey {
  /** Hex: what a membership change must name. */
  readonly consensusKey: string
  readonly before: string
  /** Where the old keys lie now. */
  readonly keysAside: string
  /** Where the old vote log lies now, if there was one. */
  readonly votesAside: string | undefined
}

/** So much of the old public key names what is set aside. */
const NAME_CHARACTERS = 16

/**
 * Replaces the consensus key in `keys.json`. All other keys stay.
 *
 * @throws {StoreError} `STORE_FOLDER_IN_USE` while the daemon runs; {PeerError} `IDENTITY_MISSING`, `PASSPHRASE_UNREADABLE`;
 *   {KeystoreError}; {KeystoreFileError}
 */
export async function rotateConsensusKey(config: PeerConfig): Promise<RotatedKey> {
  const { dataDir } = config
  const path = join(dataDir, KEYS_FILE)
  const file = await readKeys(path, dataDir)
  // The database is the lock on the data folder: a daemon that runs would sign on with the old key.
  const lock = await LevelStore.open(join(dataDir, 'state'))
  try {
    const passphrase = await readPassphraseFile(config.passphraseFile)
    const keys = await openKeystore(file, passphrase)
    const old = keys.find(({ name }) => name === CONSENSUS_KEY)
    if (old === undefined) throw new PeerError({ code: 'IDENTITY_MISSING', folder: dataDir })
    const before = toString(old.publicKey, 'base16')
    const name = before.slice(0, NAME_CHARACTERS)
    const fresh = { ...old, ...generateSigningKey() }
    const sealed = await sealKeystore(
      keys.map((key) => (key === old ? fresh : key)),
      passphrase,
    )
    const keysAside = join(dataDir, `keys-${name}.json`)
    await keepAside(keysAside, file)
    const votesAside = await setVoteLogAside(join(dataDir, VOTES_FOLDER), `votes-${name}.log`)
    await writeKeystoreFile(path, sealed, { replace: true })
    const consensusKey = toString(fresh.publicKey, 'base16')
    await updatePublicIdentity(dataDir, { consensusKey })
    return { consensusKey, before, keysAside, votesAside }
  } finally {
    await lock.close()
  }
}

async function readKeys(path: string, folder: string): Promise<Uint8Array> {
  try {
    return await readKeystoreFile(path)
  } catch (error) {
    const isMissing = error instanceof KeystoreFileError && error.fault.code === 'KEYSTORE_FILE_MISSING'
    throw isMissing ? new PeerError({ code: 'IDENTITY_MISSING', folder }, { cause: error }) : error
  }
}

/** A run that was cut short may have kept it already. */
async function keepAside(path: string, file: Uint8Array): Promise<void> {
  try {
    await writeKeystoreFile(path, file)
  } catch (error) {
    if (!(error instanceof KeystoreFileError) || error.fault.code !== 'KEYSTORE_FILE_EXISTS') throw error
  }
}
