/**
 * Accounts: who may sign, and to which key something is sealed for them. Pseudonymous: keys and a home institution, no name.
 *
 * An account begins with a transaction that carries two signatures, its own and that of its institution's account: the
 * institution attests it, and strangers can't fill the state. Institutions' own accounts come from the genesis. Keys are
 * kept as a list, oldest first, so that what an earlier key signed can still be verified after a rotation.
 *
 * @see docs/spec/accounts.md; docs/decisions/0034-account-creation.md
 */
import { type AccountId, type InstitutionId, idHash } from '../core/ids.ts'
import { ACCOUNT_KEYS_MAX, INSTITUTION_PEERS_MAX } from '../core/limits.ts'
import { type Decoder, list, literal, object, optional, text } from '../core/schema.ts'
import { encryptionPublicKey } from '../crypto/envelope.ts'
import { SignatureError, checkPublicKey } from '../crypto/signatures.ts'
import { type AccountKeys, accountIdOfKeys } from '../ledger/account-keys.ts'
import {
  type PeerIdText,
  accountId,
  institutionId,
  peerIdKey,
  peerIdOfKey,
  peerIdText,
  signingKey,
  timeMs,
} from '../ledger/fields.ts'
import { type Genesis, INSTITUTION_ROLES, type InstitutionRole } from '../ledger/genesis.ts'
import {
  type AccountDirectory,
  type Signers,
  type StateMachine,
  type Step,
  type Tx,
  accept,
  refuse,
  txType,
} from '../ledger/machine.ts'
import type { ListOptions, StateChange, StateReader, StateView } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'

export const ACCOUNT_NAMESPACE = 'account'
export const INSTITUTION_NAMESPACE = 'institution'
/** Key = raw Ed25519 key of a peer; value = the institution that it belongs to. */
export const MEMBER_PEER_NAMESPACE = 'member-peer'
export const ACCOUNT_CREATE = 'account.create'
const CLINICAL_LANE = 1

export type AccountKind = 'person' | 'institution'

/** Keys of an account, and since when (block time) they are the current ones. */
export interface KeyPeriod extends AccountKeys {
  readonly fromMs: number
}

export interface Account {
  readonly id: AccountId
  readonly kind: AccountKind
  /** Home institution: attested the account. */
  readonly org: InstitutionId
  /** Oldest first; the last are the current ones. Never empty. */
  readonly keys: readonly KeyPeriod[]
}

export interface Institution {
  readonly id: InstitutionId
  readonly name: string
  readonly role: InstitutionRole
  readonly adminKey: Uint8Array
  readonly account: AccountId
  /** Peers that came after the genesis. */
  readonly added?: readonly PeerIdText[]
}

export interface AccountCreate extends AccountKeys {
  /** Institutions' accounts come with membership, not with this transaction. */
  readonly kind: 'person'
}

export type AccountFault =
  | { code: 'ACCOUNT_EXISTS'; account: string }
  | { code: 'ACCOUNT_ID_WRONG'; account: string; expected: string }
  | { code: 'ACCOUNT_KEY_INVALID'; account: string }
  | { code: 'ACCOUNT_INSTITUTION_UNKNOWN'; org: string }

const utf8 = new TextEncoder()

const storedAccount = object({
  kind: literal('person', 'institution'),
  org: institutionId,
  keys: list(object({ signingKey, encryption: encryptionPublicKey, fromMs: timeMs }), 1, ACCOUNT_KEYS_MAX),
})
const storedInstitution = object({
  name: text(1, 128),
  role: literal(...INSTITUTION_ROLES),
  adminKey: signingKey,
  account: accountId,
  added: optional(list(peerIdText, 0, INSTITUTION_PEERS_MAX)),
  /** Block time at which it was removed: its id is never given again. */
  removedMs: optional(timeMs),
})
const accountCreate: Decoder<AccountCreate> = object({
  kind: literal('person'),
  signingKey,
  encryption: encryptionPublicKey,
})

/** Where an account stands in the state. */
export function accountStateKey(id: AccountId): { readonly namespace: string; readonly key: Uint8Array } {
  return { namespace: ACCOUNT_NAMESPACE, key: idHash(id) }
}

export async function getAccount(view: StateView, id: AccountId): Promise<Account | undefined> {
  const value = await view.get(ACCOUNT_NAMESPACE, idHash(id))
  return value === undefined ? undefined : { id, ...storedAccount(value, 'account') }
}

/** A member institution; `undefined` for one that was removed, too. */
export async function getInstitution(view: StateView, id: InstitutionId): Promise<Institution | undefined> {
  const value = await view.get(INSTITUTION_NAMESPACE, utf8.encode(id))
  return value === undefined ? undefined : memberOf(id, value)
}

/** Whether it is, or ever was, a member. */
export async function isInstitutionKnown(view: StateView, id: InstitutionId): Promise<boolean> {
  return (await view.get(INSTITUTION_NAMESPACE, utf8.encode(id))) !== undefined
}

/** All member institutions, by id. */
export async function* listInstitutions(reader: StateReader, options?: ListOptions): AsyncGenerator<Institution> {
  const name = new TextDecoder()
  for await (const { key, value } of reader.list(INSTITUTION_NAMESPACE, new Uint8Array(0), options)) {
    const institution = memberOf(institutionId(name.decode(key), 'institution.id'), value)
    if (institution !== undefined) yield institution
  }
}

function memberOf(id: InstitutionId, value: unknown): Institution | undefined {
  const { removedMs, ...institution } = storedInstitution(value, 'institution')
  return removedMs === undefined ? { id, ...institution } : undefined
}

