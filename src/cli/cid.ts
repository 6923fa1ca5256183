/** `apotheca cid FILE`: the CID that the import profile gives the bytes of a file as they are; nothing is stored. */
import type { CID } from 'multiformats/cid'
import { SEGMENT_BYTES } from '../core/limits.ts'
import { sha256 } from '../crypto/hash.ts'
import { buildFileTree } from '../shards/unixfs-tree.ts'
import { CliError } from './faults.ts'
import { openSource, scanSource } from './source-tree.ts'

/** @throws {CliError} `PUT_UNREADABLE`, `PUT_NOT_A_FILE`, `PUT_FILE_CHANGED` */
export async function cidOfFile(path: string): Promise<{ cid: CID; bytes: number }> {
  const tree = await scanSource(path)
  const file = tree.files[0]
  if (tree.kind !== 'file' || file === undefined) throw new CliError({ code: 'PUT_NOT_A_FILE' })
  const source = await openSource(file)
  try {
    const digests: Uint8Array[] = []
    const buffer = new Uint8Array(SEGMENT_BYTES)
    for (let position = 0; position < source.bytes || position === 0; position += SEGMENT_BYTES) {
      const piece = buffer.subarray(0, Math.min(SEGMENT_BYTES, source.bytes - position))
      await source.read(piece, position)
      digests.push(sha256(piece))
    }
    if ((await scanSource(path)).fingerprint !== tree.fingerprint) throw new CliError({ code: 'PUT_FILE_CHANGED' })
    return { cid: buildFileTree(digests, source.bytes).root, bytes: source.bytes }
  } finally {
    await source.close()
  }
}
