/** What this machine can do at best, measured in the same run as what is compared with it. */
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'

const MIB = 1024 * 1024
const UPDATE_BYTES = 64 * 1024

export const mbPerS = (bytes: number, ms: number): number => bytes / 1e6 / (ms / 1000)

/** One thread: AES-256-GCM, then SHA-256, on 1 MiB pieces, in a buffer that is used again. @returns MB/s */
export function sealAndHashLimit(bytes: number): number {
  const key = randomBytes(32)
  const plain = randomBytes(MIB)
  const out = Buffer.allocUnsafe(MIB + 16)
  const started = performance.now()
  for (let done = 0, index = 0; done < bytes; done += MIB, index++) {
    const nonce = Buffer.alloc(12)
    nonce.writeUInt32BE(index)
    const cipher = createCipheriv('aes-256-gcm', key, nonce)
    let offset = 0
    for (let at = 0; at < MIB; at += UPDATE_BYTES) {
      const piece = cipher.update(plain.subarray(at, at + UPDATE_BYTES))
      out.set(piece, offset)
      offset += piece.length
    }
    cipher.final()
    out.set(cipher.getAuthTag(), offset)
    createHash('sha256').update(out).digest()
  }
  return mbPerS(bytes, performance.now() - started)
}

/** Sequential write of 1 MiB pieces and one fsync at the end. @returns MB/s */
export async function diskWriteLimit(folder: string, bytes: number): Promise<number> {
  const file = join(folder, 'disk-limit.bin')
  const piece = randomBytes(MIB)
  const started = performance.now()
  const handle = await open(file, 'w')
  for (let done = 0; done < bytes; done += MIB) await handle.write(piece)
  await handle.sync()
  await handle.close()
  const rate = mbPerS(bytes, performance.now() - started)
  await rm(file)
  return rate
}
