import { expect, test } from 'vitest'
import { STAGED_COLUMNS_OF_ONE_MAX, STAGED_GRACE_MS, STAGED_UNFINISHED_MS } from '../../../src/core/limits.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { StagedColumns } from '../../../src/peer/staged-columns.ts'
import { MemoryStore } from '../../../src/store/memory-store.ts'

const EXPIRES_MS = 1_800_000_000_000
const manifest = cborCid(new Uint8Array([1]))
const map = cborCid(new Uint8Array([2]))
const column = (index: number) => ({ manifest, index, column: 0, bytes: 10, expiresMs: EXPIRES_MS })

test('one institution has a quarter of the records; another one still gets its own, and what the ledger names is free again', async () => {
  const staged = await StagedColumns.open(new MemoryStore())
  for (let at = 0; at < STAGED_COLUMNS_OF_ONE_MAX; at++) {
    await staged.note({ ...column(at % 4_096), column: Math.floor(at / 4_096), from: 'clinic', map })
  }
  const more = { ...column(0), column: 63, from: 'clinic' }
  await expect(staged.note(more)).rejects.toMatchObject({
    fault: { code: 'STAGED_TOO_MANY', columnsMax: STAGED_COLUMNS_OF_ONE_MAX },
  })
  await staged.note({ ...more, from: 'laboratory' })
  await staged.note({ ...column(0), column: 62 })
  staged.setNamed({ ...column(7), map })
  expect(staged.unnamedColumns('clinic')).toHaveLength(STAGED_COLUMNS_OF_ONE_MAX - 1)
  await staged.note({ ...column(1), column: 61, from: 'clinic' })
})

test('what was written and never finished counts until blocks that nobody names are gone, also beside a column that was finished', async () => {
  const state = new MemoryStore()
  const staged = await StagedColumns.open(state)
  const unfinished = { ...column(0), from: 'clinic' }
  await staged.note(unfinished, 500)
  staged.settle(unfinished, { takenBytes: 500, bytes: 200 })
  expect(staged.unnamed('clinic')).toEqual({ columns: 1, bytes: 200 })
  await staged.note({ ...unfinished, map }, 10)
  expect(staged.unnamed('clinic')).toEqual({ columns: 1, bytes: 210 })
  // The receipt has expired: the column goes, and 200 bytes of nothing stay on the account.
  expect(staged.expired(EXPIRES_MS + STAGED_GRACE_MS + 1)).toHaveLength(1)
  await staged.remove(staged.list())
  for (const one of [staged, await StagedColumns.open(state)]) {
    expect(one.unnamed('clinic')).toEqual({ columns: 1, bytes: 200 })
    expect(one.expired(EXPIRES_MS + STAGED_GRACE_MS + STAGED_UNFINISHED_MS)).toEqual([])
  }
  const over = staged.expired(EXPIRES_MS + STAGED_GRACE_MS + STAGED_UNFINISHED_MS + 1)
  expect(over).toHaveLength(1)
  await staged.remove(over)
  expect(staged.unnamed('clinic')).toEqual({ columns: 0, bytes: 0 })
  expect((await StagedColumns.open(state)).list()).toEqual([])
})

test('a column of one institution does not take over what another one left unfinished', async () => {
  const staged = await StagedColumns.open(new MemoryStore())
  await staged.note({ ...column(0), from: 'clinic' }, 300)
  await staged.note({ ...column(0), from: 'laboratory', map }, 10)
  expect(staged.unnamed('clinic')).toEqual({ columns: 1, bytes: 300 })
  expect(staged.unnamed('laboratory')).toEqual({ columns: 1, bytes: 10 })
  await staged.note({ ...column(0), from: 'laboratory' })
  expect(staged.unnamed('clinic')).toEqual({ columns: 1, bytes: 300 })
})
