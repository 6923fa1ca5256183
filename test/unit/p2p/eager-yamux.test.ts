import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FrameReader, type YamuxFrame } from '../../../src/p2p/eager-yamux.ts'

const SYN = 1
const ACK = 2
const FIN = 4

interface Sent {
  readonly type: number
  readonly flag: number
  readonly streamID: number
  readonly body: Uint8Array
  /** In frames without a body: a window's growth, a ping's number. */
  readonly value: number
}

function encoded({ body, flag, streamID, type, value }: Sent): Uint8Array {
  const bytes = new Uint8Array(12 + body.length)
  const view = new DataView(bytes.buffer)
  view.setUint8(1, type)
  view.setUint16(2, flag)
  view.setUint32(4, streamID)
  view.setUint32(8, type === 0 ? body.length : value)
  bytes.set(body, 12)
  return bytes
}

const frames = fc.array(
  fc
    .record({
      type: fc.constantFrom(0, 0, 1, 2, 3),
      flag: fc.constantFrom(0, SYN, ACK, FIN, SYN | FIN),
      body: fc.uint8Array({ maxLength: 60 }),
      value: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    })
    .map((one) => (one.type === 0 ? one : { ...one, body: new Uint8Array() })),
  { minLength: 1, maxLength: 6 },
)

test('however the bytes are cut, the parts of a frame are its bytes, opened by the first and ended by the last', () => {
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 20 }), (list, cuts) => {
      // Each has a stream of its own, so that its parts are known by it.
      const sent = list.map((one, index) => ({ ...one, streamID: 2 ** 32 - 1 - index }))
      const bytes = Buffer.concat(sent.map(encoded))
      const reader = new FrameReader(() => false)
      const got: YamuxFrame[] = []
      let offset = 0
      for (const cut of [...cuts, bytes.length]) {
        const lent = Uint8Array.from(bytes.subarray(offset, offset + cut))
        for (const part of reader.emitFrames(lent)) got.push(part)
        // Nobody may have kept a view of it.
        lent.fill(0xee)
        offset += cut
      }
      for (const one of sent) {
        const parts = got.filter(({ header }) => header.streamID === one.streamID)
        expect(Buffer.concat(parts.map(({ data }) => data ?? new Uint8Array()))).toEqual(Buffer.from(one.body))
        expect(parts.reduce((flags, { header }) => flags | header.flag, 0)).toBe(one.flag)
        for (const [index, { data, header }] of parts.entries()) {
          expect(header.type).toBe(one.type)
          expect(header.length).toBe(one.type === 0 ? data?.length : one.value)
          if (index > 0) expect(header.flag & (SYN | ACK)).toBe(0)
          if (index < parts.length - 1) expect(header.flag & FIN).toBe(0)
        }
      }
    }),
  )
})

test('a frame that claims four gigabytes is handed on as it comes, and nothing of it is held', () => {
  const reader = new FrameReader(() => true)
  const head = encoded({ type: 0, flag: 0, streamID: 1, body: new Uint8Array(), value: 0 })
  new DataView(head.buffer).setUint32(8, 2 ** 32 - 1)
  const piece = new Uint8Array(1_000)
  expect([...reader.emitFrames(Buffer.concat([head, piece]))].map(({ header }) => header.length)).toEqual([1_000])
  expect([...reader.emitFrames(piece)].map(({ data }) => data?.buffer)).toEqual([piece.buffer])
})

test('bytes of another version are the fault by whose name the muxer ends the connection', () => {
  const bytes = new Uint8Array(12).fill(1)
  expect(() => [...new FrameReader(() => true).emitFrames(bytes)]).toThrow(
    expect.objectContaining({ name: 'InvalidFrameError' }),
  )
})
