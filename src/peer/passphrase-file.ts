/** Passphrase files: one line, for their owner's eyes. A daemon that starts unattended has no other way to open its keys. */
import { readFile, stat } from 'node:fs/promises'
import { PASSPHRASE_BYTES_MAX } from '../core/limits.ts'
import { PeerError } from './faults.ts'

/** @returns its first line. @throws {PeerError} `PASSPHRASE_UNREADABLE` */
export async function readPassphraseFile(file: string): Promise<Uint8Array> {
  const fault = { code: 'PASSPHRASE_UNREADABLE', file } as const
  let bytes: Uint8Array
  try {
    const { mode, size } = await stat(file)
    if ((process.platform !== 'win32' && (mode & 0o077) !== 0) || size > PASSPHRASE_BYTES_MAX)
      throw new PeerError(fault)
    bytes = new Uint8Array(await readFile(file))
  } catch (error) {
    throw error instanceof PeerError ? error : new PeerError(fault, { cause: error })
  }
  const end = bytes.findIndex((byte) => byte === 0x0a || byte === 0x0d)
  const line = end < 0 ? bytes : bytes.subarray(0, end)
  if (line.length === 0) throw new PeerError(fault)
  return line
}
