import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { LevelStore } from '../../../src/store/level-store.ts'
import { faultOf, tempFolder } from './setup.ts'

const KEY = new TextEncoder().encode('key')
const VALUE = new TextEncoder().encode('a value that stands in the log as it is')

test('a folder that another process holds is refused by name, and free again when that process is killed', async () => {
  const dir = await tempFolder()
  const script = fileURLToPath(new URL('level-holder.ts', import.meta.url))
  const holder = spawn(process.execPath, [script, dir], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(holder.stdout, 'data')
  expect(await faultOf(LevelStore.open(dir))).toEqual({ code: 'STORE_FOLDER_IN_USE', dir })
  holder.kill('SIGKILL')
  await once(holder, 'exit')
  const store = await LevelStore.open(dir)
  expect(await store.get(KEY)).toEqual(VALUE)
  await store.close()
})

test('a folder that this process holds is refused too', async () => {
  const dir = await tempFolder()
  const store = await LevelStore.open(dir)
  expect(await faultOf(LevelStore.open(dir))).toEqual({ code: 'STORE_FOLDER_IN_USE', dir })
  await store.close()
  await (await LevelStore.open(dir)).close()
})

test('a value with a flipped bit is never handed out', async () => {
  const dir = await tempFolder()
  const first = await LevelStore.open(dir)
  for (let i = 0; i < 50; i++) await first.batch([{ key: new Uint8Array([i]), value: VALUE }])
  await first.close()
  // Opened once more, the log becomes a table.
  await (await LevelStore.open(dir)).close()
  let damaged = 0
  for (const name of (await readdir(dir)).filter((file) => file.endsWith('.ldb'))) {
    const whole = await readFile(join(dir, name))
    for (let at = 0; at < whole.length; at += 97) {
      const flipped = Buffer.from(whole)
      flipped[at] = (flipped[at] ?? 0) ^ 4
      await writeFile(join(dir, name), flipped)
      try {
        const store = await LevelStore.open(dir)
        for (let i = 0; i < 50; i++) {
          const got = await store.get(new Uint8Array([i])).catch((error: unknown) => {
            expect(error).toMatchObject({ fault: { code: 'STORE_DATABASE_DAMAGED' } })
            damaged++
          })
          if (got !== undefined) expect(got).toEqual(VALUE)
        }
        await store.close()
      } catch (error) {
        expect(error).toMatchObject({ fault: { code: 'STORE_DATABASE_DAMAGED' } })
      }
    }
    await writeFile(join(dir, name), whole)
  }
  expect(damaged).toBeGreaterThan(0)
})

test('a database whose manifest is damaged is refused as damaged', async () => {
  const dir = await tempFolder()
  const store = await LevelStore.open(dir)
  await store.batch([{ key: KEY, value: VALUE }])
  await store.close()
  await writeFile(join(dir, 'CURRENT'), 'nonsense')
  expect(await faultOf(LevelStore.open(dir))).toMatchObject({ code: 'STORE_DATABASE_DAMAGED', dir })
})

test('a database without a file that names its manifest is damaged: LevelDB would begin anew, and remove the rest', async () => {
  const dir = await tempFolder()
  const store = await LevelStore.open(dir)
  await store.batch([{ key: new Uint8Array([1]), value: new Uint8Array([2]) }])
  await store.close()
  const files = (await readdir(dir)).length
  const damaged = { code: 'STORE_DATABASE_DAMAGED', dir, part: 'CURRENT' }
  await writeFile(join(dir, 'CURRENT'), 'MANIFESt-000001\n')
  expect(await faultOf(LevelStore.open(dir))).toMatchObject(damaged)
  await rm(join(dir, 'CURRENT'))
  expect(await faultOf(LevelStore.open(dir))).toMatchObject(damaged)
  expect(await readdir(dir)).toHaveLength(files - 1)
  await mkdir(join(dir, 'CURRENT'))
  expect(await faultOf(LevelStore.open(dir))).toMatchObject({ code: 'STORE_FOLDER_UNUSABLE', dir, reason: 'EISDIR' })
})

test('a folder that is a file is refused', async () => {
  const dir = join(await tempFolder(), 'file')
  await writeFile(dir, '')
  expect(await faultOf(LevelStore.open(dir))).toMatchObject({ code: 'STORE_FOLDER_UNUSABLE', dir })
})

test('the folder is for its owner only', async () => {
  const parent = await tempFolder()
  await chmod(parent, 0o755)
  const dir = join(parent, 'state')
  const store = await LevelStore.open(dir)
  expect((await stat(dir)).mode & 0o077).toBe(0)
  await store.close()
})
