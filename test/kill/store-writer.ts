/**
 * Writes and removes blocks until it is killed: `node store-writer.ts DIR SEED PACK_BYTES BALLAST_BYTES`. Each line on stdout is a fact
 * that its reader may rely on from then on: `w HEX` stored, `d HEX` about to be removed, `r HEX` removed, `f` refused for room.
 */
import { createHash, randomFillSync } from 'node:crypto'
import { BlockStore } from '../../src/store/block-store.ts'
import { type NewBlock, RemoveCapability } from '../../src/store/blocks.ts'
import { StoreError } from '../../src/store/store-error.ts'
import { seededRandom } from '../unit/store/sim-disk.ts'

const WORKERS = 4
const PART_BYTES = 64 * 1024
const [dir = '', seed = '0', packBytes = '0', ballastBytes = '0'] = process.argv.slice(2)
const random = seededRandom(Number(seed))
const capability = new RemoveCapability()
const quiet = (): void => undefined
const store = await BlockStore.open(
  {
    clock: { nowMs: () => Date.now() },
    log: { debug: quiet, info: quiet, warn: quiet, error: console.error },
    capability,
  },
  {
    dir,
    capacityBytes: 2 ** 40,
    reserveFreeBytes: 0,
    packBytes: Number(packBytes),
    ballastBytes: Number(ballastBytes),
  },
)

function say(...words: string[]): void {
  process.stdout.write(`${words.join(' ')}\n`)
}

function newBlock(): NewBlock {
  const kind = random()
  const length = Math.floor(kind < 0.7 ? random() * 8_192 : kind < 0.95 ? random() * 300_000 : 1024 * 1024)
  const bytes = randomFillSync(new Uint8Array(length))
  const parts: Uint8Array[] = []
  for (let at = 0; at < length; at += PART_BYTES) parts.push(bytes.subarray(at, at + PART_BYTES))
  return { digest: new Uint8Array(createHash('sha256').update(bytes).digest()), parts }
}

async function work(): Promise<never> {
  const mine: Uint8Array[] = []
  for (;;) {
    const blocks = Array.from({ length: 1 + Math.floor(random() * 4) }, newBlock)
    let full = false
    try {
      await store.write(blocks)
      for (const { digest } of blocks) {
        say('w', Buffer.from(digest).toString('hex'))
        mine.push(digest)
      }
    } catch (error) {
      const code = error instanceof StoreError ? error.fault.code : ''
      if (code !== 'STORE_FULL' && code !== 'STORE_DISK_FULL') throw error
      say('f')
      full = true
    }
    while (mine.length > (full ? 2 : 20) || random() < 0.3) {
      const [digest] = mine.splice(Math.floor(random() * mine.length), 1)
      if (digest === undefined) break
      const hex = Buffer.from(digest).toString('hex')
      say('d', hex)
      await store.remove(digest, capability)
      say('r', hex)
    }
  }
}

await Promise.all(Array.from({ length: WORKERS }, work))
