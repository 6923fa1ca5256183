import { expect, test } from 'vitest'
import type { DraftTx } from '../../../src/ledger/transaction.ts'
import { ColumnConfirms } from '../../../src/peer/column-confirms.ts'
import { COLUMNS_AT_ONCE_MAX } from '../../../src/core/limits.ts'
import type { InstitutionAccount } from '../../../src/peer/institution-account.ts'

/** A ledger that refuses a transaction whole when it names one of `refused`. */
function ledger(...refused: number[]) {
  const taken: number[][] = []
  const account: Pick<InstitutionAccount, 'submit'> = {
    async submit({ payload }: DraftTx) {
      const columns = payload as number[]
      const tx = 'tx' as never
      if (columns.some((one) => refused.includes(one))) {
        return { receipt: { tx, ok: false, fault: { code: 'COLUMN_NOT_ASSIGNED' } } } as never
      }
      taken.push(columns)
      return { receipt: { tx, ok: true } } as never
    },
  }
  const draft = (columns: number[]): DraftTx => ({ lane: 3, type: 'test', payload: columns })
  const confirms = new ColumnConfirms<number>({ account, draft, signal: new AbortController().signal })
  return { confirms, taken }
}

test('columns that end together share a transaction, as many as fit', async () => {
  const { confirms, taken } = ledger()
  const all = Array.from({ length: COLUMNS_AT_ONCE_MAX + 3 }, (_, column) => confirms.add(column))
  await Promise.all(all)
  expect(taken.map(({ length }) => length)).toEqual([COLUMNS_AT_ONCE_MAX, 3])
})

test('one column that is refused holds up no other, and is told why', async () => {
  const { confirms, taken } = ledger(5)
  const all = Array.from({ length: 20 }, (_, column) => confirms.add(column))
  const outcomes = await Promise.allSettled(all)
  expect(outcomes.map(({ status }) => status)).toEqual(
    Array.from({ length: 20 }, (_, column) => (column === 5 ? 'rejected' : 'fulfilled')),
  )
  await expect(all[5]).rejects.toMatchObject({ fault: { code: 'COLUMN_NOT_ASSIGNED' } })
  expect(taken.flat().toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 20 }, (_, column) => column).filter((column) => column !== 5),
  )
})
