/** What the store refuses or reports. One error class: callers above it care for the code, not for the file it came from. */
import { CodedError } from '../core/coded-error.ts'

export type StoreFault =
  | {
      code: 'STORE_FULL'
      usedBytes: number
      capacityBytes: number
      limitBytes: number
      freeBytes: number
      reserveFreeBytes: number
      askedBytes: number
    }
  | { code: 'STORE_DISK_FULL'; dir: string; freeBytes: number }
  | { code: 'STORE_FSYNC_FAILED'; reason: string }
  | { code: 'STORE_WRITE_FAILED'; reason: string }
  | { code: 'STORE_READ_FAILED'; reason: string }
  | { code: 'STORE_FOLDER_UNUSABLE'; dir: string; reason: string }
  | { code: 'STORE_FOLDER_IN_USE'; dir: string }
  | { code: 'STORE_DATABASE_DAMAGED'; dir: string; part: string }
  | { code: 'STORE_CLOSED' }
  | { code: 'STORE_OPTIONS_INVALID'; option: string; expected: string }
  | { code: 'STORE_BLOCK_TOO_LARGE'; bytes: number; bytesMax: number }
  | { code: 'STORE_BLOCK_MISMATCH'; cid: string }
  | { code: 'STORE_BLOCK_DAMAGED'; digest: string }
  | { code: 'STORE_HASH_UNSUPPORTED'; hash: string }
  | { code: 'STORE_REMOVE_REFUSED' }
  | { code: 'STORE_S3_UNREACHABLE'; endpoint: string; reason: string }
  | { code: 'STORE_S3_DENIED'; bucket: string; reason: string }
  | { code: 'STORE_S3_BUCKET_MISSING'; endpoint: string; bucket: string }
  | { code: 'STORE_S3_REFUSED'; bucket: string; reason: string }
  | { code: 'STORE_S3_NO_ROOM'; bucket: string; reason: string }
  | { code: 'STORE_S3_FULL'; usedBytes: number; capacityBytes: number; limitBytes: number; askedBytes: number }
  | { code: 'STORE_S3_ALTERED'; digest: string }
  | { code: 'STORE_S3_IN_USE'; bucket: string; prefix: string }
  | { code: 'STORE_S3_CREDENTIALS'; file: string; problem: string }
  | { code: 'STORE_UPLOAD_ID_INVALID' }
  | { code: 'STORE_UPLOAD_EXISTS'; id: string }
  | { code: 'STORE_UPLOAD_UNKNOWN'; id: string }
  | { code: 'STORE_UPLOADS_TOO_MANY'; uploadsMax: number }
  | { code: 'STORE_UPLOAD_TOO_LARGE'; part: string; count: number; countMax: number }
export class StoreError extends CodedError<StoreFault> {}

const NO_ROOM: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])

/** The system's name of an error (`ENOSPC`, `EIO`), or `unknown`: never its message, which holds paths. */
export function reasonOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
}

/** Whether an error of the system means that the disk, or a quota on it, has no room left. */
export function isNoRoom(error: unknown): boolean {
  return NO_ROOM.has(reasonOf(error))
}
