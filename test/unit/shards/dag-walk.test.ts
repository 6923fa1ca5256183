import * as dagPb from '@ipld/dag-pb'
import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { encodeCanonical } from '../../../src/core/codec.ts'
import { faultOf } from '../../../src/core/coded-error.ts'
import { DAG_PENDING_LINKS_MAX } from '../../../src/core/limits.ts'
import { DAG_PB, cborCid, digestCid, rawCid, sha256 } from '../../../src/crypto/hash.ts'
import { DagWalk, linksOf } from '../../../src/shards/dag-walk.ts'

interface Block {
  readonly cid: CID
  readonly bytes: Uint8Array
}

const leaf = (name: string): Block => {
  const bytes = new TextEncoder().encode(name)
  return { cid: rawCid(bytes), bytes }
}
const cbor = (value: unknown): Block => {
  const bytes = encodeCanonical(value)
  return { cid: cborCid(bytes), bytes }
}
const pb = (links: readonly CID[]): Block => {
  const bytes = dagPb.encode(
    dagPb.prepare({ Links: links.map((Hash, index) => ({ Name: `${index}`, Tsize: 1, Hash })) }),
  )
  return { cid: digestCid(DAG_PB, sha256(bytes)), bytes }
}

function order(root: Block, blocks: readonly Block[]): string[] {
  const byCid = new Map([root, ...blocks].map(({ bytes, cid }) => [cid.toString(), bytes]))
  const walk = new DagWalk(root.cid)
  const seen: string[] = []
  for (let cid = walk.next(); cid !== undefined; cid = walk.next()) {
    seen.push(cid.toString())
    walk.enter(cid, byCid.get(cid.toString()) ?? new Uint8Array())
  }
  return seen
}

test('parents come before children, depth first, in the order of their links, each block once', () => {
  const [a, b, c] = [leaf('a'), leaf('b'), leaf('c')]
  const left = pb([a.cid, b.cid])
  const right = cbor({ first: b.cid, list: [c.cid, { deep: a.cid }], bytes: new Uint8Array(40) })
  const root = pb([left.cid, right.cid, c.cid])
  const expected = [root, left, a, b, right, c].map(({ cid }) => cid.toString())
  expect(order(root, [left, right, a, b, c])).toEqual(expected)
})

test('a graph that names one block 2^30 times is walked in as many steps as it has blocks', () => {
  const levels: Block[] = [leaf('bomb')]
  for (let depth = 0; depth < 3; depth++)
    levels.unshift(pb(Array.from({ length: 1_024 }, () => (levels[0] as Block).cid)))
  const [root, ...rest] = levels
  expect(order(root as Block, rest)).toHaveLength(levels.length)
})

test('more links than may wait are refused', () => {
  const { cid } = leaf('a')
  const bytes = dagPb.encode({ Links: Array.from({ length: 40_000 }, () => ({ Name: '', Tsize: 1, Hash: cid })) })
  const wide = digestCid(DAG_PB, sha256(bytes))
  const walk = new DagWalk(wide)
  const enterOften = (): void => {
    for (let links = 0; links <= DAG_PENDING_LINKS_MAX; links += 40_000) walk.enter(wide, bytes)
  }
  expect(enterOften).toThrow('DAG_TOO_LARGE')
}, 60_000)

test.each<[string, Block]>([
  ['dag-pb', { cid: pb([]).cid, bytes: Uint8Array.of(0xff, 0xff) }],
  ['dag-cbor', { cid: cbor({}).cid, bytes: Uint8Array.of(0xf9, 0, 0) }],
  ['another codec', { cid: CID.createV1(0x0129, rawCid(new Uint8Array()).multihash), bytes: new Uint8Array() }],
])('bytes that are no block of %s are refused', (_, { bytes, cid }) => {
  try {
    linksOf(cid, bytes)
    expect.unreachable()
  } catch (error) {
    expect(faultOf(error)).toMatchObject({ code: 'DAG_BLOCK_INVALID', cid: cid.toString() })
  }
})
