import * as fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { decodeCanonical, encodeCanonical } from '../../../src/core/codec.ts'
import { CodedError } from '../../../src/core/coded-error.ts'
import { type ChainId, idHash } from '../../../src/core/ids.ts'
import { draftConsentGrant } from '../../../src/domain/grants.ts'
import { proofFaults } from '../../../src/ledger/proof-faults.ts'
import {
  type CheckedProof,
  type LightProof,
  ProofError,
  checkProof,
  decodeProof,
  encodeProof,
} from '../../../src/ledger/proof.ts'
import { encodeReceipt } from '../../../src/ledger/receipt.ts'
import { decodeEnvelope, encodeEnvelope } from '../../../src/ledger/transaction.ts'
import { merkleRoot } from '../../../src/crypto/merkle.ts'
import { proveBlock, proveState, proveTransaction } from '../../../src/ledger/proof-maker.ts'
import { bytesOfHex, loadVectors } from '../../vectors/load.ts'
import { type LightProofVectors, checkedText, lightProofVectors } from '../../vectors/make-light-proof.ts'
import { HeaderChain, changingChain, threeTxs } from './header-chain.ts'
import { TestChain, makeGenesis, person } from './network.ts'
import { sampleChain } from './samples.ts'
import { chainIdOf, encodeGenesis } from '../../../src/ledger/genesis.ts'

const utf8 = new TextEncoder()
let sample: Awaited<ReturnType<typeof sampleChain>>
let changing: HeaderChain

beforeAll(async () => {
  changing = await changingChain()
})

function faultOf(check: () => unknown): string {
  try {
    check()
  } catch (error) {
    if (error instanceof ProofError) {
      const { fault } = error
      return 'problem' in fault ? `${fault.code}: ${fault.problem}` : fault.code
    }
    throw error
  }
  return 'accepted'
}

const codes = new Set<string>(Object.keys(proofFaults))

function outcome(bytes: Uint8Array, chainId: ChainId): CheckedProof | undefined {
  try {
    return checkProof(bytes, { chainId })
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    expect(codes).toContain(error.fault.code)
    return undefined
  }
}

function edit(bytes: Uint8Array, change: (proof: LightProof) => LightProof): Uint8Array {
  return encodeProof(change(decodeProof(bytes)))
}

