/**
 * Writes and removes blocks in a bucket until it is killed: `node s3-writer.ts DIR ENDPOINT SEED`. Each line on stdout is a fact that its
 * reader may rely on from then on: `w HEX` stored, `d HEX` about to be removed, `r HEX` removed.
 */
import { createHash, randomFillSync } from 'node:crypto'
import { type NewBlock, RemoveCapability } from '../../src/store/blocks.ts'
import { S3BlockStore } from '../../src/store/s3-block-store.ts'
import { BUCKET, CREDENTIALS } from '../unit/store/s3-server.ts'
import { seededRandom } from '../unit/store/sim-disk.ts'

const WORKERS = 4
const [dir = '', endpoint = '', seed = '0'] = process.argv.slice(2)
const random = seededRandom(Number(seed))
const capability = new RemoveCapability()
const quiet = (): void => undefined
const place = { endpoint, bucket: BUCKET, prefix: 'peer/', region: 'us-east-1' }
const store = await S3BlockStore.open(
  { log: { debug: quiet, info: quiet, warn: quiet, error: console.error }, capability },
  { s3: { ...place, credentials: CREDENTIALS }, dir, owner: 'a peer', capacityBytes: 2 ** 40, ballastBytes: 0 },
)

function say(...words: string[]): void {
  process.stdout.write(`${words.join(' ')}\n`)
}

function newBlock(): NewBlock {
  const bytes = randomFillSync(new Uint8Array(Math.floor(random() < 0.8 ? random() * 8_192 : random() * 1_000_000)))
  return { digest: new Uint8Array(createHash('sha256').update(bytes).digest()), parts: [bytes] }
}

async function work(): Promise<never> {
  const mine: Uint8Array[] = []
  for (;;) {
    const blocks = Array.from({ length: 1 + Math.floor(random() * 4) }, newBlock)
    await store.write(blocks)
    for (const { digest } of blocks) {
      say('w', Buffer.from(digest).toString('hex'))
      mine.push(digest)
    }
    if (mine.length < 8 || random() < 0.5) continue
    const [digest = new Uint8Array(32)] = mine.splice(Math.floor(random() * mine.length), 1)
    const hex = Buffer.from(digest).toString('hex')
    say('d', hex)
    await store.remove(digest, capability)
    say('r', hex)
  }
}

// A first line even where the first block takes long: from here on the clock of its life runs.
say('o')
await Promise.all(Array.from({ length: WORKERS }, work))
