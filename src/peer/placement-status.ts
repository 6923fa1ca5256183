/** How it stands with the placement of an object: from the job that is under way, or from what the ledger has. */
import type { CID } from 'multiformats/cid'
import type { Fault } from '../core/coded-error.ts'
import { activePeers } from '../domain/storage-offers.ts'
import { getExtent, getStoragePeer, getStoredObject, isWhole } from '../domain/storage-state.ts'
import { getLayout } from '../domain/storage-table.ts'
import type { StateReader } from '../ledger/state.ts'
import { type ColumnHolder, type Health, extentHealth, worstHealth } from '../shards/health.ts'
import type { PlacementProgress } from './placement-queue.ts'

export interface PlacementStatus {
  /**
   * `alone`: whole on this peer, and no other offers room; `waiting`: for a table, or for holders; `placing`; `placed`: on the
   * ledger at the write quorum; `unknown`: neither.
   */
  readonly state: 'alone' | 'waiting' | 'placing' | 'placed' | 'unknown'
  readonly extents: number
  readonly committed: number
  readonly bytes: number
  readonly bytesPlaced: number
  readonly bytesPushed: number
  /** Columns of each extent; 0: not known yet. */
  readonly columns: number
  /** Once placed: columns that have a holder, in the extent that has the fewest. */
  readonly held: number
  /** Once placed: whichever so many institutions fail, nothing is lost. */
  readonly survives: number
  readonly waitingFor: readonly string[]
  readonly fault?: Fault
}

const NOTHING = { bytesPlaced: 0, bytesPushed: 0, columns: 0, held: 0, survives: 0, waitingFor: [] } as const

export async function placementStatus(
  reader: StateReader,
  manifest: CID,
  progress: PlacementProgress | undefined,
): Promise<PlacementStatus> {
  const object = await getStoredObject(reader, manifest)
  // While there is a job it isn't known whether the ledger's object is this one.
  const isSettled = progress === undefined || progress.state === 'placed'
  if (object !== undefined && isWhole(object) && isSettled) return placed(reader, manifest, progress)
  if (progress === undefined || progress.state === 'placed') {
    const { committed, extents } = object ?? { committed: 0, extents: 0 }
    return { state: 'unknown', extents, committed, bytes: object?.bytes ?? 0, ...NOTHING }
  }
  const { bytes, bytesPlaced, bytesPushed, committed, extents, fault, missing, peers } = progress
  // An attempt that has not begun to place anything may be about to find out.
  const mayBeAlone = progress.state === 'waiting' || extents === 0
  const state = mayBeAlone && (await isAlone(reader)) ? 'alone' : progress.state
  return {
    ...NOTHING,
    state,
    extents,
    committed,
    bytes,
    bytesPlaced,
    bytesPushed,
    columns: peers,
    waitingFor: missing,
    ...(fault === undefined ? {} : { fault }),
  }
}

/** Whether the one peer that there is for storage is the only one that offers room. */
async function isAlone(reader: StateReader): Promise<boolean> {
  const layout = await getLayout(reader)
  if (layout !== undefined && layout.institutions > 1) return false
  const institutions = new Set((await activePeers(reader)).map(({ institution }) => institution))
  return institutions.size < 2
}

async function placed(
  reader: StateReader,
  manifest: CID,
  progress: PlacementProgress | undefined,
): Promise<PlacementStatus> {
  const object = await getStoredObject(reader, manifest)
  const { bytes = 0, committed = 0, extents = 0 } = object ?? {}
  const holders = new Map<number, ColumnHolder>()
  const healths: Health[] = []
  let columns = 0
  let held = Number.POSITIVE_INFINITY
  for (let index = 0; index < extents; index++) {
    const extent = await getExtent(reader, manifest, index)
    if (extent === undefined) continue
    for (const number of extent.holders) {
      if (number === undefined || holders.has(number)) continue
      const peer = await getStoragePeer(reader, number)
      if (peer !== undefined)
        holders.set(number, { institution: peer.institution, isCounted: peer.state !== 'removed' })
    }
    columns = Math.max(columns, extent.holders.length)
    held = Math.min(held, extent.holders.filter((number) => number !== undefined && holders.has(number)).length)
    healths.push(extentHealth(extent, (number) => holders.get(number)))
  }
  const { survives } = worstHealth(healths)
  const counts = { bytesPlaced: bytes, bytesPushed: progress?.bytesPushed ?? 0, columns, held, survives }
  return { state: 'placed', extents, committed, bytes, ...counts, waitingFor: [] }
}
