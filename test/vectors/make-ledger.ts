/**
 * Makes the pinned encodings of the ledger's structures. They are final formats: a change of any byte is a change of the
 * protocol, so running this is a decision, not a repair. `node test/vectors/make-ledger.ts`
 */
import { writeFileSync } from 'node:fs'
import { certificateOfVotes, encodeCertificate } from '../../src/ledger/certificate.ts'
import { sha256 } from '../../src/crypto/hash.ts'
import { signVote } from '../../src/consensus/votes.ts'
import { genesisJson } from '../../src/ledger/genesis.ts'
import { decodeHeader, headerId } from '../../src/ledger/header.ts'
import { encodeReceipts } from '../../src/ledger/receipt.ts'
import { encodeStateValue } from '../../src/ledger/state.ts'
import { encodeStateProof, treeKey } from '../../src/ledger/state-proof.ts'
import { StoredStateTree } from '../../src/ledger/state-tree.ts'
import { leaderOrder } from '../../src/ledger/validators.ts'
import { ballotBytes, encodeVote } from '../../src/ledger/vote.ts'
import { MapStore } from '../unit/ledger/map-store.ts'
import { makeGenesis, seedOf, signerOf } from '../unit/ledger/network.ts'
import { sampleChain } from '../unit/ledger/samples.ts'
import { hexOf } from './load.ts'

const NOTE =
  'Made by test/vectors/make-ledger.ts from keys that are SHA-256("apotheca test key: " + name). Bytes in hex.'

/** All vector files of the ledger, by name. */
export async function ledgerVectors(): Promise<Readonly<Record<string, object>>> {
  const sample = await sampleChain()
  return {
    'ledger-genesis': {
      note: NOTE,
      json: genesisJson(sample.test.genesis),
      bytes: hexOf(sample.test.genesisBytes),
      chain: sample.test.id,
    },
    'ledger-transaction': {
      note: NOTE,
      transactions: [sample.createAda, sample.add, sample.grant].map(({ body, bodyBytes, bytes, id }) => ({
        type: body.type,
        body: hexOf(bodyBytes),
        envelope: hexOf(bytes),
        id,
      })),
    },
    'ledger-chain': { note: NOTE, blocks: await blockVectors(sample) },
    'ledger-votes': { note: NOTE, ...(await voteVectors(sample)) },
    'ledger-state-tree': { note: NOTE, ...(await treeVectors()) },
  }
}

async function blockVectors(sample: Awaited<ReturnType<typeof sampleChain>>): Promise<object[]> {
  const blocks: object[] = []
  for (const [index, block] of [sample.first, sample.second, sample.third].entries()) {
    const receipts = (await sample.test.chain.reader.receiptsAt(index + 1)) ?? []
    const { historyRoot, receiptsRoot, stateRoot, txRoot } = decodeHeader(block.header)
    blocks.push({
      id: headerId(block.header).toString(),
      header: hexOf(block.header),
      certificate: hexOf(block.certificate),
      body: hexOf(block.body),
      receipts: hexOf(encodeReceipts(receipts)),
      txRoot: hexOf(txRoot),
      stateRoot: hexOf(stateRoot),
      receiptsRoot: hexOf(receiptsRoot),
      historyRoot: hexOf(historyRoot),
    })
  }
  return blocks
}

async function voteVectors(sample: Awaited<ReturnType<typeof sampleChain>>): Promise<object> {
  const names = ['a', 'b', 'c', 'd']
  const genesis = makeGenesis(Object.fromEntries(names.map((name) => [name, 'hospital' as const])), names)
  const set = { epoch: 2, seed: seedOf('epoch'), validators: genesis.validators }
  const ballot = { epoch: 2, view: 77, kind: 'finalize', block: headerId(sample.third.header) } as const
  const signed = names.map((name) => signVote(signerOf(`${name} consensus`), sample.test.id, set, ballot))
  const votes = await Promise.all(signed)
  const certificate = certificateOfVotes(ballot, votes, set)
  return {
    chain: sample.test.id,
    keys: set.validators.map(({ key }) => hexOf(key)),
    seed: hexOf(set.seed),
    leaderOrder: leaderOrder(set),
    ballot: hexOf(ballotBytes(ballot)),
    votes: votes.map((vote) => hexOf(encodeVote(vote))),
    certificate: certificate === undefined ? '' : hexOf(encodeCertificate(certificate)),
  }
}

async function treeVectors(): Promise<object> {
  const utf8 = new TextEncoder()
  const names = ['ada', 'ben', 'cleo', 'dora', 'emil']
  const entries = names.map((name, index) => {
    const value = encodeStateValue({ version: index, value: { name } })
    return { name, value, key: treeKey('sample', utf8.encode(name)), valueHash: sha256(value) }
  })
  const treeOf = async (some: typeof entries): Promise<StoredStateTree> => {
    const changes = some.map(({ key, valueHash }) => ({ key, valueHash, entry: undefined }))
    return (await StoredStateTree.beforeGenesis(new MapStore()).with(changes)).tree
  }
  const tree = await treeOf(entries)
  const absent = treeKey('sample', utf8.encode('nobody'))
  const present = entries.map(async ({ key, name, value }) => ({
    namespace: 'sample',
    key: name,
    treeKey: hexOf(key),
    value: hexOf(value),
    proof: hexOf(encodeStateProof(await tree.prove(key))),
  }))
  return {
    root: hexOf(tree.root),
    empty: hexOf((await treeOf([])).root),
    one: hexOf((await treeOf(entries.slice(0, 1))).root),
    entries: await Promise.all(present),
    absent: { key: 'nobody', treeKey: hexOf(absent), proof: hexOf(encodeStateProof(await tree.prove(absent))) },
  }
}

if (import.meta.main) {
  for (const [name, vectors] of Object.entries(await ledgerVectors())) {
    writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(vectors, null, 2)}\n`)
  }
}
