import { type OpenFile, writeAllAt } from './file-system.ts'
import type { SyncGuard } from './sync-guard.ts'

/**
 * Writes at the end of a file and syncs. What failed is cut off again, so that nobody later takes it for a part of the file.
 *
 * @param at - the file's length, in bytes.
 * @throws the system's error where the write failed; {StoreError} `STORE_FSYNC_FAILED`
 */
export async function appendDurably(
  file: OpenFile,
  guard: SyncGuard,
  buffers: readonly Uint8Array[],
  at: number,
): Promise<void> {
  try {
    await writeAllAt(file, buffers, at)
  } catch (error) {
    await guard.run(() => file.truncate(at))
    throw error
  }
  try {
    await guard.run(() => file.datasync())
  } catch (error) {
    // The page cache would show it to the next start as if it were on the disk.
    await file.truncate(at).catch(() => undefined)
    throw error
  }
}
