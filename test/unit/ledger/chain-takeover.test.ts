// Method: a chain whose validators changed twice, each epoch ended early by an approved change, is taken over into a store that fails
// at its n-th batch, for every n, and gone on with from what was durable.
import { beforeAll, describe, expect, test } from 'vitest'
import type { KeyChange, KeyValueStore } from '../../../src/core/ports.ts'
import {
  type MembershipPropose,
  draftMembershipApprove,
  draftMembershipPropose,
} from '../../../src/domain/membership.ts'
import { getRoster } from '../../../src/domain/validator-sets.ts'
import { Chain } from '../../../src/ledger/chain.ts'
import { type CertifiedHeader, ChainTakeover, epochEnds } from '../../../src/ledger/chain-takeover.ts'
import { checkProof } from '../../../src/ledger/proof.ts'
import { proveBlock } from '../../../src/ledger/proof-maker.ts'
import { SnapshotMaker } from '../../../src/ledger/snapshot-maker.ts'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { MapStore } from './map-store.ts'
import { type Person, TestChain, person, signerOf, staff } from './network.ts'

const CHUNK_BYTES = 2_500
const MONTH_MS = 30 * 24 * 3_600_000
const HEADERS_AT_ONCE = 6

let source: TestChain
let ends: readonly CertifiedHeader[]

const admin = (org: string): Person => ({ ...staff(org), signer: signerOf(`${org} admin`) })

/** Proposed, approved by all, and the block that ends the epoch. */
async function change(chain: TestChain, changes: MembershipPropose['changes']): Promise<void> {
  const { since: base } = await getRoster(chain.chain.reader)
  const payload = { base, changes, expiresMs: chain.nowMs + MONTH_MS, now: true } as const
  const proposal = await chain.tx(admin('city'), draftMembershipPropose(payload))
  expect(await chain.outcome(proposal)).toBe('ok')
  for (const org of ['north', 'lab']) {
    expect(await chain.outcome(await chain.tx(admin(org), draftMembershipApprove({ proposal: proposal.id })))).toBe(
      'ok',
    )
  }
  await chain.block()
}

beforeAll(async () => {
  source = await TestChain.open()
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) await source.block(await source.createTx(person(name, 'city')))
  await change(source, [
    { kind: 'add', institution: parseInstitutionId('lab'), key: signerOf('lab consensus').publicKey },
  ])
  for (const name of ['g', 'h', 'i']) await source.block(await source.createTx(person(name, 'north')))
  await change(source, [
    { kind: 'rotate', institution: parseInstitutionId('city'), key: signerOf('city new consensus').publicKey },
  ])
  const found: CertifiedHeader[] = []
  for await (const end of epochEnds(source.chain, 0)) found.push(end)
  ends = found
  await source.block()
})

/** Fails at its n-th batch, as a process that is killed there. */
class DyingStore implements KeyValueStore {
  readonly inner: MapStore
  #left: number

  constructor(inner: MapStore, batches: number) {
    this.inner = inner
    this.#left = batches
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.inner.get(key)
  }

  range(options: Parameters<KeyValueStore['range']>[0]): ReturnType<KeyValueStore['range']> {
    return this.inner.range(options)
  }

