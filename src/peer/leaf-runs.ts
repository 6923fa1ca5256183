/** Leaves of a file in runs that are read alike: here, from the holders of one extent, or from wherever they are found. */
import type { CID } from 'multiformats/cid'
import { LEAF_RUN_MAX } from '../core/limits.ts'
import type { FileLeaf } from '../shards/unixfs-tree.ts'
import type { Blocks } from '../store/blocks.ts'
import type { Located } from './extent-directory.ts'
import { PeerError } from './faults.ts'
import type { PlacedExtent, ShardPlace } from './placed-extent.ts'

export interface PlacedRun {
  readonly kind: 'placed'
  readonly leaves: FileLeaf[]
  readonly placed: PlacedExtent
  /** Of each leaf. */
  readonly places: ShardPlace[]
}

export type LeafRun =
  | PlacedRun
  | { readonly kind: 'here'; readonly leaves: FileLeaf[] }
  /** With the reason why it isn't known where they lie, where there is one. */
  | { readonly kind: 'elsewhere'; readonly leaves: FileLeaf[]; readonly failure: PeerError | undefined }

export interface LeafPlaces {
  readonly store: Pick<Blocks, 'has'>
  /** Where a block lies by the ledger. @throws as `ExtentDirectory.find` */
  readonly find: (cid: CID) => Promise<Located | undefined>
}

export async function* leafRuns(leaves: AsyncGenerator<FileLeaf>, places: LeafPlaces): AsyncGenerator<LeafRun> {
  let run: LeafRun | undefined
  for await (const leaf of leaves) {
    if (run !== undefined && run.leaves.length < LEAF_RUN_MAX && joins(run, leaf, places)) {
      run.leaves.push(leaf)
      continue
    }
    if (run !== undefined) yield run
    run = await runOf(leaf, places)
  }
  if (run !== undefined) yield run
}

function joins(run: LeafRun, { digest }: FileLeaf, { store }: LeafPlaces): boolean {
  // A column that this peer holds itself lies between those of others: it is read with them.
  if (run.kind === 'placed') {
    const place = run.placed.map.find(digest)
    if (place !== undefined) run.places.push(place)
    return place !== undefined
  }
  // Extents are committed in their order: behind a leaf that isn't placed none is.
  return (run.kind === 'here') === store.has(digest)
}

async function runOf(leaf: FileLeaf, { find, store }: LeafPlaces): Promise<LeafRun> {
  const leaves = [leaf]
  if (store.has(leaf.digest)) return { kind: 'here', leaves }
  try {
    const found = shardOf(await find(leaf.cid))
    if (found !== undefined) return { kind: 'placed', leaves, placed: found.placed, places: [found.place] }
    return { kind: 'elsewhere', leaves, failure: undefined }
  } catch (failure) {
    if (!(failure instanceof PeerError) || failure.fault.code !== 'EXTENT_UNAVAILABLE') throw failure
    return { kind: 'elsewhere', leaves, failure }
  }
}

/** Leaves are shards: a copy by that name is none of them. */
function shardOf(located: Located | undefined): Extract<Located, { kind: 'shard' }> | undefined {
  return located?.kind === 'shard' ? located : undefined
}
