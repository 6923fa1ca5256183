/**
 * The genesis: who founds a consortium. Its CID is the chain's id, so it stands in every signature; a peer with another
 * genesis is on another chain.
 *
 * Founders write it as JSON (keys in hex or base64, comments allowed); what is hashed are its canonical bytes.
 *
 * @see docs/spec/genesis.md; test/vectors/ledger-genesis.json
 */
import { type ParseError, parse as parseJsonc, printParseErrorCode } from 'jsonc-parser'
import { base16, base16upper } from 'multiformats/bases/base16'
import { base64, base64pad } from 'multiformats/bases/base64'
import type { CID } from 'multiformats/cid'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import type { ChainId, InstitutionId } from '../core/ids.ts'
import { GENESIS_BYTES_MAX, INSTITUTIONS_MAX, INSTITUTION_PEERS_MAX, VALIDATORS_MAX } from '../core/limits.ts'
import { type Decoder, byteString, list, literal, object, optional, shapeFault, text } from '../core/schema.ts'
import { cborCid } from '../crypto/hash.ts'
import { SignatureError, checkPublicKey } from '../crypto/signatures.ts'
import { type AccountKeys, accountKeysBy } from './account-keys.ts'
import { type PeerIdText, chainIdOfLink, institutionId, peerIdKey, peerIdText, timeMs } from './fields.ts'
import { type StorageParams, storageParams } from './storage-params.ts'
import type { Validator } from './validators.ts'

export const GENESIS_VERSION = 1

/** What an institution is in the consortium; for people to read, no rule depends on it yet. */
export const INSTITUTION_ROLES = [
  'hospital',
  'imaging-centre',
  'laboratory',
  'pharmacy',
  'insurer',
  'regulator',
  'manufacturer',
  'distributor',
  'research-institute',
  'court',
] as const
export type InstitutionRole = (typeof INSTITUTION_ROLES)[number]

export interface GenesisInstitution {
  readonly id: InstitutionId
  /** The name people read. */
  readonly name: string
  readonly role: InstitutionRole
  /** Raw Ed25519, kept offline: changes members. */
  readonly adminKey: Uint8Array
  /** First keys of the institution's account. */
  readonly account: AccountKeys
  /** Its peers; all others are refused during connection. */
  readonly peers: readonly PeerIdText[]
}

export interface Genesis {
  readonly version: typeof GENESIS_VERSION
  /** The consortium's name. */
  readonly name: string
  /** Time of height 0; the first block is later. */
  readonly timeMs: number
  readonly institutions: readonly GenesisInstitution[]
  /** Validators of epoch 0; their order is their index. */
  readonly validators: readonly Validator[]
  /** How storage runs on this chain; what isn't there has its default. */
  readonly storage?: Partial<StorageParams>
}

export type GenesisFault =
  | { code: 'GENESIS_JSON_SYNTAX'; line: number; column: number; problem: string }
  | { code: 'GENESIS_TOO_LARGE'; bytes: number; bytesMax: number }
  | { code: 'GENESIS_DUPLICATE'; path: string; firstPath: string }
  | { code: 'GENESIS_KEY_INVALID'; path: string }
  | { code: 'GENESIS_INSTITUTION_UNKNOWN'; path: string; institution: string }
export class GenesisError extends CodedError<GenesisFault> {}

/** The shape, with byte fields read by `bytes(min, max)`: as they are in the canonical form, from text in JSON. */
function genesisShape(bytes: (min: number, max?: number) => Decoder<Uint8Array>): Decoder<Genesis> {
  const institution = object({
    id: institutionId,
    name: text(1, 128),
    role: literal(...INSTITUTION_ROLES),
    adminKey: bytes(32),
    account: accountKeysBy(bytes),
    peers: list(peerIdText, 1, INSTITUTION_PEERS_MAX),
  })
  return object({
    version: literal(GENESIS_VERSION),
    name: text(1, 128),
    timeMs,
    institutions: list(institution, 1, INSTITUTIONS_MAX),
    validators: list(object({ institution: institutionId, key: bytes(32) }), 1, VALIDATORS_MAX),
    storage: optional(storageParams),
  })
}

const genesisFromBytes = genesisShape(byteString)
const genesisFromText = genesisShape(bytesText)

/** Bytes written as hex, base64 with or without padding; which one is told by the characters and the length. */
function bytesText(min: number, max: number = min): Decoder<Uint8Array> {
  const expected = `${min === max ? min : `${min} to ${max}`} bytes in hex or base64`
  return (value, path) => {
    if (typeof value !== 'string' || value.length > max * 2) throw shapeFault(path, expected)
    for (const base of [base16, base16upper, base64pad, base64]) {
      let bytes: Uint8Array
      try {
        bytes = base.baseDecode(value)
      } catch {
        continue
      }
      // Text of hex digits is base64 too: only a spelling that the base itself would write, of the right length, counts.
      if (bytes.length >= min && bytes.length <= max && base.baseEncode(bytes) === value) return bytes
    }
    throw shapeFault(path, expected)
  }
}

