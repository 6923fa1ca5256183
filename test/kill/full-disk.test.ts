/** A real small disk that somebody else fills up: what happens to the ledger's state, the journals and the blocks on it. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, type TestContext, test } from 'vitest'
import { BlockStore } from '../../src/store/block-store.ts'
import { LevelStore } from '../../src/store/level-store.ts'
import { UploadJournal } from '../../src/store/upload-journal.ts'

const DISK_MIB = 48
const MIB = 1024 * 1024
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const clock = { nowMs: (): number => Date.now() }
const key = (n: number): Uint8Array => new Uint8Array([n])
const value = (n: number): Uint8Array => new Uint8Array(MIB).fill(n).map((byte, i) => byte ^ (i * 31))

async function smallDisk(context: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-full-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m`, 'tmpfs', dir], { stdio: 'pipe' })
  } catch (error) {
    // Where tests must not be skipped, the machine has to allow it.
    if (process.env['CI'] === 'true') throw error
    context.skip(`needs root, to mount a tmpfs of ${DISK_MIB} MiB: run \`sudo npm run test:kill\``)
  }
  onTestFinished(() => void execFileSync('umount', ['-l', dir]))
  return dir
}

/** Takes all the room that is left. */
async function fill(path: string): Promise<void> {
  const file = await open(path, 'w')
  for (let bytes = MIB; bytes >= 1; bytes = bytes > 1 ? bytes >> 1 : 0) {
    try {
      for (;;) await file.appendFile(new Uint8Array(bytes))
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' })
    }
  }
  await file.close()
}

function segment(n: number): { digest: Uint8Array; parts: Uint8Array[] } {
  const bytes = value(n)
  return { digest: new Uint8Array(createHash('sha256').update(bytes).digest()), parts: [bytes] }
}

test('the ballast lets state and journals finish on a full disk; blocks are refused until there is room again', async (context) => {
  const dir = await smallDisk(context)
  const onDiskFull = (): Promise<boolean> => store.releaseBallast()
  const state = await LevelStore.open(join(dir, 'state'), { onDiskFull })
  const store = await BlockStore.open(
    { clock, log: silent },
    { dir: join(dir, 'blocks'), capacityBytes: 2 ** 40, reserveFreeBytes: 0, ballastBytes: 12 * MIB },
  )
  const journal = await UploadJournal.open({ clock, log: silent, onDiskFull }, { dir: join(dir, 'uploads') })
  await journal.create('an-upload', new Uint8Array(10))
  await state.batch([{ key: key(1), value: value(1) }])
  await store.write([segment(1)])
  await fill(join(dir, 'filler'))
  await state.batch([{ key: key(2), value: value(2) }])
  await journal.append('an-upload', [segment(1).digest])
  await expect(store.write([segment(2)])).rejects.toMatchObject({ fault: { code: 'STORE_DISK_FULL' } })
  expect(await state.get(key(1))).toEqual(value(1))
  expect(await state.get(key(2))).toEqual(value(2))
  await rm(join(dir, 'filler'))
  await store.write([segment(2)])
  expect(await store.read(segment(2).digest)).toEqual(value(2))
  expect(await store.releaseBallast()).toBe(true)
  await journal.close()
  await store.close()
  await state.close()
})

test('without ballast the state refuses a batch on a full disk whole, and takes it when there is room', async (context) => {
  const dir = await smallDisk(context)
  const state = await LevelStore.open(join(dir, 'state'))
  await state.batch([{ key: key(1), value: value(1) }])
  await fill(join(dir, 'filler'))
  const both = [2, 3].map((n) => ({ key: key(n), value: value(n) }))
  await expect(state.batch(both)).rejects.toMatchObject({
    fault: { code: expect.stringMatching(/^STORE_(DISK_FULL|FSYNC_FAILED)$/) },
  })
  await rm(join(dir, 'filler'))
  // A full disk may leave no room even to open the database anew; then a restart does it.
  await state.close()
  const again = await LevelStore.open(join(dir, 'state'))
  expect(await again.get(key(1))).toEqual(value(1))
  expect((await again.get(key(2))) === undefined).toBe((await again.get(key(3))) === undefined)
  await again.batch(both)
  expect(await again.get(key(3))).toEqual(value(3))
  await again.close()
})
