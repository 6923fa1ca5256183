/**
 * Changes of who belongs to the network, in force with the block of the last approval: institutions come and go, and so do their peers.
 *
 * The id of an institution that was removed is never given again: what its accounts signed stays theirs. Its peers need no change
 * of their own, since a peer belongs to nobody once its institution doesn't (`getPeerInstitution`).
 *
 * @see docs/spec/membership.md; docs/decisions/0095-members-come-and-go.md
 */
import { equals } from 'uint8arrays/equals'
import type { InstitutionId } from '../core/ids.ts'
import { INSTITUTIONS_MAX, INSTITUTION_PEERS_MAX } from '../core/limits.ts'
import { type Decoded, type Decoder, literal, list, object, optional, shapeFault, text } from '../core/schema.ts'
import { encryptionPublicKey } from '../crypto/envelope.ts'
import { isPublicKey } from '../crypto/signatures.ts'
import { accountIdOfKeys } from '../ledger/account-keys.ts'
import { type PeerIdText, institutionId, peerIdKey, peerIdText, signingKey } from '../ledger/fields.ts'
import { INSTITUTION_ROLES } from '../ledger/genesis.ts'
import type { StateChange, StateView } from '../ledger/state.ts'
import {
  MEMBER_PEER_NAMESPACE,
  accountChange,
  getAccount,
  getInstitution,
  getPeerInstitution,
  institutionChange,
  isInstitutionKnown,
} from './accounts.ts'
import { MEMBERSHIP_NAMESPACE, MEMBERS_CHANGED_KEY, MEMBERS_KEY, getRoster, memberIds } from './validator-sets.ts'

const newInstitution = object({
  name: text(1, 128),
  role: literal(...INSTITUTION_ROLES),
  adminKey: signingKey,
  account: object({ signingKey, encryption: encryptionPublicKey }),
  peers: list(peerIdText, 1, INSTITUTION_PEERS_MAX),
})
/** What an institution brings along, as in the genesis. */
export type NewInstitution = Decoded<typeof newInstitution>

export type MemberChange =
  | { readonly kind: 'admit'; readonly institution: InstitutionId; readonly admitted: NewInstitution }
  | { readonly kind: 'add-peer' | 'remove-peer'; readonly institution: InstitutionId; readonly peer: PeerIdText }
  | { readonly kind: 'remove'; readonly institution: InstitutionId }

export type MemberFault =
  | { code: 'MEMBER_INSTITUTION_EXISTS'; institution: string }
  | { code: 'MEMBER_INSTITUTION_UNKNOWN'; institution: string }
  | { code: 'MEMBER_INSTITUTIONS_FULL'; institutionsMax: number }
  | { code: 'MEMBER_KEY_INVALID'; key: string }
  | { code: 'MEMBER_KEY_USED'; key: string }
  | { code: 'MEMBER_PEER_EXISTS'; peer: string; institution: string }
  | { code: 'MEMBER_PEER_UNKNOWN'; peer: string; institution: string }
  | { code: 'MEMBER_PEERS_FULL'; institution: string; peersMax: number }
  | { code: 'MEMBER_LAST_VALIDATOR'; institution: string }

const fields = object({
  kind: literal('admit', 'add-peer', 'remove-peer', 'remove'),
  institution: institutionId,
  admitted: optional(newInstitution),
  peer: optional(peerIdText),
})

export const memberChange: Decoder<MemberChange> = (value, path) => {
  const { admitted, institution, kind, peer } = fields(value, path)
  if ((kind === 'admit') !== (admitted !== undefined)) throw shapeFault(`${path}.admitted`, 'with admit, and only then')
  const needsPeer = kind === 'add-peer' || kind === 'remove-peer'
  if (needsPeer !== (peer !== undefined))
    throw shapeFault(`${path}.peer`, 'with add-peer and remove-peer, and only then')
  if (kind === 'admit' && admitted !== undefined) return { kind, institution, admitted }
  if (needsPeer && peer !== undefined) return { kind, institution, peer }
  return { kind: 'remove', institution }
}

/** What the change does to the state at this block; or why it can't be made. */
export async function memberStep(
  view: StateView,
  change: MemberChange,
  block: { readonly height: number; readonly timeMs: number },
): Promise<{ readonly changes: readonly StateChange[] } | MemberFault> {
  const done = await changesOf(view, change, block.timeMs)
  if ('code' in done) return done
  const changed = { namespace: MEMBERSHIP_NAMESPACE, key: MEMBERS_CHANGED_KEY, value: block.height }
  return { changes: [...done.changes, changed] }
}

