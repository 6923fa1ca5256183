/**
 * An institution's keys on this machine. `keys.json` holds what the daemon needs: its libp2p key, its consensus key, and the
 * institution's account. `admin-key.json` holds the key that changes members: the daemon never reads it, take it offline.
 * `identity.json` is public: it is what the genesis is made of.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { toString } from 'uint8arrays/to-string'
import type { AccountId } from '../core/ids.ts'
import type { Signer } from '../core/ports.ts'
import { generateEncryptionKey } from '../crypto/envelope.ts'
import { type KeystoreKey, openKeystore, sealKeystore } from '../crypto/keystore.ts'
import { generateSigningKey, softwareSigner } from '../crypto/signatures.ts'
import { type AccountKeys, accountIdOfKeys } from '../ledger/account-keys.ts'
import { peerIdText } from '../p2p/peer-ids.ts'
import { readKeystoreFile, writeKeystoreFile } from '../store/keystore-file.ts'
import type { PeerConfig } from './config.ts'
import { PeerError } from './faults.ts'
import { readPassphraseFile } from './passphrase-file.ts'

export const KEYS_FILE = 'keys.json'
export const ADMIN_KEY_FILE = 'admin-key.json'
export const IDENTITY_FILE = 'identity.json'
/** Names of keys in their keystores. */
export const CONSENSUS_KEY = 'consensus'
export const ADMIN_KEY = 'admin'

/** The daemon's keys, opened. */
export interface Identity {
  /** Seed of the libp2p key. */
  readonly peerSeed: Uint8Array
  readonly peerId: string
  /** Signs votes, where this institution is a validator. */
  readonly consensus: Signer
  readonly account: { readonly id: AccountId; readonly keys: AccountKeys; readonly signer: Signer }
}

/** What others must know of an institution; keys in hex, longer ones in base64. */
export interface PublicIdentity {
  readonly institution: string
  readonly adminKey: string
  readonly account: {
    readonly signingKey: string
    readonly encryption: { readonly wrap: string; readonly publicKey: string }
  }
  readonly peer: string
  readonly consensusKey: string
  readonly accountId: string
}

const KEY = {
  peer: 'peer',
  consensus: CONSENSUS_KEY,
  signing: 'signing',
  encryption: 'encryption',
  admin: ADMIN_KEY,
} as const

/**
 * Makes the keys of a new peer; the passphrase file is made too where there is none.
 *
 * @throws {PeerError} `IDENTITY_EXISTS`, `PASSPHRASE_UNREADABLE`; {KeystoreFileError}
 */
export async function createIdentity(config: PeerConfig): Promise<PublicIdentity> {
  const folder = config.dataDir
  if (await exists(join(folder, KEYS_FILE))) throw new PeerError({ code: 'IDENTITY_EXISTS', folder })
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if (!(await exists(config.passphraseFile))) await writePassphrase(config.passphraseFile)
  const passphrase = await readPassphraseFile(config.passphraseFile)
  const ed25519 = (name: string): KeystoreKey => ({ name, type: 'ed25519', ...generateSigningKey() })
  const [peer, consensus, signing, admin] = [
    ed25519(KEY.peer),
    ed25519(KEY.consensus),
    ed25519(KEY.signing),
    ed25519(KEY.admin),
  ]
  const { wrap, publicKey, privateKey } = await generateEncryptionKey('x-wing')
  const encryption: KeystoreKey = { name: KEY.encryption, type: wrap, publicKey, privateKey }
  await writeKeystoreFile(join(folder, ADMIN_KEY_FILE), await sealKeystore([admin], passphrase))
  await writeKeystoreFile(
    join(folder, KEYS_FILE),
    await sealKeystore([peer, consensus, signing, encryption], passphrase),
  )
  const hex = (bytes: Uint8Array): string => toString(bytes, 'base16')
  const keys: AccountKeys = { signingKey: signing.publicKey, encryption: { wrap, publicKey } }
  const identity: PublicIdentity = {
    institution: config.institution,
    adminKey: hex(admin.publicKey),
    account: { signingKey: hex(signing.publicKey), encryption: { wrap, publicKey: toString(publicKey, 'base64pad') } },
    peer: peerIdText(peer.publicKey),
    consensusKey: hex(consensus.publicKey),
    accountId: accountIdOfKeys(keys),
  }
  await writeWhole(join(folder, IDENTITY_FILE), `${JSON.stringify(identity, null, 2)}\n`, 0o644)
  return identity
}

/** @throws {PeerError} `IDENTITY_MISSING`, `PASSPHRASE_UNREADABLE`; {KeystoreError}; {KeystoreFileError} */
export async function openIdentity(config: PeerConfig): Promise<Identity> {
  const path = join(config.dataDir, KEYS_FILE)
  if (!(await exists(path))) throw new PeerError({ code: 'IDENTITY_MISSING', folder: config.dataDir })
  const keys = await openKeystore(await readKeystoreFile(path), await readPassphraseFile(config.passphraseFile))
  const named = (name: string): KeystoreKey => {
    const key = keys.find((one) => one.name === name)
    if (key === undefined) throw new PeerError({ code: 'IDENTITY_MISSING', folder: config.dataDir })
    return key
  }
  const [peer, consensus, signing, encryption] = [
    named(KEY.peer),
    named(KEY.consensus),
    named(KEY.signing),
    named(KEY.encryption),
  ]
  if (encryption.type === 'ed25519') throw new PeerError({ code: 'IDENTITY_MISSING', folder: config.dataDir })
  const accountKeys: AccountKeys = {
    signingKey: signing.publicKey,
    encryption: { wrap: encryption.type, publicKey: encryption.publicKey },
  }
  return {
    peerSeed: peer.privateKey,
    peerId: peerIdText(peer.publicKey),
    consensus: softwareSigner(consensus.privateKey),
    account: { id: accountIdOfKeys(accountKeys), keys: accountKeys, signer: softwareSigner(signing.privateKey) },
  }
}

/** A random passphrase of 256 bits: as strong as the keys it guards, and nothing to remember. */
async function writePassphrase(file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await writeWhole(file, `${randomBytes(32).toString('base64url')}\n`, 0o600)
}

/** Writes a new file, durable when settled. */
export async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const handle = await open(path, 'w', mode)
  try {
    await handle.writeFile(text)
    await handle.chmod(mode)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The public identity as `createIdentity` wrote it. @throws {PeerError} `IDENTITY_MISSING` */
export async function readPublicIdentity(file: string): Promise<PublicIdentity> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as PublicIdentity
  } catch (error) {
    throw new PeerError({ code: 'IDENTITY_MISSING', folder: dirname(file) }, { cause: error })
  }
}

/** Writes what has changed into the public identity, if it still lies there: keys are not made of it. */
export async function updatePublicIdentity(folder: string, changed: Partial<PublicIdentity>): Promise<void> {
  const path = join(folder, IDENTITY_FILE)
  if (!(await exists(path))) return
  const identity = { ...(await readPublicIdentity(path)), ...changed }
  await writeWhole(path, `${JSON.stringify(identity, null, 2)}\n`, 0o644)
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
