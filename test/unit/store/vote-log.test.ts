import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CodedError } from '../../../src/core/coded-error.ts'
import type { ChainId } from '../../../src/core/ids.ts'
import { VOTE_LOG_BYTES_MAX, VOTE_LOG_RECORD_BYTES_MAX } from '../../../src/core/limits.ts'
import type { FileSystem } from '../../../src/store/file-system.ts'
import { VoteLog, type VoteLogOptions } from '../../../src/store/vote-log.ts'
import type { VoteLogRecord } from '../../../src/store/vote-log-frames.ts'
import { silent, tempFolder } from './setup.ts'
import { SimDisk } from './sim-disk.ts'

const owner = {
  chain: 'bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi' as ChainId,
  publicKey: new Uint8Array(32).fill(7),
}

function open(dir: string, options: Partial<VoteLogOptions> = {}, fs?: FileSystem): Promise<VoteLog> {
  const deps = fs === undefined ? { log: silent } : { log: silent, fs }
  return VoteLog.open(deps, { ...owner, dir, mustExist: false, ...options })
}

/** A record whose content tells its number. */
function record(number: number, bytes = 20): VoteLogRecord {
  return { type: number % 256, payload: new Uint8Array(bytes).fill(number % 251) }
}

const records = (from: number, count: number): VoteLogRecord[] =>
  Array.from({ length: count }, (_, i) => record(from + i, 5 + ((from + i) % 9)))

async function codeOf(run: Promise<unknown>): Promise<string> {
  const error: unknown = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof CodedError) return error.fault.code
  throw error instanceof Error ? error : new Error('it did not fail')
}

/** A log of five appends of one, two or three records, closed. */
async function written(dir: string): Promise<{ whole: Uint8Array; appends: VoteLogRecord[][]; ends: number[] }> {
  const log = await open(dir)
  const appends: VoteLogRecord[][] = []
  const ends = [log.bytes]
  for (let i = 0; i < 5; i++) {
    const some = records(i * 3, 1 + (i % 3))
    await log.append(some)
    appends.push(some)
    ends.push(log.bytes)
  }
  await log.close()
  return { whole: new Uint8Array(await readFile(join(dir, 'votes.log'))), appends, ends }
}

test('records read back in order after each start, and the log goes on', async () => {
  const dir = await tempFolder()
  let log = await open(dir)
  expect(log.records).toEqual([])
  await log.append([record(0), record(1, 0)])
  await log.append([])
  await log.append([record(2, VOTE_LOG_RECORD_BYTES_MAX)])
  expect(log.records).toEqual([])
  await log.close()
  log = await open(dir, { mustExist: true })
  expect(log.records).toEqual([record(0), record(1, 0), record(2, VOTE_LOG_RECORD_BYTES_MAX)])
  await log.append([record(3)])
  await log.close()
  log = await open(dir, { mustExist: true })
  expect(log.records).toHaveLength(4)
  expect(log.records[3]).toEqual(record(3))
  await log.close()
  expect(await codeOf(log.append([record(4)]))).toBe('STORE_CLOSED')
})

test('appends of one moment share one write and one sync, in the order of the calls', async () => {
  const disk = new SimDisk(1)
  const log = await open('/data/votes', {}, disk)
  let syncs = 0
  disk.fault = (operation) => {
    if (operation === 'datasync') syncs++
    return undefined
  }
  await Promise.all(Array.from({ length: 50 }, (_, i) => log.append([record(i)])))
  expect(syncs).toBe(1)
  await log.close()
  expect((await open('/data/votes', {}, disk)).records).toEqual(Array.from({ length: 50 }, (_, i) => record(i)))
})

test('cut at any byte: what was whole before the cut is there, or the header is damaged; and it goes on', async () => {
  const dir = await tempFolder()
  const { whole, appends, ends } = await written(dir)
  for (let length = 0; length < whole.length; length++) {
    await writeFile(join(dir, 'votes.log'), whole.subarray(0, length))
    if (length < (ends[0] ?? 0)) {
      expect(await codeOf(open(dir)), String(length)).toBe('VOTE_LOG_DAMAGED')
      continue
    }
    const log = await open(dir)
    const kept = appends.slice(0, ends.filter((end) => end <= length).length - 1).flat()
    expect(log.records, String(length)).toEqual(kept)
    await log.append([record(99)])
    await log.close()
    const again = await open(dir)
    expect(again.records).toEqual([...kept, record(99)])
    await again.close()
  }
})

