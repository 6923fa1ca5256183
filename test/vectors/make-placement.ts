/**
 * Makes placement.json: `node test/vectors/make-placement.ts > test/vectors/placement.json`.
 *
 * Quotas decide which tables the chain takes: another rounding on one peer would split it. Each case is counted by hand in its
 * name, or is too uneven for that and pinned as it is.
 */
import { base58btc } from 'multiformats/bases/base58'
import { parseInstitutionId } from '../../src/core/ids.ts'
import { quotasOf } from '../../src/domain/placement-quotas.ts'
import { codeFor, encodeRows } from '../../src/domain/placement-table.ts'
import { peerIdText } from '../../src/ledger/fields.ts'
import { hexOf } from './load.ts'
import { seededBytes } from './seeded.ts'

type Peer = readonly [institution: string, zone: string, capacityBytes: number]

const alone = (...capacities: readonly number[]): Peer[] =>
  capacities.map((capacityBytes, index) => [`i${index}`, `i${index}`, capacityBytes])
const inZones = (zones: readonly string[], ...capacities: readonly number[]): Peer[] =>
  capacities.map((capacityBytes, index) => [`i${index}`, zones[index % zones.length] ?? '', capacityBytes])

const CASES: readonly { readonly name: string; readonly groups: number; readonly peers: readonly Peer[] }[] = [
  { name: 'one peer has everything', groups: 1_024, peers: alone(7) },
  { name: 'five equal peers, 2+2: 4096 / 5, the remainder to the first', groups: 1_024, peers: alone(1, 1, 1, 1, 1) },
  {
    name: 'the largest is full at one of every row, the rest is shared',
    groups: 1_024,
    peers: alone(1_000, 1, 1, 1, 1),
  },
  { name: 'a peer without capacity gets nothing and counts for no code', groups: 1_024, peers: alone(1, 0, 1, 1) },
  {
    name: 'two peers of one institution share its column',
    groups: 1_024,
    peers: [
      ['north', 'n', 3],
      ['north', 'n', 1],
      ['south', 's', 4],
    ],
  },
  {
    name: 'two zones of four institutions: two columns each, one cannot be kept',
    groups: 1_024,
    peers: inZones(['a', 'b'], 1, 1, 1, 1),
  },
  {
    name: 'three almost equal zones, 10+5: five columns each, at a cost of less than a quarter',
    groups: 1_024,
    peers: inZones(['a', 'b', 'c'], ...Array.from({ length: 24 }, (_one, index) => (index % 3 === 0 ? 6 : 5))),
  },
  {
    name: 'three zones, one with half of all capacity: the bound gives way',
    groups: 1_024,
    peers: inZones(['a', 'b', 'c'], ...Array.from({ length: 24 }, (_one, index) => (index % 3 === 0 ? 2 : 1))),
  },
  {
    name: 'very uneven, in seven zones, 4096 groups',
    groups: 4_096,
    peers: inZones(
      ['a', 'b', 'c', 'd', 'e', 'f', 'g'],
      ...Array.from({ length: 50 }, (_one, index) => 1 + ((index * index * 7_919) % 10_007)),
    ),
  },
]

function quotas({ groups, peers }: (typeof CASES)[number]): ReturnType<typeof quotasOf> {
  const list = peers.map(([institution, zone, capacityBytes], index) => ({
    peer: peerIdText(
      base58btc.baseEncode(Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20, ...seededBytes(`peer ${index}`, 32))),
      'peer',
    ),
    institution: parseInstitutionId(institution),
    zone,
    capacityBytes,
  }))
  return quotasOf(list, groups, codeFor(new Set(peers.flatMap(([one, , weight]) => (weight > 0 ? [one] : []))).size))
}

const rows = [0, 1, 255, 256, 1_599, 2]
process.stdout.write(
  `${JSON.stringify({ quotas: CASES.map((one) => ({ ...one, ...quotas(one) })), rows: { peers: rows, hex: hexOf(encodeRows(Uint16Array.from(rows))) } }, null, 1)}\n`,
)
