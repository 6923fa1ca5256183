/** One valid instance of each structure, the same in every run: for the fuzz of the decoders and for the pinned vectors. */
import type { CID } from 'multiformats/cid'
import { signVote } from '../../../src/consensus/votes.ts'
import { idHash } from '../../../src/core/ids.ts'
import type { WrappedKey } from '../../../src/crypto/envelope.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { draftConsentGrant } from '../../../src/domain/grants.ts'
import { draftRecordAdd, recordIdOfTx } from '../../../src/domain/records.ts'
import { encodeFinalHeader } from '../../../src/ledger/header.ts'
import { encodeReceipts } from '../../../src/ledger/receipt.ts'
import { encodeStateProof } from '../../../src/ledger/state-proof.ts'
import { encodeVote } from '../../../src/ledger/vote.ts'
import { TestChain, person, seedOf, signerOf, staff } from './network.ts'

export function wrapped(name: string): WrappedKey {
  const half = seedOf(`sealed ${name}`)
  return { wrap: 'x25519', enc: seedOf(`enc ${name}`), sealed: new Uint8Array([...half, ...half.slice(0, 16)]) }
}

export function manifestOf(name: string): CID {
  return cborCid(seedOf(`manifest ${name}`))
}

/** A chain of three blocks: two accounts; a record, and an attempt to grant it by one who isn't the patient; the grant. */
export async function sampleChain() {
  const test = await TestChain.open()
  const ada = person('ada', 'city')
  const ben = person('ben', 'city')
  const lab = staff('lab')
  const createAda = await test.createTx(ada)
  const first = await test.block(createAda, await test.createTx(ben))
  const add = await test.tx(
    ben,
    draftRecordAdd({ patient: ada.id, category: 'imaging', manifest: manifestOf('mr'), key: wrapped('ada') }),
  )
  const consent = {
    record: recordIdOfTx(add.id),
    version: 1,
    grantee: lab.id,
    purpose: 'HRESCH' as const,
    startMs: test.nowMs,
    endMs: test.nowMs + 86_400_000,
    key: wrapped('lab'),
  }
  const second = await test.block(add, await test.tx(lab, draftConsentGrant(consent)))
  const grant = await test.tx(ada, draftConsentGrant(consent))
  const third = await test.block(grant)
  return { test, ada, ben, lab, first, second, third, createAda, add, grant, consent }
}

export async function samples() {
  const chain = await sampleChain()
  const { grant, test, third } = chain
  const set = test.chain.validators(0)
  if (set === undefined) throw new Error('the sample chain has an epoch 0')
  const ballot = { epoch: 0, view: 3, kind: 'nullify' } as const
  const vote = await signVote(signerOf('city consensus'), test.id, set, ballot)
  const receipts = await test.chain.reader.receiptsAt(2)
  const { proof } = await test.chain.proveState('account', idHash(chain.ada.id))
  return {
    chain,
    genesis: test.genesisBytes,
    envelope: grant.bytes,
    header: third.header,
    certificate: third.certificate,
    body: third.body,
    finalHeader: encodeFinalHeader({ headerBytes: third.header, certificateBytes: third.certificate }),
    vote: encodeVote(vote),
    receipts: encodeReceipts(receipts ?? []),
    stateProof: encodeStateProof(proof),
  }
}
