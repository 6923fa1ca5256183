/** Opens what keeps this peer's blocks: packs on its disk, or a bucket. Peers without a bucket load nothing of what it takes. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock, Log } from '../core/ports.ts'
import { BlockStore } from '../store/block-store.ts'
import type { Blocks, RemoveCapability } from '../store/blocks.ts'
import type { PeerConfig } from './config.ts'
import { PeerError } from './faults.ts'

export interface OpenBlocksDeps {
  readonly clock: Clock
  readonly log: Log
  readonly capability: RemoveCapability
}

/**
 * @param owner - the peer's id.
 * @throws {PeerError} `BLOCKS_ELSEWHERE`; faults of the store
 */
export async function openBlocks(config: PeerConfig, owner: string, deps: OpenBlocksDeps): Promise<Blocks> {
  const { capacityBytes, fullRatio, reserveFreeBytes, s3 } = config.store
  const packed = join(config.dataDir, 'blocks')
  const bucketed = join(config.dataDir, 'bucket')
  if (s3 === undefined) {
    await checkUnused(bucketed, () => true)
    return BlockStore.open(deps, { dir: packed, capacityBytes, reserveFreeBytes, fullRatio })
  }
  await checkUnused(join(packed, 'packs'), (name) => name.endsWith('.pack'))
  const { credentialsFile, ...bucket } = s3
  const { readS3Credentials } = await import('../store/s3-credentials.ts')
  const { S3BlockStore } = await import('../store/s3-block-store.ts')
  const credentials = await readS3Credentials(credentialsFile)
  return S3BlockStore.open(deps, { s3: { ...bucket, credentials }, dir: bucketed, owner, capacityBytes, fullRatio })
}

/** Blocks that were acknowledged must not vanish because a line of the config file did. */
async function checkUnused(dir: string, isUse: (name: string) => boolean): Promise<void> {
  const names = await readdir(dir).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  })
  if (names.some(isUse)) throw new PeerError({ code: 'BLOCKS_ELSEWHERE', dir })
}
