/** What every `KeyValueStore` promises (core/ports.ts), on each of them. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { KeyChange, KeyValueStore } from '../../src/core/ports.ts'
import { LevelStore } from '../../src/store/level-store.ts'
import { MemoryStore } from '../../src/store/memory-store.ts'
import { PrefixStore } from '../../src/store/prefix-store.ts'

const folders: string[] = []
const stores: KeyValueStore[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
  for (const dir of folders.splice(0)) await rm(dir, { recursive: true, force: true })
})

async function openLevel(): Promise<KeyValueStore> {
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-level-'))
  folders.push(dir)
  const store = await LevelStore.open(dir)
  stores.push(store)
  return store
}

const implementations: readonly [string, () => Promise<KeyValueStore>][] = [
  ['MemoryStore', async () => new MemoryStore()],
  ['LevelStore', openLevel],
  ['PrefixStore on LevelStore', async () => new PrefixStore(await openLevel(), 'some/prefix/')],
]

const bytes = (...values: number[]): Uint8Array => new Uint8Array(values)
const put = (key: Uint8Array, value: Uint8Array): KeyChange => ({ key, value })
const FROM = bytes()
const TO = bytes(255, 255, 255, 255, 255)

async function all(
  store: KeyValueStore,
  options: { from?: Uint8Array; to?: Uint8Array; reverse?: boolean; limit?: number } = {},
): Promise<[number[], number[]][]> {
  const found: [number[], number[]][] = []
  for await (const { key, value } of store.range({ from: FROM, to: TO, ...options })) found.push([[...key], [...value]])
  return found
}

describe.each(implementations)('%s', (_name, openOne) => {
  const open = async (): Promise<KeyValueStore> => {
    const store = await openOne()
    stores.push(store)
    return store
  }

  test('a value reads back, an empty one too; a key that is not there is undefined', async () => {
    const store = await open()
    await store.batch([put(bytes(1), bytes(2, 3)), put(bytes(1, 0), bytes())])
    expect(await store.get(bytes(1))).toEqual(bytes(2, 3))
    expect(await store.get(bytes(1, 0))).toEqual(bytes())
    expect(await store.get(bytes(1, 0, 0))).toBeUndefined()
  })

  test('reads that are asked for together get each its own value', async () => {
    const store = await open()
    await store.batch(Array.from({ length: 100 }, (_one, index) => put(bytes(index), bytes(index, 1))))
    const asked = Array.from({ length: 300 }, (_one, index) => (index * 7) % 150)
    const found = await Promise.all(asked.map((index) => store.get(bytes(index))))
    expect(found).toEqual(asked.map((index) => (index < 100 ? bytes(index, 1) : undefined)))
  })

  test('a batch sets and deletes; of two changes of one key the later counts', async () => {
    const store = await open()
    await store.batch([put(bytes(1), bytes(1)), put(bytes(2), bytes(2))])
    await store.batch([
      { key: bytes(1), value: undefined },
      put(bytes(2), bytes(22)),
      { key: bytes(9), value: undefined },
      put(bytes(3), bytes(3)),
      put(bytes(3), bytes(33)),
    ])
    expect(await all(store)).toEqual([
      [[2], [22]],
      [[3], [33]],
    ])
    await store.batch([])
  })

  test('keys are ordered bytewise, not as signed numbers or text', async () => {
    const store = await open()
    const keys = [bytes(0), bytes(0, 0), bytes(0x7f), bytes(0x80), bytes(0x80, 1), bytes(0xc3, 0xa9), bytes(0xff)]
    await store.batch(keys.toReversed().map((key) => put(key, key)))
    expect(await all(store)).toEqual(keys.map((key) => [[...key], [...key]]))
  })

  test('a range holds from but not to, in both directions, and at most limit', async () => {
    const store = await open()
    await store.batch([1, 2, 3, 4, 5].map((n) => put(bytes(n), bytes(n))))
    const keys = async (options: Parameters<typeof all>[1]): Promise<number[][]> =>
      (await all(store, options)).map(([key]) => key)
    expect(await keys({ from: bytes(2), to: bytes(4) })).toEqual([[2], [3]])
    expect(await keys({ from: bytes(2), to: bytes(4), reverse: true })).toEqual([[3], [2]])
    expect(await keys({ limit: 2 })).toEqual([[1], [2]])
    expect(await keys({ reverse: true, limit: 2 })).toEqual([[5], [4]])
    expect(await keys({ limit: 0 })).toEqual([])
    expect(await keys({ from: bytes(4), to: bytes(4) })).toEqual([])
    expect(await keys({ from: bytes(4), to: bytes(2) })).toEqual([])
  })

  test('a range is of the moment when it began to be read, and may be left early', async () => {
    const store = await open()
    await store.batch([1, 2, 3].map((n) => put(bytes(n), bytes(n))))
    const seen: number[] = []
    for await (const { key } of store.range({ from: FROM, to: TO })) {
      if (seen.length === 0) await store.batch([put(bytes(4), bytes(4)), { key: bytes(3), value: undefined }])
      seen.push(key[0] ?? 0)
    }
    expect(seen).toEqual([1, 2, 3])
    for await (const { key } of store.range({ from: FROM, to: TO })) {
      expect(key).toEqual(bytes(1))
      break
    }
    expect(await all(store)).toHaveLength(3)
  })

  test('what the caller does with its arrays afterwards changes nothing', async () => {
    const store = await open()
    const [key, value] = [bytes(1), bytes(2)]
    await store.batch([put(key, value)])
    key[0] = 9
    value[0] = 9
    const got = await store.get(bytes(1))
    expect(got).toEqual(bytes(2))
    got?.fill(7)
    expect(await store.get(bytes(1))).toEqual(bytes(2))
  })

  test('it answers as a sorted map does, whatever is put and deleted', async () => {
    const key = fc.uint8Array({ maxLength: 3 })
    const change = fc.record({ key, value: fc.option(fc.uint8Array({ maxLength: 40 }), { nil: undefined }) })
    const range = fc.record({ from: key, to: key, reverse: fc.boolean(), limit: fc.nat(20) })
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(change, { maxLength: 20 }), { maxLength: 5 }),
        range,
        async (batches, options) => {
          const store = await openOne()
          const model = new Map<string, Uint8Array>()
          for (const batch of batches) {
            await store.batch(batch)
            for (const one of batch) {
              const text = Buffer.from(one.key).toString('latin1')
              if (one.value === undefined) model.delete(text)
              else model.set(text, one.value)
            }
          }
          const expected = [...model]
            .map(([text, value]): [Buffer, Uint8Array] => [Buffer.from(text, 'latin1'), value])
            .filter(([one]) => Buffer.compare(one, options.from) >= 0 && Buffer.compare(one, options.to) < 0)
            .sort(([a], [b]) => Buffer.compare(a, b) * (options.reverse ? -1 : 1))
            .slice(0, options.limit)
            .map(([one, value]) => [[...one], [...value]])
          expect(await all(store, options)).toEqual(expected)
          await store.close()
        },
      ),
      { numRuns: 40 },
    )
  })
})

describe.each(implementations.slice(0, 2))('%s', (_name, open) => {
  test('a closed store refuses, and closes twice', async () => {
    const store = await open()
    await store.close()
    await store.close()
    await expect(store.get(bytes(1))).rejects.toThrow('STORE_CLOSED')
    await expect(store.batch([put(bytes(1), bytes(1))])).rejects.toThrow('STORE_CLOSED')
    await expect(all(store)).rejects.toThrow('STORE_CLOSED')
  })
})
