import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, test, vi } from 'vitest'
import { P2P_READ_BYTES_BUSY } from '../../../src/core/limits.ts'
import { lendReads } from '../../../src/p2p/lent-reads.ts'

/** A connected pair of sockets on the loopback. */
async function pair(): Promise<{ near: Socket; far: Socket } & AsyncDisposable> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [far] = (await once(server, 'connection')) as [Socket]
  const end = async (): Promise<void> => {
    near.destroy()
    far.destroy()
    server.close()
    await once(server, 'close')
  }
  return { near, far, [Symbol.asyncDispose]: end }
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

test('bytes come whole and in order before the end, in memory that is used again', async () => {
  await using sockets = await pair()
  const { far, near } = sockets
  const sent = randomBytes(8 * 1024 * 1024 + 3)
  const hash = createHash('sha256')
  const memories = new Set<ArrayBufferLike>()
  let largest = 0
  expect(
    lendReads(near, (bytes) => {
      hash.update(bytes)
      memories.add(bytes.buffer)
      largest = Math.max(largest, bytes.length)
      // Whoever keeps a view of it would see this.
      bytes.fill(0xee)
    }),
  ).toBe(true)
  near.resume()
  // Small ones in turns of their own, then all that's left at once, and the end with it.
  for (const at of [0, 1, 2]) {
    far.write(sent.subarray(at, at + 1))
    await new Promise((resolve) => setImmediate(resolve))
  }
  far.end(sent.subarray(3))
  await once(near, 'end')
  expect(hash.digest('hex')).toBe(sha256(sent))
  expect(memories.size).toBeLessThanOrEqual(3)
  expect(largest).toBeLessThanOrEqual(P2P_READ_BYTES_BUSY)
})

test('a paused socket reads nothing more, and goes on where it stopped', async () => {
  await using sockets = await pair()
  const { far, near } = sockets
  const sent = randomBytes(16 * 1024 * 1024)
  const pieces: Uint8Array[] = []
  lendReads(near, (bytes) => {
    pieces.push(new Uint8Array(bytes))
    if (pieces.length === 1) near.pause()
  })
  near.resume()
  far.end(sent)
  await vi.waitFor(() => expect(pieces.length).toBeGreaterThan(0))
  // What the system's buffers don't take stays with the sender.
  await vi.waitFor(() => expect(far.writableLength).toBeGreaterThan(0))
  const got = Buffer.concat(pieces).length
  expect(got).toBeLessThanOrEqual(2 * P2P_READ_BYTES_BUSY)
  near.resume()
  await once(near, 'end')
  expect(sha256(Buffer.concat(pieces))).toBe(sha256(sent))
})
