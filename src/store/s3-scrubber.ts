/** Reads all blocks of a bucket, slowly, in the order of their digests, and looks whether damaged ones are right after all. */
import type { BlockIndex } from './block-index.ts'
import type { S3Damage } from './s3-damage.ts'
import { Pace, type ScrubOptions, type ScrubReport } from './scrubber.ts'

export interface BucketScrubberDeps {
  readonly index: BlockIndex
  readonly damage: S3Damage
  /** @returns whether the block is right; where it isn't, it is set apart. */
  readonly check: (digest: Uint8Array) => Promise<boolean>
  /** Takes a damaged block back where its object holds the right bytes. */
  readonly recover: (digest: Uint8Array) => Promise<void>
}

const FOLDERS = 256
/** Bytes of a digest that make a position. */
const POSITION_BYTES = 6
const FOLDER_UNIT = 2 ** (8 * (POSITION_BYTES - 1))

export async function scrubBucket(deps: BucketScrubberDeps, options: ScrubOptions): Promise<ScrubReport> {
  const { index, damage } = deps
  const from = options.from?.packId ?? 0
  const pace = new Pace(options.bytesPerSecondMax ?? Number.POSITIVE_INFINITY, options.signal)
  const damaged: Uint8Array[] = []
  let blocks = 0
  let bytes = 0
  for (let folder = Math.floor(from / FOLDER_UNIT); folder < FOLDERS; folder++) {
    // A part at a time: a list of all digests would be as large as the index.
    for (const digest of digestsFrom(index, folder, from)) {
      if (!(await pace.proceed())) {
        return { blocks, bytes, damaged, position: { packId: positionOf(digest), offset: 0 } }
      }
      // Removed since the list was made.
      const length = index.find(digest)?.length
      if (length === undefined) continue
      if (!(await deps.check(digest))) damaged.push(digest)
      blocks++
      bytes += length
      pace.spend(length)
    }
    for (const digest of damage.digests) if (digest[0] === folder) await deps.recover(digest)
  }
  return { blocks, bytes, damaged, position: undefined }
}

function digestsFrom(index: BlockIndex, folder: number, from: number): readonly Uint8Array[] {
  return index
    .digestsBeginning(folder)
    .filter((digest) => positionOf(digest) >= from)
    .sort(Buffer.compare)
}

function positionOf(digest: Uint8Array): number {
  return Buffer.from(digest.buffer, digest.byteOffset, digest.length).readUIntBE(0, POSITION_BYTES)
}