async function changesOf(
  view: StateView,
  change: MemberChange,
  timeMs: number,
): Promise<{ readonly changes: readonly StateChange[] } | MemberFault> {
  const { institution: id, kind } = change
  if (kind === 'admit') return admission(view, id, change.admitted, timeMs)
  const institution = await getInstitution(view, id)
  if (institution === undefined) return { code: 'MEMBER_INSTITUTION_UNKNOWN', institution: id }
  if (kind === 'remove') {
    const members = await memberIds(view)
    const { validators } = await getRoster(view)
    if (validators.every((one) => one.institution === id)) return { code: 'MEMBER_LAST_VALIDATOR', institution: id }
    return {
      changes: [
        institutionChange({ ...institution, removedMs: timeMs }),
        membersChange(members.filter((one) => one !== id)),
      ],
    }
  }
  const { peer } = change
  const owner = await getPeerInstitution(view, peer)
  const added = institution.added ?? []
  if (kind === 'remove-peer') {
    if (owner !== id) return { code: 'MEMBER_PEER_UNKNOWN', peer, institution: id }
    return {
      changes: [
        peerChange(peer, undefined),
        institutionChange({ ...institution, added: added.filter((one) => one !== peer) }),
      ],
    }
  }
  if (owner !== undefined) return { code: 'MEMBER_PEER_EXISTS', peer, institution: owner }
  if (added.length >= INSTITUTION_PEERS_MAX)
    return { code: 'MEMBER_PEERS_FULL', institution: id, peersMax: INSTITUTION_PEERS_MAX }
  if (!isPublicKey(peerIdKey(peer))) return { code: 'MEMBER_KEY_INVALID', key: 'peer' }
  return { changes: [peerChange(peer, id), institutionChange({ ...institution, added: [...added, peer] })] }
}

async function admission(
  view: StateView,
  id: InstitutionId,
  admitted: NewInstitution,
  timeMs: number,
): Promise<{ readonly changes: readonly StateChange[] } | MemberFault> {
  const { account, adminKey, name, peers, role } = admitted
  if (await isInstitutionKnown(view, id)) return { code: 'MEMBER_INSTITUTION_EXISTS', institution: id }
  const members = await memberIds(view)
  if (members.length >= INSTITUTIONS_MAX) return { code: 'MEMBER_INSTITUTIONS_FULL', institutionsMax: INSTITUTIONS_MAX }
  const keys = [
    ['adminKey', adminKey],
    ['account', account.signingKey],
    ...peers.map((peer) => ['peer', peerIdKey(peer)] as const),
  ] as const
  for (const [index, [key, bytes]] of keys.entries()) {
    if (!isPublicKey(bytes)) return { code: 'MEMBER_KEY_INVALID', key }
    if (keys.slice(0, index).some(([, other]) => equals(other, bytes))) return { code: 'MEMBER_KEY_USED', key }
  }
  for (const member of members) {
    const other = await getInstitution(view, member)
    if (other !== undefined && equals(other.adminKey, adminKey)) return { code: 'MEMBER_KEY_USED', key: 'adminKey' }
  }
  const accountId = accountIdOfKeys(account)
  if ((await getAccount(view, accountId)) !== undefined) return { code: 'MEMBER_KEY_USED', key: 'account' }
  for (const peer of peers) {
    const owner = await getPeerInstitution(view, peer)
    if (owner !== undefined) return { code: 'MEMBER_PEER_EXISTS', peer, institution: owner }
  }
  return {
    changes: [
      institutionChange({ id, name, role, adminKey, account: accountId, added: peers }),
      accountChange({ id: accountId, kind: 'institution', org: id, keys: [{ ...account, fromMs: timeMs }] }),
      ...peers.map((peer) => peerChange(peer, id)),
      membersChange([...members, id].sort()),
    ],
  }
}

function membersChange(members: readonly InstitutionId[]): StateChange {
  return { namespace: MEMBERSHIP_NAMESPACE, key: MEMBERS_KEY, value: members }
}

function peerChange(peer: PeerIdText, institution: InstitutionId | undefined): StateChange {
  return { namespace: MEMBER_PEER_NAMESPACE, key: peerIdKey(peer), value: institution }
}
