/** Tells whether a file on this disk is what was stored, without fetching it. */
import { open } from 'node:fs/promises'
import { SEGMENT_BYTES } from '../core/limits.ts'
import { sha256 } from '../crypto/hash.ts'
import {
  STREAM_HEADER_BYTES,
  SegmentSealer,
  ciphertextLength,
  segmentCapacity,
  segmentCount,
} from '../crypto/sealed-stream.ts'
import { buildFileTree } from '../shards/unixfs-tree.ts'
import type { DownloadDeps } from './open-download.ts'
import type { OpenedFile } from './target.ts'

/** Whether the file at `path`, sealed again under the stored header, has the stored CID. */
export async function isCopy(
  deps: DownloadDeps,
  file: OpenedFile,
  profile: ConstructorParameters<typeof SegmentSealer>[0]['profile'],
  path: string,
): Promise<boolean> {
  const handle = await open(path, 'r').catch(() => undefined)
  if (handle === undefined) return false
  try {
    const { size } = await handle.stat()
    if (size !== file.entry.bytes) return false
    const headers = { range: `bytes=0-${STREAM_HEADER_BYTES - 1}` }
    const { body } = await deps.client.call(`/api/v1/content/${file.root.toString()}`, { headers, signal: deps.signal })
    const sealer = new SegmentSealer({ key: file.key, profile, header: body })
    const plain = new Uint8Array(SEGMENT_BYTES)
    const sealed = new Uint8Array(SEGMENT_BYTES)
    const length = ciphertextLength(size)
    const segments = segmentCount(length)
    const digests: Uint8Array[] = []
    let position = 0
    for (let index = 0; index < segments; index++) {
      const take = Math.min(segmentCapacity(index), size - position)
      const { bytesRead } = await handle.read(plain, 0, take, position)
      if (bytesRead !== take) return false
      const sealedBytes = await sealer.seal(index, plain.subarray(0, take), index === segments - 1, sealed)
      digests.push(sha256(sealed.subarray(0, sealedBytes)))
      position += take
      deps.onOpened(take)
    }
    return buildFileTree(digests, length).root.equals(file.root)
  } finally {
    await handle.close()
  }
}