/** @throws {GenesisError} `GENESIS_TOO_LARGE` and the faults of `checkGenesis` */
export function encodeGenesis(genesis: Genesis): Uint8Array {
  checkGenesis(genesis)
  const bytes = encodeCanonical(genesis)
  if (bytes.length > GENESIS_BYTES_MAX) {
    throw new GenesisError({ code: 'GENESIS_TOO_LARGE', bytes: bytes.length, bytesMax: GENESIS_BYTES_MAX })
  }
  return bytes
}

/**
 * @param bytes - untrusted.
 * @throws {CodecError} any of its codes, with paths that start at `genesis`
 * @throws {GenesisError} the faults of `checkGenesis`
 */
export function decodeGenesis(bytes: Uint8Array): Genesis {
  const genesis = genesisFromBytes(decodeCanonical(bytes, GENESIS_BYTES_MAX), 'genesis')
  checkGenesis(genesis)
  return genesis
}

/**
 * Reads the form that people write.
 *
 * @param json - JSON, comments and trailing commas allowed; byte fields in hex or base64.
 * @throws {GenesisError} `GENESIS_JSON_SYNTAX`, `GENESIS_TOO_LARGE` and the faults of `checkGenesis`
 * @throws {CodecError} `CODEC_SHAPE`
 */
export function parseGenesisJson(json: string): Genesis {
  // Hex doubles the bytes, names and braces add less than the canonical form itself.
  const bytesMax = GENESIS_BYTES_MAX * 4
  if (json.length > bytesMax) throw new GenesisError({ code: 'GENESIS_TOO_LARGE', bytes: json.length, bytesMax })
  const errors: ParseError[] = []
  const value: unknown = parseJsonc(json, errors, { allowTrailingComma: true })
  const first = errors[0]
  if (first !== undefined) {
    const before = json.slice(0, first.offset).split('\n')
    const column = (before.at(-1)?.length ?? 0) + 1
    const problem = printParseErrorCode(first.error)
    throw new GenesisError({ code: 'GENESIS_JSON_SYNTAX', line: before.length, column, problem })
  }
  const genesis = genesisFromText(value, 'genesis')
  checkGenesis(genesis)
  return genesis
}

/** The form that people read: keys of 32 bytes in hex, longer ones in base64; `parseGenesisJson` reads it back. */
export function genesisJson(genesis: Genesis): string {
  const key = (bytes: Uint8Array): string => (bytes.length === 32 ? base16 : base64pad).baseEncode(bytes)
  const institutions = genesis.institutions.map(({ account, adminKey, ...institution }) => ({
    ...institution,
    adminKey: key(adminKey),
    account: {
      signingKey: key(account.signingKey),
      encryption: { wrap: account.encryption.wrap, publicKey: key(account.encryption.publicKey) },
    },
  }))
  const validators = genesis.validators.map((validator) => ({ ...validator, key: key(validator.key) }))
  return `${JSON.stringify({ ...genesis, institutions, validators }, null, 2)}\n`
}

/** CID of the genesis: the parent of the first block. */
export function genesisCid(bytes: Uint8Array): CID {
  return cborCid(bytes)
}

/** The chain's id: the CID of the genesis as text. */
export function chainIdOf(bytes: Uint8Array): ChainId {
  return chainIdOfLink(genesisCid(bytes))
}

/**
 * What the shape can't say: every institution, peer and key stands once, keys are points, validators are institutions.
 *
 * One key for two purposes is refused too: whoever must hand out the peer's key would hand out the vote.
 *
 * @throws {GenesisError} `GENESIS_DUPLICATE`, `GENESIS_KEY_INVALID`, `GENESIS_INSTITUTION_UNKNOWN`
 */
export function checkGenesis(genesis: Genesis): void {
  const seen = new Map<string, string>()
  const once = (name: string, path: string): void => {
    const firstPath = seen.get(name)
    if (firstPath !== undefined) throw new GenesisError({ code: 'GENESIS_DUPLICATE', path, firstPath })
    seen.set(name, path)
  }
  const keyOnce = (key: Uint8Array, path: string): void => {
    try {
      checkPublicKey(key)
    } catch (error) {
      if (!(error instanceof SignatureError)) throw error
      throw new GenesisError({ code: 'GENESIS_KEY_INVALID', path }, { cause: error })
    }
    once(`key ${base16.baseEncode(key)}`, path)
  }
  for (const [index, institution] of genesis.institutions.entries()) {
    const path = `genesis.institutions[${index}]`
    once(`institution ${institution.id}`, `${path}.id`)
    keyOnce(institution.adminKey, `${path}.adminKey`)
    keyOnce(institution.account.signingKey, `${path}.account.signingKey`)
    const { publicKey } = institution.account.encryption
    once(`encryption ${base16.baseEncode(publicKey)}`, `${path}.account.encryption.publicKey`)
    for (const [peer, id] of institution.peers.entries()) keyOnce(peerIdKey(id), `${path}.peers[${peer}]`)
  }
  for (const [index, { institution, key }] of genesis.validators.entries()) {
    const path = `genesis.validators[${index}]`
    if (!seen.has(`institution ${institution}`)) {
      throw new GenesisError({ code: 'GENESIS_INSTITUTION_UNKNOWN', path: `${path}.institution`, institution })
    }
    once(`validator ${institution}`, `${path}.institution`)
    keyOnce(key, `${path}.key`)
  }
}
