/**
 * This institution leaves the storage: its peers get nothing new, give up what they hold once others have it, and take themselves off
 * then (storage-offers.ts). It may change its mind.
 */
import { CodedError } from '../core/coded-error.ts'
import { draftStorageDrain, draftStorageOffer } from '../domain/storage-offers.ts'
import { type StoragePeerEntry, listStoragePeers } from '../domain/storage-state.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import type { Peer } from './peer.ts'

type Leaving = Pick<Peer, 'account' | 'chain' | 'identity' | 'institution'>

/**
 * Drains each active peer of the institution, in the name of its account, and waits until that is final.
 *
 * @returns the peers that were active.
 * @throws {CodedError} the fault of one that the ledger refused or no validator took; a repetition drains the rest
 */
export async function drainInstitution(peer: Leaving, signal: AbortSignal): Promise<PeerIdText[]> {
  const entries = await entriesOf(peer, (entry) => entry.state === 'active')
  return submitForEach(peer, entries, (entry) => draftStorageDrain(entry.peer), signal)
}

/**
 * Offers the room of each draining peer again, as it was offered last, and of this peer also where it is off already: whether another one
 * that is off still runs isn't known here.
 *
 * @returns the peers whose room it is.
 * @throws as `drainInstitution`
 */
export async function offerAgain(peer: Leaving, signal: AbortSignal): Promise<PeerIdText[]> {
  const draft = ({ bytes, peer: id, zone }: StoragePeerEntry): DraftTx => draftStorageOffer({ peer: id, bytes, zone })
  const own: string = peer.identity.peerId
  const entries = await entriesOf(
    peer,
    ({ peer: id, state }) => state === 'draining' || (state === 'removed' && id === own),
  )
  return submitForEach(peer, entries, draft, signal)
}

async function entriesOf(
  { chain, institution }: Leaving,
  isMeant: (entry: StoragePeerEntry) => boolean,
): Promise<StoragePeerEntry[]> {
  const entries: StoragePeerEntry[] = []
  for await (const entry of listStoragePeers(chain.reader)) {
    if (entry.institution === institution && isMeant(entry)) entries.push(entry)
  }
  return entries
}

async function submitForEach(
  { account }: Leaving,
  entries: readonly StoragePeerEntry[],
  draft: (entry: StoragePeerEntry) => DraftTx,
  signal: AbortSignal,
): Promise<PeerIdText[]> {
  const placed = await Promise.all(entries.map(async (entry) => account.submit(draft(entry), signal)))
  for (const { receipt } of placed) if (!receipt.ok) throw new CodedError(receipt.fault)
  return entries.map(({ peer }) => peer)
}
