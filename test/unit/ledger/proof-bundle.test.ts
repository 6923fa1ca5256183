import { createContext, runInContext } from 'node:vm'
import { beforeAll, expect, test } from 'vitest'
import { proveState } from '../../../src/ledger/proof-maker.ts'
import { type Bundle, bundleProofCheck } from '../../browser/page-bundle.ts'
import { hexOf } from '../../vectors/load.ts'
import { changingChain } from './header-chain.ts'

let bundle: Bundle
beforeAll(async () => {
  bundle = await bundleProofCheck()
}, 60_000)

test('bundled for a browser, the check imports nothing, and no part of Node is stood in for', () => {
  expect(bundle.imports).toEqual([])
  // Not toMatch: a failure would print the whole script.
  expect(/['"`]node:|browser-external|\brequire\(/.exec(bundle.code)?.[0]).toBeUndefined()
  // A court's page loads it in a blink: about 106 kB, 38 kB in gzip, mostly elliptic curve and CBOR.
  expect(bundle.code.length).toBeLessThan(200_000)
})

test('in a realm with nothing of Node it checks a real proof, and refuses a false one', async () => {
  const chain = await changingChain()
  const key = new TextEncoder().encode('a')
  const proof = hexOf(await proveState(chain, [{ namespace: 'sample', key }]))
  const realm = createContext({ TextEncoder, TextDecoder })
  expect(runInContext('typeof process + typeof Buffer + typeof require', realm)).toBe('undefined'.repeat(3))
  runInContext(bundle.code, realm)
  const check = (hex: string, id: string): object =>
    JSON.parse(runInContext(`apothecaProof.check(${JSON.stringify(hex)}, ${JSON.stringify(id)})`, realm)) as object
  expect(check(proof, chain.id)).toMatchObject({
    checked: {
      chain: chain.id,
      changes: 2,
      newest: { height: 17 },
      proved: { entries: [{ present: true, version: 0 }] },
    },
  })
  expect(check(proof.replace('6761', '6762'), chain.id)).toHaveProperty('fault')
  expect(check(proof, 'bafyreidk7zbd7oyhcwrv5xmsaoxuq5zkm2wv3ewuvbgrljc2xqkgtkjcdu')).toMatchObject({
    fault: { code: 'PROOF_OTHER_CHAIN' },
  })
})