test('no flipped bit loses or changes a record: it is damage, or it was in the mark of the end', async () => {
  const dir = await tempFolder()
  const { whole, appends, ends } = await written(dir)
  const markAt = ends.at(-1) ?? 0
  for (let at = 0; at < whole.length; at++) {
    const flipped = whole.slice()
    flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8))
    await writeFile(join(dir, 'votes.log'), flipped)
    if (at >= markAt) {
      const log = await open(dir)
      expect(log.records).toEqual(appends.flat())
      await log.close()
      continue
    }
    const error: unknown = await open(dir).catch((reason: unknown) => reason)
    const offset = Math.max(0, ...ends.filter((end) => end <= at))
    const expected = { code: 'VOTE_LOG_DAMAGED', offset, path: join(dir, 'votes.log') }
    expect((error as CodedError).fault, `byte ${at}`).toEqual(expected)
    // Looking at it changed nothing: an operator may still copy it.
    expect(new Uint8Array(await readFile(join(dir, 'votes.log')))).toEqual(flipped)
  }
})

test('whatever is overwritten or inserted, the records found are a beginning of those written', async () => {
  const dir = await tempFolder()
  const { whole, appends } = await written(dir)
  const all = appends.flat()
  const change = fc.record({ at: fc.nat(whole.length), drop: fc.nat(40), put: fc.uint8Array({ maxLength: 60 }) })
  await fc.assert(
    fc.asyncProperty(change, async ({ at, drop, put }) => {
      await writeFile(join(dir, 'votes.log'), Buffer.concat([whole.subarray(0, at), put, whole.subarray(at + drop)]))
      const log = await open(dir).catch((error: unknown) => error)
      if (!(log instanceof VoteLog)) {
        expect((log as CodedError).fault.code).toBe('VOTE_LOG_DAMAGED')
        return
      }
      expect(log.records).toEqual(all.slice(0, log.records.length))
      await log.close()
    }),
    { numRuns: 300 },
  )
})

test('a payload that holds the bytes of another log never passes for a frame', async () => {
  const dir = await tempFolder()
  const { whole } = await written(dir)
  const other = await tempFolder()
  const log = await open(other)
  await log.append([record(1)])
  const before = log.bytes
  await log.append([{ type: 1, payload: whole }])
  await log.close()
  const bytes = new Uint8Array(await readFile(join(other, 'votes.log')))
  // The second append stopped in the middle of that payload.
  await writeFile(join(other, 'votes.log'), bytes.subarray(0, before + 17 + whole.length - 3))
  const again = await open(other)
  expect(again.records).toEqual([record(1)])
  await again.close()
})

test('a log of another chain, key or version is refused and left as it is', async () => {
  const dir = await tempFolder()
  await (await open(dir)).close()
  const chain = `${owner.chain.slice(0, -1)}a` as ChainId
  expect(await codeOf(open(dir, { chain }))).toBe('VOTE_LOG_FOREIGN')
  expect(await codeOf(open(dir, { publicKey: new Uint8Array(32).fill(8) }))).toBe('VOTE_LOG_FOREIGN')
  await (await open(dir, { mustExist: true })).close()
})

test('a new log is durable with its folder before anything may be signed', async () => {
  const disk = new SimDisk(5)
  const synced: string[] = []
  disk.fault = (operation, path) => {
    if (operation === 'sync') synced.push(path)
    return undefined
  }
  await (await open('/data/votes', {}, disk)).close()
  expect(synced).toEqual(['/data/votes', '/data'])
  disk.fault = (operation, path) => (operation === 'sync' && path === '/data' ? 'EIO' : undefined)
  expect(await codeOf(open('/data/votes', {}, disk))).toBe('STORE_FSYNC_FAILED')
})

test('a log that must exist and does not is VOTE_LOG_MISSING, and is not begun', async () => {
  const dir = await tempFolder()
  expect(await codeOf(open(dir, { mustExist: true }))).toBe('VOTE_LOG_MISSING')
  expect(await readdir(dir)).toEqual([])
})

test('a record, a call or a log over its limit is refused, and the log goes on', async () => {
  const log = await open(await tempFolder())
  expect(await codeOf(log.append([record(1, VOTE_LOG_RECORD_BYTES_MAX + 1)]))).toBe('VOTE_LOG_RECORD_TOO_LARGE')
  const large = record(1, VOTE_LOG_RECORD_BYTES_MAX)
  expect(await codeOf(log.append([large, large, large, large]))).toBe('VOTE_LOG_RECORD_TOO_LARGE')
  const most = Math.ceil(VOTE_LOG_BYTES_MAX / VOTE_LOG_RECORD_BYTES_MAX)
  expect(await codeOf(log.replace(Array.from({ length: most }, () => large)))).toBe('VOTE_LOG_RECORD_TOO_LARGE')
  await log.replace(Array.from({ length: most - 1 }, () => large))
  expect(await codeOf(log.append([large]))).toBe('VOTE_LOG_FULL')
  await log.replace([])
  await log.append([large])
  await log.close()
})

