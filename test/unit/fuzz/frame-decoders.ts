/** Decoders of streams between peers: bytes come in pieces, and the end of what came may be half a frame. */
import {
  AnswerReader,
  type AnswerStatus,
  type BlockRequest,
  encodeAnswerHead,
  encodeRequests,
  RequestReader,
} from '../../../src/p2p/block-frames.ts'
import { encodeFrameHead, FrameLengthError, FrameReader } from '../../../src/p2p/consensus-frames.ts'
import type { FuzzedDecoder } from './decoders.ts'

const FRAME_BYTES_MAX = 1_000

/** Cuts bytes at places that depend on the bytes: the same ones are cut the same way. */
export function* piecesOf(bytes: Uint8Array): Generator<Uint8Array> {
  let at = 0
  while (at < bytes.length) {
    const length = 1 + ((bytes[at] ?? 0) % 17)
    yield bytes.subarray(at, at + length)
    at += length
  }
}

/** Whole frames, and what is left of the bytes: half a frame, which nobody was told of. */
export function withRest(parts: readonly Uint8Array[], bytes: Uint8Array): Uint8Array {
  const whole = Buffer.concat(parts)
  return new Uint8Array(Buffer.concat([whole, bytes.subarray(whole.length)]))
}

function consensusFrames(bytes: Uint8Array): Uint8Array | 'refused' {
  const reader = new FrameReader(FRAME_BYTES_MAX)
  const parts: Uint8Array[] = []
  try {
    for (const piece of piecesOf(bytes)) {
      for (let at = 0; at < piece.length; ) {
        const { next, frame } = reader.read(piece, at)
        at = next
        if (frame !== undefined) parts.push(encodeFrameHead(frame.length), frame)
      }
    }
  } catch (error) {
    if (error instanceof FrameLengthError) return 'refused'
    throw error
  }
  return withRest(parts, bytes)
}

function blockRequests(bytes: Uint8Array): Uint8Array {
  const reader = new RequestReader()
  const requests: BlockRequest[] = []
  for (const piece of piecesOf(bytes)) reader.push(piece, (request) => requests.push(request))
  return withRest([encodeRequests(requests)], bytes)
}

function blockAnswers(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = []
  const reader = new AnswerReader({
    onHead: (status: AnswerStatus, length: number) => void parts.push(encodeAnswerHead(status, length)),
    onPart: (part) => void parts.push(part),
    onEnd: () => undefined,
  })
  for (const piece of piecesOf(bytes)) reader.push(piece)
  return withRest(parts, bytes)
}

export function frameDecoders(): readonly FuzzedDecoder[] {
  const digest = new Uint8Array(32).fill(9)
  const requests = encodeRequests([
    { kind: 'want', digest },
    { kind: 'have', digest },
    { kind: 'done', digest },
  ])
  const answers = [
    encodeAnswerHead('block', 40),
    new Uint8Array(40).fill(1),
    encodeAnswerHead('missing', 0),
    encodeAnswerHead('have', 0),
  ]
  const frames = [encodeFrameHead(5), new Uint8Array(5), encodeFrameHead(300), new Uint8Array(300).fill(2)]
  return [
    { name: 'FrameReader', samples: [new Uint8Array(Buffer.concat(frames))], run: consensusFrames },
    { name: 'RequestReader', samples: [requests], run: blockRequests },
    { name: 'AnswerReader', samples: [new Uint8Array(Buffer.concat(answers))], run: blockAnswers },
  ]
}
