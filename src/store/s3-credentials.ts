/** The keys to an object store: in a file of their own for its owner's eyes, never in the config file or the environment. */
import { constants, open } from 'node:fs/promises'
import { S3_CREDENTIALS_BYTES_MAX } from '../core/limits.ts'
import { reasonOf, StoreError } from './store-error.ts'

export interface S3Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Of temporary keys. */
  readonly sessionToken?: string
}

const NOT_OWNER = 0o077
/** Goes into a header as it is. */
const PRINTABLE = /^[\x21-\x7e]{1,4096}$/

/** @throws {StoreError} `STORE_S3_CREDENTIALS` */
export async function readS3Credentials(file: string): Promise<S3Credentials> {
  const fault = (problem: string, cause?: unknown): StoreError =>
    new StoreError({ code: 'STORE_S3_CREDENTIALS', file, problem }, { cause })
  let text: string
  try {
    const handle = await open(file, constants.O_RDONLY)
    try {
      // The open file is asked, not its name: nothing can be swapped between the check and the read.
      const { mode, size } = await handle.stat()
      // Windows has no such bits; there the folder's access list guards the file.
      if (process.platform !== 'win32' && (mode & NOT_OWNER) !== 0) throw fault('others than its owner can read it')
      if (size > S3_CREDENTIALS_BYTES_MAX) throw fault(`it has ${size} bytes, at most ${S3_CREDENTIALS_BYTES_MAX}`)
      text = await handle.readFile('utf8')
    } finally {
      await handle.close()
    }
  } catch (error) {
    throw error instanceof StoreError ? error : fault(reasonOf(error), error)
  }
  const credentials = parseCredentials(text)
  if (credentials === undefined) throw fault('it does not hold what it should')
  return credentials
}

function parseCredentials(text: string): S3Credentials | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { accessKeyId, secretAccessKey, sessionToken, ...rest } = value as Record<string, unknown>
  if (Object.keys(rest).length > 0 || !isKey(accessKeyId) || !isKey(secretAccessKey)) return undefined
  if (sessionToken === undefined) return { accessKeyId, secretAccessKey }
  return isKey(sessionToken) ? { accessKeyId, secretAccessKey, sessionToken } : undefined
}

function isKey(value: unknown): value is string {
  return typeof value === 'string' && PRINTABLE.test(value)
}
