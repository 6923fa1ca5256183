/** Why something can't be read: which shards, whose, since when. */
import type { PeerId } from '@libp2p/interface'
import type { CID } from 'multiformats/cid'
import { RAW, digestCid } from '../crypto/hash.ts'
import { PeerError } from './faults.ts'
import type { PeerHistory } from './peer-history.ts'
import type { Holder } from './placed-extent.ts'

export interface MissingShard {
  /** `undefined`: a block that all holders keep whole, and this one doesn't give. */
  readonly digest: Uint8Array | undefined
  readonly holder: Holder | undefined
  /** What went wrong where the holder was asked. */
  readonly why: string | undefined
}

/** What is missing of a stripe, or of blocks that its holders keep whole. */
export interface Shortage {
  /** What was asked for. */
  readonly cid: CID
  readonly extent: number
  /** Shards that are enough. */
  readonly needed: number
  readonly present: number
  readonly missing: readonly MissingShard[]
}

export function unavailable(
  history: Pick<PeerHistory, 'isConnected' | 'isLate' | 'awaySinceMs'>,
  { cid, extent, missing, needed, present }: Shortage,
): PeerError {
  const institutions = missing.flatMap(({ holder }) => (holder === undefined ? [] : [holder.institution]))
  return new PeerError({
    code: 'EXTENT_UNAVAILABLE',
    cid: cid.toString(),
    extent,
    needed,
    present,
    missing: missing.map((one) => reasonOf(history, one)).join('; '),
    institutions: [...new Set(institutions)],
    shards: missing.flatMap(({ digest }) => (digest === undefined ? [] : [digestCid(RAW, digest).toString()])),
  })
}

function reasonOf(
  history: Pick<PeerHistory, 'isConnected' | 'isLate' | 'awaySinceMs'>,
  { holder, why }: MissingShard,
): string {
  if (holder === undefined) return 'a shard that nobody holds'
  const { institution, peer } = holder
  if (!history.isConnected(peer)) return `${institution}, not connected since ${awayText(history, peer)}`
  if (why !== undefined) return `${institution}, ${why}`
  return history.isLate(peer) ? `${institution}, connected but silent` : `${institution}, not asked`
}

function awayText(history: Pick<PeerHistory, 'awaySinceMs'>, peer: PeerId): string {
  return `${new Date(history.awaySinceMs(peer)).toISOString().slice(0, 19)}Z`
}
