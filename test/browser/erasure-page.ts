/** What a page needs to make parity and to rebuild shards: bundled for the browser by page-bundle.ts. */
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import { encodeParity, rebuild } from '../../src/shards/erasure.ts'

/** Parity of data shards, and those data shards again, as many as there is parity, rebuilt without them; all in hex. */
export function roundTrip(dataHex: readonly string[], parity: number): { parity: string[]; rebuilt: string[] } {
  const data = dataHex.map((hex) => fromString(hex, 'base16'))
  const made = encodeParity(data, parity)
  const rebuilt = rebuild({
    code: { data: data.length, parity },
    shards: [...data.map((shard, index) => (index < parity ? undefined : shard)), ...made],
    wanted: data.slice(0, parity).map((_, index) => index),
    shardBytes: made[0]?.length ?? 0,
  })
  const hexOf = (shards: readonly Uint8Array[]): string[] => shards.map((shard) => toString(shard, 'base16'))
  return { parity: hexOf(made), rebuilt: hexOf(rebuilt) }
}