describe('of an executed chain', () => {
  beforeAll(async () => {
    sample = await sampleChain()
  })

  test('a present key is proved with its value and its version', async () => {
    const { ada, test: made } = sample
    const bytes = await proveState(made.chain, [{ namespace: 'account', key: idHash(ada.id) }])
    const checked = checkProof(bytes, { chainId: made.id })
    expect(checked).toMatchObject({
      chain: made.id,
      network: 'Test consortium',
      signers: ['city'],
      validators: 1,
      changes: 0,
      newest: { height: 3, id: made.chain.head.id.toString(), timeMs: made.chain.head.timeMs },
      block: { height: 3 },
    })
    const value = await made.chain.reader.stored('account', idHash(ada.id))
    expect(checked.proved).toEqual({
      kind: 'state',
      entries: [{ namespace: 'account', key: idHash(ada.id), present: true, version: 1, value: value?.value }],
    })
  })

  test('keys that are absent are proved absent, in one proof with those that are present', async () => {
    const { ada, test: made } = sample
    const absent = { namespace: 'account', key: new Uint8Array(32) }
    const present = { namespace: 'account', key: idHash(ada.id) }
    const checked = checkProof(await proveState(made.chain, [absent, present]), { chainId: made.id })
    expect(checked.proved).toMatchObject({
      entries: [
        { ...absent, present: false },
        { ...present, present: true },
      ],
    })
  })

  test('a transaction of an earlier block is proved with its receipt, refusals too', async () => {
    const { add, lab, test: made } = sample
    const refused = (await made.chain.reader.receiptsAt(2))?.[1]
    expect(refused?.ok).toBe(false)
    for (const id of [add.id, refused?.tx ?? add.id]) {
      const bytes = (await proveTransaction(made.chain, id)) ?? new Uint8Array()
      const checked = checkProof(bytes, { chainId: made.id })
      expect(checked).toMatchObject({ block: { height: 2 }, newest: { height: 3 } })
      expect(checked.proved).toMatchObject({
        kind: 'transaction',
        tx: { id },
        receipt: id === add.id ? { ok: true } : { ok: false, fault: { code: 'CONSENT_NOT_PATIENT' } },
      })
    }
    const unknown = await made.tx(lab, draftConsentGrant(sample.consent))
    expect(await proveTransaction(made.chain, unknown.id)).toBeUndefined()
  })

  test('without the genesis it is checked by a reader who has it, and by no other', async () => {
    const { test: made } = sample
    const bytes = edit(await proveBlock(made.chain, 1), (proof) => ({ ...proof, genesis: null }))
    expect(faultOf(() => checkProof(bytes, { chainId: made.id }))).toBe('PROOF_GENESIS_NEEDED')
    expect(checkProof(bytes, { chainId: made.id, genesis: made.genesisBytes }).block.height).toBe(1)
  })

  test('a transaction with the receipt of another one of its block is refused', async () => {
    const { add, test: made } = sample
    const other = (await made.chain.reader.receiptsAt(2))?.[1]?.tx ?? add.id
    const [mine, theirs] = [await proveTransaction(made.chain, add.id), await proveTransaction(made.chain, other)]
    const borrowed = decodeProof(theirs ?? new Uint8Array()).subject
    if (borrowed.kind !== 'transaction') throw new Error('a proof of a transaction')
    const at = (index: number) =>
      edit(mine ?? new Uint8Array(), (proof) => {
        if (proof.subject.kind !== 'transaction') throw new Error('a proof of a transaction')
        const { receipt, receiptPath } = borrowed
        return { ...proof, subject: { ...proof.subject, index, receipt, receiptPath } }
      })
    for (const index of [0, 1]) {
      expect(faultOf(() => checkProof(at(index), { chainId: made.id }))).toMatch(/^PROOF_TX_WRONG/)
    }
  })
  test('every change of one byte in the proof of a transaction is refused, or proves the same', async () => {
    const made = await TestChain.open(makeGenesis({ city: 'hospital' }, ['city']))
    const create = await made.createTx(person('ada', 'city'))
    await made.block(await made.createTx(person('ben', 'city')), create)
    await made.block()
    const bytes = (await proveTransaction(made.chain, create.id)) ?? new Uint8Array()
    const honest = checkedText(bytes, made.id)
    const others: number[] = []
    for (let offset = 0; offset < bytes.length; offset++) {
      const altered = bytes.slice()
      altered[offset] = (altered[offset] ?? 0) ^ (1 << (offset % 8))
      if (outcome(altered, made.id) !== undefined && checkedText(altered, made.id) !== honest) others.push(offset)
    }
    expect(others).toEqual([])
  }, 60_000)

  test('nothing is proved before the first block', async () => {
    const chain = new HeaderChain()
    await expect(proveState(chain, [{ namespace: 'sample', key: utf8.encode('a') }])).rejects.toMatchObject({
      fault: { code: 'PROOF_NOT_YET' },
    })
  })
})

describe('over epochs', () => {
  test('a proof has a link for each change of validators, and none for epochs without', async () => {
    const bytes = await proveState(changing, [{ namespace: 'sample', key: utf8.encode('a') }])
    const { links, newest } = decodeProof(bytes)
    expect(links.map(({ since }) => since !== undefined)).toEqual([false, true])
    expect(newest.since).toBeDefined()
    const checked = checkProof(bytes, { chainId: changing.id })
    expect(checked).toMatchObject({ changes: 2, validators: 6, newest: { height: 17, epoch: 5 } })
    expect(checked.signers).toHaveLength(5)
  })

  test('an idle chain of any length gives a proof of one length, but for the path', async () => {
    const chain = new HeaderChain()
    const sizes: number[] = []
    for (let epoch = 0; epoch < 40; epoch++) {
      await chain.add({ next: ['a', 'b', 'c', 'd'] })
      await chain.add()
      const bytes = await proveState(chain, [{ namespace: 'sample', key: utf8.encode('a') }])
      expect(checkProof(bytes, { chainId: chain.id })).toMatchObject({ changes: 0, newest: { epoch: epoch + 1 } })
      sizes.push(bytes.length)
    }
    // A path to the last header of the epoch before: log2 of the height at most.
    expect((sizes.at(-1) ?? 0) - (sizes[1] ?? 0)).toBeLessThan(7 * 34 + 32)
  })

  test('every block is proved, whatever epoch it is of', async () => {
    for (const { header } of changing.finals) {
      const { block } = checkProof(await proveBlock(changing, header.height), { chainId: changing.id })
      expect(block).toMatchObject({ height: header.height, epoch: header.epoch, view: header.view })
    }
  })

  test('a block with a notarize certificate is proved by a later one that is final', async () => {
    const chain = new HeaderChain()
    await chain.add()
    await chain.add({ kind: 'notarize' })
    await expect(proveBlock(chain, 2)).rejects.toMatchObject({ fault: { code: 'PROOF_NOT_YET', height: 2 } })
    expect(checkProof(await proveBlock(chain, 1), { chainId: chain.id }).newest.height).toBe(1)
    await chain.add()
    expect(checkProof(await proveBlock(chain, 2), { chainId: chain.id })).toMatchObject({
      block: { height: 2 },
      newest: { height: 3 },
    })
  })
})