/** The institution whose peer this is; `undefined`: no member's. */
export async function getPeerInstitution(view: StateView, peer: PeerIdText): Promise<InstitutionId | undefined> {
  const value = await view.get(MEMBER_PEER_NAMESPACE, peerIdKey(peer))
  if (value === undefined) return undefined
  const institution = institutionId(value, 'member-peer')
  return (await getInstitution(view, institution)) === undefined ? undefined : institution
}

/** The peers of all members, by key. */
export async function* listMemberPeers(
  reader: StateReader,
): AsyncGenerator<{ readonly peer: PeerIdText; readonly institution: InstitutionId }> {
  const removed = new Set<string>()
  for await (const { key, value } of reader.list(INSTITUTION_NAMESPACE, new Uint8Array(0))) {
    if (storedInstitution(value, 'institution').removedMs !== undefined) removed.add(new TextDecoder().decode(key))
  }
  for await (const { key, value } of reader.list(MEMBER_PEER_NAMESPACE, new Uint8Array(0))) {
    const institution = institutionId(value, 'member-peer')
    // Who was removed is marked so. An entry that is missing is damage, and must not shut out those who could mend it.
    if (!removed.has(institution)) yield { peer: peerIdOfKey(key), institution }
  }
}

/** The keys that the account signs with and is sealed to now. */
export function currentKeys(account: Account): KeyPeriod {
  // Never empty: the decoder of stored accounts sees to that.
  return account.keys.reduce((_earlier, later) => later)
}

/** The ledger's view of accounts. */
export const accountDirectory: AccountDirectory = {
  account: async (view, id) => {
    const account = await getAccount(view, id)
    return account === undefined ? undefined : { org: account.org, signingKey: currentKeys(account).signingKey }
  },
  hasInstitution: async (view, id) => (await getInstitution(view, id)) !== undefined,
}

/** A part of the membership machine, which writes to the same namespaces when members come and go. */
export const accountsPart: Required<Pick<StateMachine, 'namespaces' | 'types' | 'genesis'>> = {
  namespaces: [ACCOUNT_NAMESPACE, INSTITUTION_NAMESPACE, MEMBER_PEER_NAMESPACE],
  types: {
    [ACCOUNT_CREATE]: txType({
      lane: CLINICAL_LANE,
      payload: accountCreate,
      signers: creationSigners,
      apply: async (view, tx, block) => applyCreate(view, tx, block.timeMs),
    }),
  },
  genesis: genesisChanges,
}

/**
 * The transaction that begins an account. It is signed by the account's new key, then by the account of `org`.
 *
 * @param keys - the account's first keys; its id is made of them.
 */
export function draftAccountCreate(keys: AccountKeys): DraftTx & { readonly account: AccountId } {
  const payload: AccountCreate = { kind: 'person', signingKey: keys.signingKey, encryption: keys.encryption }
  return { account: accountIdOfKeys(keys), lane: CLINICAL_LANE, type: ACCOUNT_CREATE, payload }
}

async function creationSigners(view: StateView, tx: Tx<AccountCreate>): Promise<Signers> {
  const no = (fault: AccountFault): Signers => ({ ok: false, fault })
  const expected = accountIdOfKeys(tx.payload)
  if (tx.account !== expected) return no({ code: 'ACCOUNT_ID_WRONG', account: tx.account, expected })
  const institution = await getInstitution(view, tx.org)
  const attesting = institution === undefined ? undefined : await getAccount(view, institution.account)
  if (attesting === undefined) return no({ code: 'ACCOUNT_INSTITUTION_UNKNOWN', org: tx.org })
  return { ok: true, keys: [tx.payload.signingKey, currentKeys(attesting).signingKey] }
}

async function applyCreate(view: StateView, tx: Tx<AccountCreate>, blockTimeMs: number): Promise<Step<AccountFault>> {
  const { account, org, payload } = tx
  if ((await getAccount(view, account)) !== undefined) return refuse({ code: 'ACCOUNT_EXISTS', account })
  try {
    checkPublicKey(payload.signingKey)
  } catch (error) {
    if (!(error instanceof SignatureError)) throw error
    return refuse({ code: 'ACCOUNT_KEY_INVALID', account })
  }
  return accept([
    accountChange({ id: account, kind: 'person', org, keys: [{ ...keysOf(payload), fromMs: blockTimeMs }] }),
  ])
}

function genesisChanges(genesis: Genesis): StateChange[] {
  return genesis.institutions.flatMap((institution) => {
    const { adminKey, id: org, name, role } = institution
    const id = accountIdOfKeys(institution.account)
    const keys = [{ ...keysOf(institution.account), fromMs: genesis.timeMs }]
    return [
      { namespace: INSTITUTION_NAMESPACE, key: utf8.encode(org), value: { name, role, adminKey, account: id } },
      accountChange({ id, kind: 'institution', org, keys }),
      ...institution.peers.map((peer) => ({ namespace: MEMBER_PEER_NAMESPACE, key: peerIdKey(peer), value: org })),
    ]
  })
}

export function institutionChange(institution: Institution & { readonly removedMs?: number }): StateChange {
  const { id, ...value } = institution
  return { namespace: INSTITUTION_NAMESPACE, key: utf8.encode(id), value }
}

export function accountChange(account: Account): StateChange {
  const { id, keys, kind, org } = account
  return { namespace: ACCOUNT_NAMESPACE, key: idHash(id), value: { kind, org, keys } }
}

function keysOf({ encryption, signingKey: key }: AccountKeys): AccountKeys {
  return { signingKey: key, encryption: { wrap: encryption.wrap, publicKey: encryption.publicKey } }
}