  async batch(changes: readonly KeyChange[]): Promise<void> {
    if (this.#left-- <= 0) throw new Error('killed')
    await this.inner.batch(changes)
  }

  async close(): Promise<void> {}
}

/** @returns how many chunks and headers were asked for. */
async function takeOver(store: KeyValueStore): Promise<{ chunks: number; headers: number }> {
  const asked = { chunks: 0, headers: 0 }
  const takeover = await ChainTakeover.open(store, source.genesisBytes)
  await takeover.follow(ends.slice(takeover.epoch))
  const { target } = takeover
  if (target === undefined) throw new Error('epochs have ended')
  const snapshot = await takeover.snapshot()
  const maker = await SnapshotMaker.open(source.store, target.header.height, CHUNK_BYTES)
  while (snapshot.next !== undefined) {
    asked.chunks++
    await snapshot.add(await maker.chunk(snapshot.next))
  }
  for (let below = target.headerBytes; ; ) {
    const wanted = await takeover.nextHeader(below)
    if (wanted === undefined) break
    below = await takeover.addHeaders(wanted, await headersFrom(wanted.height))
    asked.headers += HEADERS_AT_ONCE
  }
  await takeover.finish(snapshot)
  return asked
}

async function headersFrom(height: number): Promise<Uint8Array[]> {
  const headers: Uint8Array[] = []
  for (let at = height; at > 0 && headers.length < HEADERS_AT_ONCE; at--) {
    const found = await source.chain.reader.plainHeaderAt(at)
    if (found !== undefined) headers.push(found.headerBytes)
  }
  return headers
}

function openOn(store: KeyValueStore): Promise<Chain> {
  return Chain.open({ ...source.deps, store }, { genesisBytes: source.genesisBytes })
}

async function expectWhole(store: KeyValueStore): Promise<void> {
  const chain = await openOn(store)
  const { height } = chain.head
  expect(chain.validators()?.epoch).toBe(2)
  expect((await chain.reader.plainHeaderAt(1))?.id).toEqual((await source.chain.reader.headerAt(1))?.id)
  // It proves over the change of validators before it, and takes the next block.
  const proved = checkProof(await proveBlock(chain, 2), { chainId: chain.id })
  expect([proved.changes, proved.newest.height]).toEqual([1, height])
  const next = await source.chain.reader.headerAt(height + 1)
  const body = await source.chain.reader.bodyAt(height + 1)
  if (next === undefined || body === undefined) throw new Error('the source is further')
  await chain.acceptBlock({ header: next.headerBytes, certificate: next.certificateBytes, body: body.bytes })
  expect(chain.head).toEqual(source.chain.head)
}

describe('a chain that is taken over', () => {
  test('is the same chain, with all headers, all validators and the state', async () => {
    const store = new MapStore()
    const { chunks } = await takeOver(store)
    expect(chunks).toBeGreaterThan(2)
    await expectWhole(store)
  })

  test('is not opened before its last batch, and is gone on with after a kill before any of them', async () => {
    const whole = new MapStore()
    const all = await takeOver(whole)
    expect(whole.batches).toBeGreaterThan(12)
    let asked = Number.POSITIVE_INFINITY
    for (let batches = 1; batches < whole.batches; batches++) {
      const dying = new DyingStore(new MapStore(), batches)
      await expect(takeOver(dying)).rejects.toThrow('killed')
      await expect(openOn(dying.inner.copy())).rejects.toThrow('CHAIN_SNAPSHOT_UNFINISHED')
      const rest = await takeOver(dying.inner)
      // What was durable is not asked for again.
      expect(rest.chunks + rest.headers).toBeLessThanOrEqual(asked)
      asked = rest.chunks + rest.headers
      await expectWhole(dying.inner)
    }
    expect(asked).toBe(0)
    expect(all.chunks + all.headers).toBeGreaterThan(5)
  })

  test('follows only validators that the epoch before has named', async () => {
    const takeover = await ChainTakeover.open(new MapStore(), source.genesisBytes)
    await expect(takeover.follow(ends.slice(1))).rejects.toThrow('HEADER_EPOCH_UNKNOWN')
    const [first] = ends
    if (first === undefined) throw new Error('epochs have ended')
    await takeover.follow([first])
    await expect(takeover.follow([first])).rejects.toThrow('HEADER_EPOCH_UNKNOWN')
    expect(takeover.epoch).toBe(1)
    const { headerBytes: header, certificateBytes: certificate } = await newest()
    expect(() => takeover.checkFinal({ header, certificate })).toThrow('HEADER_EPOCH_UNKNOWN')
    await takeover.follow(ends.slice(1))
    expect(takeover.checkFinal({ header, certificate }).header.height).toBe(source.chain.head.height)
  })

  test('of another genesis is refused by the store', async () => {
    const store = new MapStore()
    await ChainTakeover.open(store, source.genesisBytes)
    const other = new TestChain({ ...source.genesis, name: 'another' })
    await expect(ChainTakeover.open(store, other.genesisBytes)).rejects.toThrow('CHAIN_OTHER_GENESIS')
  })
})

async function newest(): Promise<{ headerBytes: Uint8Array; certificateBytes: Uint8Array }> {
  const found = await source.chain.reader.headerAt(source.chain.head.height)
  if (found === undefined) throw new Error('the chain has a head')
  return found
}