test('replace leaves these records only, and appends called later come after them', async () => {
  const dir = await tempFolder()
  const log = await open(dir)
  const before = log.append(records(0, 20))
  const replaced = log.replace([record(100)])
  const after = log.append([record(101)])
  await Promise.all([before, replaced, after])
  await log.append([record(102)])
  expect(log.bytes).toBeLessThan(400)
  await log.close()
  const again = await open(dir, { mustExist: true })
  expect(again.records).toEqual([record(100), record(101), record(102)])
  await again.close()
  expect(await readdir(dir)).toEqual(['votes.log'])
})

test('after a failed write or sync nothing is written any more, and a restart finds what was acknowledged', async () => {
  for (const failing of ['writev', 'datasync'] as const) {
    const disk = new SimDisk(3)
    const log = await open('/data/votes', {}, disk)
    await log.append([record(1)])
    // Of the append itself, not of the mark that may still be on its way.
    await log.append([record(2)])
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
    disk.fault = (operation) => (operation === failing ? 'EIO' : undefined)
    expect(await codeOf(log.append([record(3)]))).toBe('STORE_FSYNC_FAILED')
    disk.fault = () => undefined
    expect(await codeOf(log.append([record(4)]))).toBe('STORE_FSYNC_FAILED')
    expect(await codeOf(log.replace([]))).toBe('STORE_FSYNC_FAILED')
    await log.close()
    expect((await open('/data/votes', {}, disk.afterKill(1))).records).toEqual([record(1), record(2)])
  }
})

/** Appends and replaces until the power goes. `kept`: acknowledged; `asked`: all that was ever appended, in order. */
async function runUntilCrash(disk: SimDisk): Promise<{ kept: VoteLogRecord[]; asked: VoteLogRecord[] }> {
  const state: { kept: VoteLogRecord[]; asked: VoteLogRecord[] } = { kept: [], asked: [] }
  const work = async (): Promise<never> => {
    const log = await open('/data/votes', {}, disk)
    for (let i = 0; ; i++) {
      // Large enough for several sectors, so that a disk may lose some of them.
      const some = Array.from({ length: 3 }, (_, j) => record(i * 3 + j, 400))
      state.asked = [...state.kept, ...some]
      await Promise.all(some.map((one) => log.append([one])))
      state.kept = state.asked
      if (i % 3 !== 2) continue
      const rest = state.kept.slice(-4)
      await log.replace(rest)
      state.kept = rest
      state.asked = rest
    }
  }
  await Promise.race([work(), disk.crashed])
  return state
}

test.each(['kill', 'power loss'] as const)(
  'a %s after any operation keeps what was acknowledged, and is never taken for damage',
  async (end) => {
    for (let operations = 0; operations < 120; operations++) {
      const disk = new SimDisk(operations)
      disk.operationsLeft = operations
      const { kept, asked } = await runUntilCrash(disk)
      const next = end === 'kill' ? disk.afterKill(operations) : disk.afterCrash(operations)
      const log = await open('/data/votes', {}, next)
      const found = log.records
      // A replacement that was not acknowledged may have happened or not: what it kept is there either way.
      const tail = kept.length === 0 ? 0 : found.findLastIndex((one) => equal(one, kept.at(-1)))
      const what = `${end} after ${operations} operations`
      expect(tail, what).toBeGreaterThanOrEqual(0)
      if (kept.length > 0) {
        const beginning = Math.max(0, tail + 1 - kept.length)
        expect(found.slice(beginning, tail + 1), what).toEqual(kept.slice(kept.length - (tail + 1 - beginning)))
        expect(tail + 1, what).toBeGreaterThanOrEqual(Math.min(kept.length, 4))
        expect(found.slice(tail + 1), what).toEqual(asked.slice(kept.length).slice(0, found.length - tail - 1))
      }
      // What a start has told is on the disk, though the process before it was killed before the sync.
      expect((await open('/data/votes', {}, next.afterCrash(operations))).records, what).toEqual(found)
      await log.append([record(7)])
      await log.close()
      const again = await open('/data/votes', {}, next)
      expect(again.records, what).toEqual([...found, record(7)])
      await again.close()
    }
  },
)

function equal(a: VoteLogRecord, b: VoteLogRecord | undefined): boolean {
  return b !== undefined && a.type === b.type && Buffer.compare(a.payload, b.payload) === 0
}
