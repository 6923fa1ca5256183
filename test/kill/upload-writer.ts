/**
 * Stores segments and notes them in a journal until it is killed: `node upload-writer.ts DIR SEED`. Prints `a ID COUNT` when
 * so many segments of the upload are acknowledged.
 */
import { createHash, randomFillSync } from 'node:crypto'
import { BlockStore } from '../../src/store/block-store.ts'
import { UploadJournal } from '../../src/store/upload-journal.ts'
import { seededRandom } from '../unit/store/sim-disk.ts'

const UPLOADS = 3
const [dir = '', seed = '0'] = process.argv.slice(2)
const random = seededRandom(Number(seed))
const quiet = (): void => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: console.error }
const clock = { nowMs: (): number => Date.now() }
const store = await BlockStore.open(
  { clock, log },
  { dir: `${dir}/blocks`, capacityBytes: 2 ** 40, reserveFreeBytes: 0, ballastBytes: 0, packBytes: 16 * 1024 * 1024 },
)
const journal = await UploadJournal.open({ clock, log }, { dir: `${dir}/uploads` })

async function upload(id: string): Promise<never> {
  const session = await journal.load(id)
  if (session === undefined) await journal.create(id, new TextEncoder().encode(id))
  let count = session?.digests.length ?? 0
  for (;;) {
    const blocks = Array.from({ length: 1 + Math.floor(random() * 8) }, () => {
      const bytes = randomFillSync(new Uint8Array(65_536))
      return { digest: new Uint8Array(createHash('sha256').update(bytes).digest()), parts: [bytes] }
    })
    await store.write(blocks)
    await journal.append(
      id,
      blocks.map(({ digest }) => digest),
    )
    count += blocks.length
    process.stdout.write(`a ${id} ${count}\n`)
  }
}

await Promise.all(Array.from({ length: UPLOADS }, (_, i) => upload(`upload-${i}-of-${UPLOADS}`)))
