/**
 * `erasure`: parity of stripes of 1 MiB shards, and the worst rebuild, on one thread, with all copies counted, beside `memcpy` of
 * such pieces. Times are of the processor, not of the clock: what else runs on the machine takes less from them.
 *
 * @see docs/decisions/0082-how-the-erasure-code-is-measured.md
 */
import { randomFillSync } from 'node:crypto'
import { type ErasureCode, encodeParity, rebuild } from '../src/shards/erasure.ts'
import { type StripeEncoder, installOthers } from './erasure-packages.ts'
import { type Figure, beside, median, reaches } from './figure.ts'
import { mbPerS } from './limits.ts'

const MIB = 1024 * 1024
const DATA_MAX = 10
/** Stripes before anything is measured: the kernel is compiled a second time, and better, while it runs. */
const WARM_UP = 30
/** Issue 4: 4,000, 3,000 and 2,200 MB/s of data where memcpy does 20,000. */
const CODES = [
  { data: 4, parity: 2, atLeast: 0.2 },
  { data: 6, parity: 4, atLeast: 0.15 },
  { data: 10, parity: 5, atLeast: 0.11 },
] as const
const DECODE_AT_LEAST = 0.8

interface Candidate {
  readonly name: string
  /** Of data, in one run. */
  readonly bytes: number
  readonly run: StripeEncoder
  readonly rates: number[]
}

export async function benchErasure(options: { quick: boolean }): Promise<Figure[]> {
  // Many short rounds rather than few long ones: what else runs on the machine then meets all candidates alike.
  const bytes = (options.quick ? 40 : 160) * MIB
  const rounds = options.quick ? 5 : 15
  await using others = await installOthers()
  const shards = Array.from({ length: DATA_MAX }, () => randomFillSync(new Uint8Array(MIB)))
  const copies = shards.map(() => new Uint8Array(MIB))
  const memcpy = candidate('memcpy of 1 MiB pieces', DATA_MAX, () =>
    copies.forEach((copy, index) => copy.set(shards[index] ?? copy)),
  )
  const xor = candidate('plain XOR parity, 10+1', DATA_MAX, encoderOf(shards, { data: DATA_MAX, parity: 1 }))
  const ours = CODES.map((code) => {
    const data = shards.slice(0, code.data)
    const label = `${code.data}+${code.parity}`
    return {
      ...code,
      encode: candidate(`encode ${label}`, code.data, encoderOf(data, code)),
      decode: candidate(`decode ${label}, ${code.parity} data shards lost`, code.data, decoderOf(data, code)),
      theirs: others.codes.map((other) =>
        candidate(`encode ${label} by ${other.name}`, code.data, other.encoder(data, code.parity)),
      ),
    }
  })
  const all = [memcpy, xor, ...ours.flatMap(({ encode, decode, theirs }) => [encode, decode, ...theirs])]
  for (const one of all) await repeat(one, WARM_UP)
  for (let round = 0; round < rounds; round++) {
    for (const one of all) one.rates.push(await rateOf(one, bytes))
  }
  const limit = median(memcpy.rates)
  return [
    ...ours.flatMap(({ encode, decode, atLeast }) => [
      reaches('erasure', encode.name, median(encode.rates), 'MB/s', limit, atLeast),
      reaches('erasure', decode.name, median(decode.rates), 'MB/s', median(encode.rates), DECODE_AT_LEAST),
    ]),
    ...[memcpy, xor, ...ours.flatMap(({ theirs }) => theirs)].map((one) =>
      beside('erasure', one.name, median(one.rates), 'MB/s', limit),
    ),
  ]
}

function candidate(name: string, shards: number, run: StripeEncoder): Candidate {
  return { name, bytes: shards * MIB, run, rates: [] }
}

function encoderOf(data: readonly Uint8Array[], { parity }: ErasureCode): StripeEncoder {
  const out = Array.from({ length: parity }, () => new Uint8Array(MIB))
  return () => void encodeParity(data, parity, out)
}

/** The worst: as many data shards as there is parity are lost, so all parity is read and as much is made. */
function decoderOf(data: readonly Uint8Array[], { data: count, parity }: ErasureCode): StripeEncoder {
  const code = { data: count, parity }
  const lost = data.slice(0, parity)
  const wanted = lost.map((_, index) => index)
  const shards = [...data.map((shard, index) => (index < parity ? undefined : shard)), ...encodeParity(data, parity)]
  const out = wanted.map(() => new Uint8Array(MIB))
  const run = (): void => void rebuild({ code, shards, wanted, shardBytes: MIB, out })
  run()
  if (!lost.every((shard, index) => Buffer.compare(shard, out[index] ?? new Uint8Array(0)) === 0)) {
    throw new Error(`${count}+${parity}: rebuilt shards are not those that were lost`)
  }
  return run
}

async function repeat({ run }: Candidate, times: number): Promise<void> {
  for (let time = 0; time < times; time++) {
    const pending = run()
    if (pending !== undefined) await pending
  }
}

/** @returns MB of data in a second of processor time, of all threads of this process. */
async function rateOf(one: Candidate, bytes: number): Promise<number> {
  const times = Math.ceil(bytes / one.bytes)
  const before = process.cpuUsage()
  await repeat(one, times)
  const { user, system } = process.cpuUsage(before)
  return mbPerS(times * one.bytes, (user + system) / 1_000)
}
