import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BLOCK_BYTES_MAX } from '../../../src/core/limits.ts'
import {
  AnswerReader,
  type AnswerStatus,
  type BlockRequest,
  encodeAnswerHead,
  encodeRequests,
  FrameError,
  RequestReader,
} from '../../../src/p2p/block-frames.ts'

/** Cuts bytes at arbitrary places, as a transport may. */
function cut(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const at = [...new Set([0, ...cuts.map((one) => one % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b)
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end))
}

const digest = fc.uint8Array({ minLength: 32, maxLength: 32 })
const request: fc.Arbitrary<BlockRequest> = fc.record({
  kind: fc.constantFrom('want' as const, 'have' as const, 'done' as const),
  digest,
})
const answer = fc.oneof(
  fc.record({ status: fc.constantFrom<AnswerStatus>('missing', 'have'), body: fc.constant(new Uint8Array()) }),
  fc.record({ status: fc.constant<AnswerStatus>('block'), body: fc.uint8Array({ maxLength: 300 }) }),
)
const cuts = fc.array(fc.nat(10_000), { maxLength: 40 })

test('requests survive any cutting of the stream', () => {
  fc.assert(
    fc.property(fc.array(request, { maxLength: 20 }), cuts, (requests, places) => {
      const read: BlockRequest[] = []
      const reader = new RequestReader()
      for (const piece of cut(encodeRequests(requests), places)) reader.push(piece, (one) => read.push(one))
      expect(read).toEqual(requests)
    }),
  )
})

test('answers survive any cutting of the stream, and their parts are views, not copies', () => {
  fc.assert(
    fc.property(fc.array(answer, { maxLength: 20 }), cuts, (answers, places) => {
      const bytes = Buffer.concat(answers.flatMap(({ status, body }) => [encodeAnswerHead(status, body.length), body]))
      const read: { status: AnswerStatus; body: number[]; ended: boolean }[] = []
      const reader = new AnswerReader({
        onHead: (status) => read.push({ status, body: [], ended: false }),
        onPart: (part) => {
          expect(part.buffer).toBe(bytes.buffer)
          read.at(-1)?.body.push(...part)
        },
        onEnd: () => {
          const last = read.at(-1)
          if (last !== undefined) last.ended = true
        },
      })
      for (const piece of cut(bytes, places)) reader.push(piece)
      expect(read).toEqual(answers.map(({ status, body }) => ({ status, body: [...body], ended: true })))
    }),
  )
})

test('a request keeps its digest when the transport reuses its buffer', () => {
  const bytes = encodeRequests([{ kind: 'want', digest: new Uint8Array(32).fill(1) }])
  const read: BlockRequest[] = []
  new RequestReader().push(bytes, (one) => read.push(one))
  bytes.fill(0)
  expect(read[0]?.digest).toEqual(new Uint8Array(32).fill(1))
})

const quiet = { onHead: () => undefined, onPart: () => undefined, onEnd: () => undefined }
test.each([
  ['an unknown status', Uint8Array.of(3, 0, 0, 0, 0), 'status'],
  ['a block over the limit', encodeAnswerHead('block', BLOCK_BYTES_MAX + 1), 'length'],
  ['a "missing" that carries bytes', encodeAnswerHead('missing', 1), 'length'],
  ['a "have" that carries bytes', encodeAnswerHead('have', 1), 'length'],
])('%s is refused before anything is kept for it', (_what, head, field) => {
  const fault = { code: 'BLOCK_FRAME_MALFORMED', field }
  expect(() => new AnswerReader(quiet).push(head)).toThrow(expect.objectContaining({ fault }))
})

test('a block of exactly the limit is accepted', () => {
  expect(() => new AnswerReader(quiet).push(encodeAnswerHead('block', BLOCK_BYTES_MAX))).not.toThrow()
})

test.each([0, 4, 255])('a request of the unknown kind %i is refused', (kind) => {
  const frame = Uint8Array.of(kind, ...new Uint8Array(32))
  expect(() => new RequestReader().push(frame, () => undefined)).toThrow(FrameError)
})
