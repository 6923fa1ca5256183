/**
 * Makes the pinned light proofs. A change of any byte is a change of the protocol, so running this is a decision, not a repair.
 * `node test/vectors/make-light-proof.ts`
 */
import { writeFileSync } from 'node:fs'
import * as dagJson from '@ipld/dag-json'
import { checkProof } from '../../src/ledger/proof.ts'
import { proveBlock, proveState, proveTransaction } from '../../src/ledger/proof-maker.ts'
import { changingChain } from '../unit/ledger/header-chain.ts'
import { hexOf } from './load.ts'

export interface LightProofVectors {
  readonly note: string
  readonly chain: string
  readonly proofs: readonly {
    readonly name: string
    readonly bytes: string
    /** What the check answers, as DAG-JSON; of a transaction its id. */
    readonly checked: string
  }[]
}

export async function lightProofVectors(): Promise<LightProofVectors> {
  const chain = await changingChain()
  const utf8 = new TextEncoder()
  const keys = ['a', 'nobody'].map((name) => ({ namespace: 'sample', key: utf8.encode(name) }))
  const tx = (await chain.reader.receiptsAt(4))?.[1]?.tx
  const proof = tx === undefined ? undefined : await proveTransaction(chain, tx)
  if (proof === undefined) throw new Error('the fourth block has three transactions')
  const made = [
    ['two keys of the state, one of them absent; the validators changed twice', await proveState(chain, keys)],
    ['an earlier block', await proveBlock(chain, 5)],
    ['a transaction of an earlier block', proof],
  ] as const
  return {
    note: 'Made by test/vectors/make-light-proof.ts from keys that are SHA-256("apotheca test key: " + name). Bytes in hex.',
    chain: chain.id,
    proofs: made.map(([name, bytes]) => ({ name, bytes: hexOf(bytes), checked: checkedText(bytes, chain.id) })),
  }
}

export function checkedText(bytes: Uint8Array, chainId: Parameters<typeof checkProof>[1]['chainId']): string {
  const { proved, ...checked } = checkProof(bytes, { chainId })
  const plain = proved.kind === 'transaction' ? { ...proved, tx: proved.tx.id } : proved
  return dagJson.stringify({ ...checked, proved: plain })
}

if (import.meta.main) {
  const text = `${JSON.stringify(await lightProofVectors(), null, 2)}\n`
  writeFileSync(new URL('ledger-light-proof.json', import.meta.url), text)
}
