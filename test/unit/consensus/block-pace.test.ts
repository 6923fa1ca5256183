import { expect, test } from 'vitest'
import { BlockPace } from '../../../src/consensus/block-pace.ts'
import { BLOCK_PACED_TXS_MIN, BLOCK_TXS_MAX } from '../../../src/core/limits.ts'

const ROOM_MS = 150

test('before any block was executed, blocks are as large as they may be', () => {
  expect(new BlockPace().txsOfBlock(ROOM_MS)).toBe(BLOCK_TXS_MAX)
})

test('a machine without a clock of its own, such as a simulation, makes blocks as large as they may be', () => {
  const pace = new BlockPace()
  pace.executed(500, 0)
  expect(pace.txsOfBlock(ROOM_MS)).toBe(BLOCK_TXS_MAX)
})

test('blocks shrink until executing one fits into the room that it has', () => {
  const pace = new BlockPace()
  const msPerTx = 3
  for (let block = 0; block < 10; block++) {
    const txs = pace.txsOfBlock(ROOM_MS)
    pace.executed(txs, txs * msPerTx)
  }
  expect(pace.txsOfBlock(ROOM_MS) * msPerTx).toBeLessThanOrEqual(ROOM_MS)
  expect(pace.txsOfBlock(ROOM_MS)).toBe(ROOM_MS / msPerTx)
})

test('blocks grow again when the machine has become faster', () => {
  const pace = new BlockPace()
  pace.executed(100, 1_000)
  for (let block = 0; block < 20; block++) pace.executed(100, 10)
  expect(pace.txsOfBlock(ROOM_MS)).toBeGreaterThan(1_400)
})

test('however slow the machine, a block takes some', () => {
  const pace = new BlockPace()
  pace.executed(1_000, 1e9)
  expect(pace.txsOfBlock(ROOM_MS)).toBe(BLOCK_PACED_TXS_MIN)
})

test('small blocks say nothing about what a transaction takes', () => {
  const pace = new BlockPace()
  pace.executed(1, 100)
  expect(pace.txsOfBlock(ROOM_MS)).toBe(BLOCK_TXS_MAX)
})
