/**
 * An object that is to be placed, and that the ledger has whole already. Whether that is this very one must be known before what lies here may go:
 * whoever is asked to hold a part of an object learns its name, and may have put something else on the ledger under it.
 *
 *   this institution's ──► kept? ──no──► its lease is prolonged
 *   another one's      ──► stored by one of ours? ──► a name that was taken
 *                      └─► it came in a CAR: its extents must name what lies here
 *
 * @see docs/decisions/0115-a-name-that-was-taken.md
 */
import { equals } from 'uint8arrays/equals'
import { CodedError } from '../core/coded-error.ts'
import type { AccountId, InstitutionId } from '../core/ids.ts'
import { getAccount } from '../domain/accounts.ts'
import { draftStorageRenew, isKeptNow } from '../domain/storage-leases.ts'
import { getStorageParams } from '../domain/storage-params.ts'
import type { StoredObject } from '../domain/storage-state.ts'
import type { Chain } from '../ledger/chain.ts'
import type { ExtentMap } from '../shards/extent-map.ts'
import type { ExtentPart, ObjectWalk } from '../shards/object-walk.ts'
import type { ExtentDirectory } from './extent-directory.ts'
import { PeerError } from './faults.ts'
import type { InstitutionAccount } from './institution-account.ts'

export interface PlacedAlreadyDeps {
  readonly chain: Pick<Chain, 'head' | 'reader'>
  readonly account: Pick<InstitutionAccount, 'institution' | 'submit'>
  readonly directory: Pick<ExtentDirectory, 'placed'>
}

/**
 * Settles when the ledger has this object, and keeps it.
 *
 * @param stored - whole, or another institution's.
 * @param open - what lies here, and whose: read only where the object is another institution's.
 * @throws {PeerError} `OBJECT_NAME_TAKEN`; {CodedError} `OBJECT_ERASED`, what the ledger says against a renewal; those of `ExtentDirectory.placed`; the
 *   signal's reason
 */
export async function checkPlaced(
  deps: PlacedAlreadyDeps,
  stored: StoredObject,
  open: () => Promise<{ readonly walk: ObjectWalk; readonly storer: AccountId }>,
  signal: AbortSignal,
): Promise<void> {
  const { account } = deps
  if (stored.org === account.institution) await keep(deps, stored, signal)
  else {
    const { storer, walk } = await open()
    if (!(await isThis(deps, stored, { walk, storer }, signal))) throw nameTaken(stored)
  }
}

export function nameTaken({
  manifest,
  org,
}: {
  readonly manifest: StoredObject['manifest']
  readonly org: InstitutionId
}) {
  return new PeerError({ code: 'OBJECT_NAME_TAKEN', cid: manifest.toString(), institution: org })
}

/** Released, and put again before the ledger has forgotten it. */
async function keep({ account, chain }: PlacedAlreadyDeps, stored: StoredObject, signal: AbortSignal): Promise<void> {
  const { manifest } = stored
  if (stored.erasedMs > 0) throw new CodedError({ code: 'OBJECT_ERASED', manifest: manifest.toString() })
  if (await isKeptNow(chain.reader, stored, chain.head.timeMs)) return
  const { leaseMs } = await getStorageParams(chain.reader)
  const { receipt } = await account.submit(
    draftStorageRenew({ manifest, leaseMs: chain.head.timeMs + leaseMs }),
    signal,
  )
  if (!receipt.ok) throw new CodedError(receipt.fault)
}

async function isThis(
  { account, chain, directory }: PlacedAlreadyDeps,
  stored: StoredObject,
  { storer, walk }: { readonly walk: ObjectWalk; readonly storer: AccountId },
  signal: AbortSignal,
): Promise<boolean> {
  if (stored.erasedMs > 0 || stored.extents !== walk.extents) return false
  if ((await getAccount(chain.reader, storer))?.org === account.institution) return false
  for await (const part of walk.parts(0)) {
    const placed = await directory.placed({ manifest: stored.manifest, index: part.index }, signal)
    if (placed === undefined || !names(placed.map.map, part)) return false
  }
  return true
}

function names(map: ExtentMap, { copies, segments }: ExtentPart): boolean {
  const data = map.stripes.flatMap((stripe, number) => map.shardsOfStripe(number).slice(0, stripe.data))
  const isData =
    data.length === segments.length && segments.every(({ digest }, at) => isDigest(data[at]?.digest, digest))
  const kept = new Set(map.fields.copies.map(({ cid }) => cid.toString()))
  return isData && copies.every(({ cid }) => kept.has(cid.toString()))
}

function isDigest(found: Uint8Array | undefined, digest: Uint8Array): boolean {
  return found !== undefined && equals(found, digest)
}
