/** Who belongs to the network, as the ledger has it, and who of them is connected. */
import type { InstitutionId } from '../core/ids.ts'
import { listInstitutions, listMemberPeers } from '../domain/accounts.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import type { InstitutionRole } from '../ledger/genesis.ts'
import { type LayoutPeerState, readPeerStates } from './layout.ts'
import type { Peer } from './peer.ts'

export interface MemberState {
  readonly id: InstitutionId
  /** The name people read. */
  readonly name: string
  readonly role: InstitutionRole
  /** Votes in the epoch of the next block. */
  readonly validator: boolean
  readonly peers: readonly {
    readonly peer: PeerIdText
    readonly link: 'connected' | 'away' | 'self'
    /** Absent for a peer that never offered room, or was removed. */
    readonly storage?: Pick<LayoutPeerState, 'bytes' | 'zone' | 'state' | 'held'>
  }[]
}

export async function readMembers({
  chain,
  host,
  identity,
}: Pick<Peer, 'chain' | 'host' | 'identity'>): Promise<MemberState[]> {
  const { reader } = chain
  const connected = new Set(host.getPeers().map(String))
  const validators = new Set(chain.validators()?.validators.map(({ institution }) => institution))
  const storage = new Map((await readPeerStates(reader)).map((one) => [one.peer, one]))
  const members = await Array.fromAsync(listInstitutions(reader), async ({ id, name, role }) => ({
    id,
    name,
    role,
    validator: validators.has(id),
    peers: [] as MemberState['peers'][number][],
  }))
  const byId = new Map(members.map((one) => [one.id, one]))
  for await (const { institution, peer } of listMemberPeers(reader)) {
    const link = peer === identity.peerId ? 'self' : connected.has(peer) ? 'connected' : 'away'
    const offer = storage.get(peer)
    byId.get(institution)?.peers.push({
      peer,
      link,
      ...(offer === undefined
        ? {}
        : { storage: { bytes: offer.bytes, held: offer.held, state: offer.state, zone: offer.zone } }),
    })
  }
  return members
}