/** What a liar without a quorum of keys can put together. */
describe('a forged proof is refused', () => {
  const state = () => proveState(changing, [{ namespace: 'sample', key: utf8.encode('a') }])
  const checked = (bytes: Uint8Array) => faultOf(() => checkProof(bytes, { chainId: changing.id }))

  test('with a genesis of another chain', async () => {
    const other = encodeGenesis(makeGenesis({ x: 'hospital' }, ['x']))
    const bytes = edit(await state(), (proof) => ({ ...proof, genesis: other }))
    expect(checked(bytes)).toBe('PROOF_OTHER_CHAIN')
    expect(faultOf(() => checkProof(bytes, { chainId: chainIdOf(other) }))).toBe('PROOF_OTHER_CHAIN')
  })

  test('with a link left out, given twice, or out of order', async () => {
    const bytes = await state()
    const without = edit(bytes, (proof) => ({ ...proof, links: proof.links.slice(1) }))
    expect(checked(without)).toBe('PROOF_OUT_OF_ORDER: validators changed without a link')
    const none = edit(bytes, (proof) => ({ ...proof, links: [] }))
    expect(checked(none)).toBe('PROOF_OUT_OF_ORDER: validators changed without a link')
    const twice = edit(bytes, (proof) => ({ ...proof, links: [...proof.links.slice(0, 1), ...proof.links] }))
    expect(checked(twice)).toBe('PROOF_OUT_OF_ORDER: earlier than the one before it')
    const turned = edit(bytes, (proof) => ({ ...proof, links: proof.links.toReversed() }))
    expect(checked(turned)).toBe('PROOF_OUT_OF_ORDER: validators changed without a link')
    const wrong = edit(bytes, (proof) => ({ ...proof, links: [{ ...proof.newest }] }))
    expect(checked(wrong)).toBe('PROOF_OUT_OF_ORDER: validators changed without a link')
  })

  test('with a link that does not end its epoch', async () => {
    const [first] = changing.finals
    if (first === undefined) throw new Error('the chain has blocks')
    const plain = { header: first.headerBytes, certificate: first.certificateBytes }
    const bytes = edit(await state(), (proof) => ({ ...proof, links: [plain, ...proof.links] }))
    expect(checked(bytes)).toBe('PROOF_OUT_OF_ORDER: not the last header of an epoch')
  })

  test('with other signatures on a transaction, or another outcome in its receipt', async () => {
    const tx = (await changing.reader.receiptsAt(4))?.[1]?.tx
    const bytes = tx === undefined ? undefined : await proveTransaction(changing, tx)
    if (tx === undefined || bytes === undefined) throw new Error('the fourth block has three transactions')
    const swap = (parts: { envelope?: Uint8Array; receipt?: Uint8Array }) =>
      edit(bytes, (proof) => ({ ...proof, subject: { ...proof.subject, ...parts } as LightProof['subject'] }))
    const subject = decodeProof(bytes).subject
    if (subject.kind !== 'transaction') throw new Error('a proof of a transaction')
    const { bodyBytes, sigs } = decodeEnvelope(subject.envelope)
    const envelope = encodeEnvelope({ body: bodyBytes, sigs: sigs.slice(0, 1) })
    expect(checked(swap({ envelope }))).toBe('PROOF_TX_WRONG: the transaction is not in the block')
    const receipt = encodeReceipt({ tx, ok: false, fault: { code: 'TX_EXPIRED' } })
    expect(checked(swap({ receipt }))).toBe('PROOF_TX_WRONG: the receipt is not in the block')
  })

  test('with a receipt in the place of a transaction that it does not name', async () => {
    const chain = new HeaderChain(['a'])
    const [mine, other] = await threeTxs(chain)
    if (mine === undefined || other === undefined) throw new Error('three transactions')
    const receipt = encodeReceipt({ tx: other.id, ok: true })
    const roots = { txRoot: merkleRoot([mine.bytes]), receiptsRoot: merkleRoot([receipt]) }
    const final = await chain.certified({ ...chain.fields(), ...roots })
    const bytes = encodeProof({
      version: 1,
      genesis: chain.genesisBytes,
      links: [],
      newest: { header: final.headerBytes, certificate: final.certificateBytes },
      block: null,
      subject: {
        kind: 'transaction',
        index: 0,
        count: 1,
        envelope: mine.bytes,
        envelopePath: [],
        receipt,
        receiptPath: [],
      },
    })
    expect(faultOf(() => checkProof(bytes, { chainId: chain.id }))).toBe(
      'PROOF_TX_WRONG: the receipt is of another transaction',
    )
  })

  test('with an epoch passed over and nothing to show for it', async () => {
    const bytes = edit(await state(), ({ newest: { since: _, ...newest }, ...proof }) => ({ ...proof, newest }))
    expect(checked(bytes)).toBe('PROOF_OUT_OF_ORDER: nothing shows who validates its epoch')
  })

  test('with a header that does not end the epoch before', async () => {
    const [, , ending] = changing.finals
    const [early] = changing.finals
    if (ending === undefined || early === undefined) throw new Error('the chain has three blocks')
    const newest = changing.finals[7]
    if (newest === undefined) throw new Error('the chain has eight blocks')
    const made = decodeProof(await proveBlock(changing, 17))
    const since = async (height: number, header: Uint8Array) => ({
      header,
      path: await changing.proveHistory(height, newest.header.height),
    })
    for (const given of [await since(1, early.headerBytes), await since(3, ending.headerBytes)]) {
      const forged = encodeProof({
        ...made,
        links: made.links.slice(0, 1),
        newest: { header: newest.headerBytes, certificate: newest.certificateBytes, since: given },
      })
      expect(checked(forged)).toBe('PROOF_OUT_OF_ORDER: not the last header of the epoch before')
    }
  })

  test('by former validators who sign a later epoch for themselves', async () => {
    // a to d left or were joined; with all their keys, but on the true history, nothing says that they validate epoch 5.
    const { header } = changing.finals.at(-1) ?? (await changing.add())
    const former = { ...changing.setOf(0), epoch: header.epoch }
    const forged = await changing.certified({ ...header, stateRoot: new Uint8Array(32) }, { set: former })
    const bytes = edit(await proveBlock(changing, 17), (proof) => ({
      ...proof,
      newest: { ...proof.newest, header: forged.headerBytes, certificate: forged.certificateBytes },
    }))
    expect(checked(bytes)).toMatch(/^PROOF_NOT_FINAL/)
    const withoutLinks = edit(bytes, (proof) => ({ ...proof, links: [] }))
    expect(checked(withoutLinks)).toBe('PROOF_OUT_OF_ORDER: validators changed without a link')
  })

  test('with a certificate that only notarizes, is of another view or of another block', async () => {
    const chain = new HeaderChain()
    const honest = await chain.add()
    const good = await proveBlock(chain, 1)
    const fields = honest.header
    const cases = {
      'not a finalize certificate': await chain.certified(fields, { kind: 'notarize' }),
      'of another block': await chain.certified(fields, { later: 1 }),
    }
    for (const [problem, { certificateBytes }] of Object.entries(cases)) {
      const bytes = edit(good, (proof) => ({ ...proof, newest: { ...proof.newest, certificate: certificateBytes } }))
      expect(faultOf(() => checkProof(bytes, { chainId: chain.id }))).toBe(`PROOF_NOT_FINAL: ${problem}`)
    }
    const other = await chain.certified({ ...fields, timeMs: fields.timeMs + 1 })
    const bytes = edit(good, (proof) => ({
      ...proof,
      newest: { ...proof.newest, certificate: other.certificateBytes },
    }))
    expect(faultOf(() => checkProof(bytes, { chainId: chain.id }))).toBe('PROOF_NOT_FINAL: of another block')
  })

  test('with a header that was never in the history', async () => {
    const { header } = changing.finals[4] ?? (await changing.add())
    const never = await changing.certified({ ...header, timeMs: header.timeMs + 1 })
    const path = await changing.proveHistory(5, 17)
    const bytes = edit(await proveBlock(changing, 5), (proof) => ({
      ...proof,
      block: { header: never.headerBytes, path },
    }))
    expect(checked(bytes)).toBe('PROOF_NOT_IN_HISTORY')
  })

  test('with another value, or none, for a key that is present', async () => {
    const bytes = await state()
    const swap = (value: Uint8Array | null) =>
      edit(bytes, (proof) => {
        if (proof.subject.kind !== 'state') throw new Error('a proof of state')
        return {
          ...proof,
          subject: { ...proof.subject, entries: proof.subject.entries.map((one) => ({ ...one, value })) },
        }
      })
    expect(checked(swap(encodeCanonical([0, 'forged'])))).toBe('PROOF_STATE_WRONG: STATE_PROOF_VALUE_WRONG')
    expect(checked(swap(null))).toBe('PROOF_STATE_WRONG: the key is present')
  })
})

