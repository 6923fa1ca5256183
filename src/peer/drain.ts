/**
 * This institution leaves the storage: its peers get nothing new, and give up what they hold once others have it. Until they are
 * removed it may change its mind.
 */
import { CodedError } from '../core/coded-error.ts'
import { draftStorageDrain, draftStorageOffer, peersOfInstitution } from '../domain/storage-offers.ts'
import { type StoragePeerEntry, getStoragePeer } from '../domain/storage-state.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import type { Peer } from './peer.ts'

type Leaving = Pick<Peer, 'account' | 'chain' | 'institution'>

/**
 * Drains each active peer of the institution, in the name of its account, and waits until that is final.
 *
 * @returns the peers that were active.
 * @throws {CodedError} the fault of one that the ledger refused or no validator took; a repetition drains the rest
 */
export async function drainInstitution(peer: Leaving, signal: AbortSignal): Promise<PeerIdText[]> {
  return submitForEach(peer, 'active', (entry) => draftStorageDrain(entry.peer), signal)
}

/**
 * Offers the room of each draining peer again, as it was offered last.
 *
 * @returns the peers that were draining.
 * @throws as `drainInstitution`
 */
export async function offerAgain(peer: Leaving, signal: AbortSignal): Promise<PeerIdText[]> {
  const draft = ({ bytes, peer: id, zone }: StoragePeerEntry): DraftTx => draftStorageOffer({ peer: id, bytes, zone })
  return submitForEach(peer, 'draining', draft, signal)
}

async function submitForEach(
  { account, chain, institution }: Leaving,
  state: StoragePeerEntry['state'],
  draft: (entry: StoragePeerEntry) => DraftTx,
  signal: AbortSignal,
): Promise<PeerIdText[]> {
  const entries: StoragePeerEntry[] = []
  for (const number of await peersOfInstitution(chain.reader, institution)) {
    const entry = await getStoragePeer(chain.reader, number)
    if (entry?.state === state) entries.push(entry)
  }
  const placed = await Promise.all(entries.map(async (entry) => account.submit(draft(entry), signal)))
  for (const { receipt } of placed) if (!receipt.ok) throw new CodedError(receipt.fault)
  return entries.map(({ peer }) => peer)
}
