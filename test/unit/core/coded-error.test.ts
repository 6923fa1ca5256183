import { expect, test } from 'vitest'
import { CodecError } from '../../../src/core/codec.ts'
import { CodedError, EXIT, faultSentence } from '../../../src/core/coded-error.ts'
import { coreFaults } from '../../../src/core/faults.ts'

test('a coded error carries its fault, names its class, keeps its cause', () => {
  const cause = new Error('below')
  const error = new CodecError({ code: 'CODEC_MALFORMED', offset: 3 }, { cause })
  expect(error).toBeInstanceOf(CodedError)
  expect(error).toMatchObject({ name: 'CodecError', message: 'CODEC_MALFORMED', cause })
  expect(error.fault).toEqual({ code: 'CODEC_MALFORMED', offset: 3 })
})

test('a sentence is filled from the fault, and says what is missing', () => {
  const info = coreFaults.CODEC_TOO_LARGE
  const fault = { code: 'CODEC_TOO_LARGE', bytes: 10, bytesMax: 5 }
  expect(faultSentence(info, fault)).toBe('The structure has 10 bytes; at most 5 are accepted.')
  expect(faultSentence(info, { code: 'CODEC_TOO_LARGE' })).toContain('{bytes}')
  // What a field holds is shown as it is: it is not a template again.
  const shape = { code: 'CODEC_SHAPE', path: '{expected}', expected: '$& {path}' }
  expect(faultSentence(coreFaults.CODEC_SHAPE, shape)).toBe('At {expected}: expected $& {path}.')
})

test('every row says what is wrong and what to do, in whole sentences, with statuses that exist', () => {
  const exits: readonly number[] = Object.values(EXIT)
  expect(new Set(exits).size).toBe(exits.length)
  for (const [code, row] of Object.entries(coreFaults)) {
    expect(row.says, code).toMatch(/^[A-Z{].*\.$/)
    expect(row.todo, code).toMatch(/^[A-Z].*\.$/)
    expect(row.http, code).toBeGreaterThanOrEqual(400)
    expect(exits, code).toContain(row.exit)
  }
})
