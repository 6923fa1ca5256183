/** This institution leaves the storage: its peers get nothing new, and give up what they hold once others have it. */
import { CodedError } from '../core/coded-error.ts'
import { draftStorageDrain, peersOfInstitution } from '../domain/storage-offers.ts'
import { getStoragePeer } from '../domain/storage-state.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import type { Peer } from './peer.ts'

/**
 * Drains each active peer of the institution, in the name of its account, and waits until that is final.
 *
 * @returns the peers that were active.
 * @throws {CodedError} the fault of one that the ledger refused or no validator took; a repetition drains the rest
 */
export async function drainInstitution(
  { account, chain, institution }: Pick<Peer, 'account' | 'chain' | 'institution'>,
  signal: AbortSignal,
): Promise<PeerIdText[]> {
  const active: PeerIdText[] = []
  for (const number of await peersOfInstitution(chain.reader, institution)) {
    const entry = await getStoragePeer(chain.reader, number)
    if (entry?.state === 'active') active.push(entry.peer)
  }
  const placed = await Promise.all(active.map(async (peer) => account.submit(draftStorageDrain(peer), signal)))
  for (const { receipt } of placed) if (!receipt.ok) throw new CodedError(receipt.fault)
  return active
}