type Place = readonly (string | number)[]

/** Every place in a value, the value itself left out. */
function placesOf(value: unknown, place: Place = []): Place[] {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return []
  return Object.keys(value).flatMap((key) => [[...place, key], ...placesOf(at(value, [key]), [...place, key])])
}

function at(value: unknown, place: Place): unknown {
  return place.reduce<unknown>((part, key) => (part as Record<string, unknown>)[key], value)
}

function grafted(value: unknown, [key, ...rest]: Place, graft: unknown): unknown {
  if (key === undefined) return graft
  const changed = grafted((value as Record<string, unknown>)[key], rest, graft)
  if (Array.isArray(value)) return value.map((one: unknown, index) => (String(index) === key ? changed : one))
  return { ...(value as object), [key]: changed }
}

describe('hostile bytes', () => {
  /** What may be claimed of the chains of these tests, told without any proof. */
  async function assertTrue(checked: CheckedProof, chain: HeaderChain): Promise<void> {
    expect(checked.block.id).toBe(chain.finals[checked.block.height - 1]?.id.toString())
    if (checked.proved.kind !== 'state') return
    for (const entry of checked.proved.entries) {
      const { value } = await chain.proveState(entry.namespace, entry.key)
      expect(entry.present).toBe(value !== undefined)
      if (value !== undefined && entry.present) expect(value).toEqual(encodeCanonical([entry.version, entry.value]))
    }
  }
  test('every change of one byte is refused, or what is proved is true all the same', async () => {
    const keys = ['a', 'nobody'].map((name) => ({ namespace: 'sample', key: utf8.encode(name) }))
    const chain = new HeaderChain(['a'])
    await chain.add({ next: ['a', 'b'] })
    await chain.add({ next: ['a', 'b'] })
    await chain.add()
    const bytes = await proveState(chain, keys)
    let refused = 0
    for (let offset = 0; offset < bytes.length; offset++) {
      const altered = bytes.slice()
      altered[offset] = (altered[offset] ?? 0) ^ (1 << (offset % 8))
      const checked = outcome(altered, chain.id)
      if (checked === undefined) refused++
      else await assertTrue(checked, chain)
    }
    // What is left is the key that is absent: another one that is absent too.
    expect(bytes.length - refused).toBeLessThanOrEqual(keys[1]?.key.length ?? 0)
  }, 60_000)

  test('random and cut bytes are answered with a coded fault', async () => {
    const bytes = await proveState(changing, [{ namespace: 'sample', key: utf8.encode('a') }])
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (random) => outcome(random, changing.id) === undefined))
    fc.assert(
      fc.property(
        fc.nat({ max: bytes.length - 1 }),
        (length) => outcome(bytes.slice(0, length), changing.id) === undefined,
      ),
    )
  })

  test('whatever is put in place of any part, what is accepted is true', async () => {
    const chain = new HeaderChain(['a'])
    await chain.add({ next: ['a', 'b'] })
    await chain.add({ next: ['a', 'b'] })
    await chain.add()
    const value = decodeCanonical(await proveState(chain, [{ namespace: 'sample', key: utf8.encode('a') }]))
    const places = placesOf(value)
    const part = fc.oneof(
      fc.constantFrom<unknown>(null, 0, 1, -1, 2 ** 53 - 1, '', 'block', [], {}, true, { kind: 'block' }),
      fc.uint8Array({ maxLength: 40 }),
      // A part of the proof itself, in the wrong place.
      fc.constantFrom(...places).map((place) => at(value, place)),
    )
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...places), part, async (place, graft) => {
        const checked = outcome(encodeCanonical(grafted(value, place, graft)), chain.id)
        if (checked !== undefined) await assertTrue(checked, chain)
      }),
      { numRuns: 1_000 },
    )
  }, 60_000)

  test('a path of the greatest length is refused', async () => {
    const path = Array.from({ length: 53 }, () => new Uint8Array(32))
    const bytes = edit(await proveBlock(changing, 5), (proof) =>
      proof.block === null ? proof : { ...proof, block: { ...proof.block, path } },
    )
    expect(outcome(bytes, changing.id)).toBeUndefined()
  })
})

test('light proofs are made in the pinned bytes, and the pinned bytes prove what is pinned', async () => {
  const pinned = loadVectors<LightProofVectors>('ledger-light-proof')
  for (const { bytes, checked } of pinned.proofs) {
    expect(checkedText(bytesOfHex(bytes), pinned.chain as ChainId)).toBe(checked)
  }
  expect(await lightProofVectors()).toEqual(pinned)
})
