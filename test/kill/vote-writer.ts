/**
 * Writes a vote log until it is killed: `node vote-writer.ts DIR SEED`. Each record holds a number, one more than the one before.
 * Prints `a NUMBER` when the record is acknowledged, `k NUMBER` before a replacement that keeps the records from there on.
 */
import type { ChainId } from '../../src/core/ids.ts'
import { VoteLog } from '../../src/store/vote-log.ts'
import type { VoteLogRecord } from '../../src/store/vote-log-frames.ts'
import { seededRandom } from '../unit/store/sim-disk.ts'

const KEPT = 5
const REPLACE_BYTES = 200_000
const [dir = '', seed = '0'] = process.argv.slice(2)
const random = seededRandom(Number(seed))
const quiet = (): void => undefined
const chain = 'bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi' as ChainId
const log = await VoteLog.open(
  { log: { debug: quiet, info: quiet, warn: quiet, error: console.error } },
  { dir, chain, publicKey: new Uint8Array(32).fill(1), mustExist: Number(seed) > 0 },
)

function say(...words: (string | number)[]): void {
  process.stdout.write(`${words.join(' ')}\n`)
}

function numbered(number: number): VoteLogRecord {
  const kind = random()
  const payload = new Uint8Array(8 + Math.floor(random() * (kind < 0.9 ? 300 : 60_000))).fill(number % 256)
  new DataView(payload.buffer).setFloat64(0, number)
  return { type: number % 3, payload }
}

let recent: VoteLogRecord[] = [...log.records]
const lastPayload = recent.at(-1)?.payload
let next = lastPayload === undefined ? 0 : new DataView(lastPayload.buffer, lastPayload.byteOffset).getFloat64(0) + 1
say('s')
for (;;) {
  const some = Array.from({ length: 1 + Math.floor(random() * 4) }, () => numbered(next++))
  await Promise.all(
    some.map(async (one, i) => {
      await log.append([one])
      say('a', next - some.length + i)
    }),
  )
  recent = [...recent, ...some]
  if (log.bytes < REPLACE_BYTES) continue
  recent = recent.slice(-KEPT)
  // Said before: from now on either log is right.
  say('k', next - recent.length)
  await log.replace(recent)
}
