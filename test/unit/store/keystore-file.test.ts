import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { KEYSTORE_BYTES_MAX } from '../../../src/core/limits.ts'
import { readKeystoreFile, writeKeystoreFile } from '../../../src/store/keystore-file.ts'
import { faultOf } from '../crypto/faults.ts'

const BYTES = new TextEncoder().encode('{"some":"keystore"}')

describe('keystore files', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'apotheca-keystore-'))
  })
  afterEach(async () => {
    await rm(folder, { recursive: true })
  })

  test('a written keystore reads back, has mode 0600 under any umask, and nothing lies beside it', async () => {
    for (const umask of [0o000, 0o022, 0o777]) {
      const path = join(folder, `keys-${umask}.json`)
      const before = process.umask(umask)
      try {
        await writeKeystoreFile(path, BYTES)
      } finally {
        process.umask(before)
      }
      expect((await stat(path)).mode & 0o777).toBe(0o600)
      expect(await readKeystoreFile(path)).toEqual(BYTES)
    }
    expect((await readdir(folder)).toSorted()).toEqual(['keys-0.json', 'keys-18.json', 'keys-511.json'])
  })

  test('a missing folder is made for its owner only', async () => {
    const path = join(folder, 'new', 'deep', 'keys.json')
    await writeKeystoreFile(path, BYTES)
    expect((await stat(join(folder, 'new', 'deep'))).mode & 0o777).toBe(0o700)
    expect(await readKeystoreFile(path)).toEqual(BYTES)
  })

  test('an existing file stays as it is, unless replacing was asked for', async () => {
    const path = join(folder, 'keys.json')
    await writeKeystoreFile(path, BYTES)
    const other = new Uint8Array([1, 2, 3])
    expect(await faultOf(() => writeKeystoreFile(path, other))).toEqual({ code: 'KEYSTORE_FILE_EXISTS', path })
    expect(await readKeystoreFile(path)).toEqual(BYTES)
    await writeKeystoreFile(path, other, { replace: true })
    expect(await readKeystoreFile(path)).toEqual(other)
    expect(await readdir(folder)).toEqual(['keys.json'])
  })

  test('of many writers at once one wins, and its bytes are whole', async () => {
    const path = join(folder, 'keys.json')
    const contents = Array.from({ length: 8 }, (_, i) => new Uint8Array(50_000).fill(i))
    const results = await Promise.allSettled(contents.map((bytes) => writeKeystoreFile(path, bytes)))
    const winner = results.findIndex((one) => one.status === 'fulfilled')
    expect(results.filter((one) => one.status === 'fulfilled')).toHaveLength(1)
    expect(await readKeystoreFile(path)).toEqual(contents[winner])
    expect(await readdir(folder)).toEqual(['keys.json'])
  })

  test.each(['0640', '0604', '0620', '0666', '0601'])('mode %s is refused, and named', async (mode) => {
    const path = join(folder, 'keys.json')
    await writeKeystoreFile(path, BYTES)
    await chmod(path, Number.parseInt(mode, 8))
    expect(await faultOf(() => readKeystoreFile(path))).toEqual({ code: 'KEYSTORE_FILE_MODE', path, mode })
    await chmod(path, 0o400)
    expect(await readKeystoreFile(path)).toEqual(BYTES)
  })

  test('the mode that counts is that of the file behind a link', async () => {
    const target = join(folder, 'target.json')
    const path = join(folder, 'link.json')
    await writeFile(target, BYTES, { mode: 0o644 })
    await symlink(target, path)
    expect(await faultOf(() => readKeystoreFile(path))).toMatchObject({ code: 'KEYSTORE_FILE_MODE' })
  })

  test('a missing file, a folder, and files too large are refused with their own codes', async () => {
    const path = join(folder, 'keys.json')
    expect(await faultOf(() => readKeystoreFile(path))).toEqual({ code: 'KEYSTORE_FILE_MISSING', path })
    await mkdir(path, { mode: 0o700 })
    expect(await faultOf(() => readKeystoreFile(path))).toEqual({
      code: 'KEYSTORE_FILE_FAILED',
      path,
      reason: 'EISDIR',
    })
    const large = new Uint8Array(KEYSTORE_BYTES_MAX + 1)
    const other = join(folder, 'large.json')
    const tooLarge = {
      code: 'KEYSTORE_FILE_TOO_LARGE',
      path: other,
      bytes: large.length,
      bytesMax: KEYSTORE_BYTES_MAX,
    }
    expect(await faultOf(() => writeKeystoreFile(other, large))).toEqual(tooLarge)
    await writeFile(other, large, { mode: 0o600 })
    expect(await faultOf(() => readKeystoreFile(other))).toEqual(tooLarge)
    expect((await readFile(other)).length).toBe(large.length)
  })

  test('a folder that is a file is a coded fault, and leaves no remains', async () => {
    const file = join(folder, 'file')
    await writeFile(file, BYTES)
    const path = join(file, 'keys.json')
    expect(await faultOf(() => writeKeystoreFile(path, BYTES))).toEqual({
      code: 'KEYSTORE_FILE_FAILED',
      path,
      reason: 'EEXIST',
    })
    expect(await readdir(folder)).toEqual(['file'])
  })
})
