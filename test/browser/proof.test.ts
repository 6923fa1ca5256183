/** The check of light proofs in the browser that a court would use: Chromium, with no server and no network. */
import { existsSync } from 'node:fs'
import { type Browser, type Page, chromium } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CheckedProof } from '../../src/ledger/proof.ts'
import { proveState, proveTransaction } from '../../src/ledger/proof-maker.ts'
import { type HeaderChain, changingChain } from '../unit/ledger/header-chain.ts'
import { hexOf } from '../vectors/load.ts'
import { bundleProofCheck } from './page-bundle.ts'

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
const isThere = existsSync(executablePath)
if (!isThere) {
  const todo = `No Chromium at ${executablePath}: apt-get install chromium, or name another one in CHROMIUM.`
  if (process.env['CI'] === 'true') throw new Error(todo)
  console.error(todo)
}

interface ProofPage {
  readonly apothecaProof: { check(proofHex: string, chain: string): string }
}
interface Answer {
  readonly checked?: CheckedProof
  readonly fault?: { readonly code: string }
}

let browser: Browser | undefined
let page: Page
let chain: HeaderChain
const requests: string[] = []

beforeAll(async () => {
  if (!isThere) return
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run']
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync']
  browser = await chromium.launch({ executablePath, args: [...args, ...quiet] })
  page = await browser.newPage()
  page.on('request', (request) => requests.push(request.url()))
  await page.addScriptTag({ content: (await bundleProofCheck()).code })
  chain = await changingChain()
}, 120_000)
afterAll(async () => browser?.close())

async function checkInPage(proof: Uint8Array, id: string): Promise<Answer> {
  const answer = await page.evaluate(
    ([hex, to]) => (globalThis as unknown as ProofPage).apothecaProof.check(hex ?? '', to ?? ''),
    [hexOf(proof), id],
  )
  return JSON.parse(answer) as Answer
}

const state = async (): Promise<Uint8Array> =>
  proveState(
    chain,
    ['a', 'nobody'].map((name) => ({ namespace: 'sample', key: new TextEncoder().encode(name) })),
  )

test.skipIf(!isThere)('a proof over changes of validators is checked, with no request to anyone', async () => {
  const { checked } = await checkInPage(await state(), chain.id)
  expect(checked).toMatchObject({
    chain: chain.id,
    signers: expect.toSatisfy((signers: string[]) => signers.length === 5),
    newest: { height: 17, id: chain.head.id.toString(), timeMs: chain.head.timeMs },
    proved: {
      kind: 'state',
      entries: [{ present: true, version: 0, value: { name: 'a', at: 0 } }, { present: false }],
    },
  })
  expect(requests).toEqual([])
})

test.skipIf(!isThere)('a transaction is proved with its receipt', async () => {
  const receipts = (await chain.reader.receiptsAt(4)) ?? []
  const tx = receipts[1]?.tx
  if (tx === undefined) throw new Error('the fourth block has three transactions')
  const { checked } = await checkInPage((await proveTransaction(chain, tx)) ?? new Uint8Array(), chain.id)
  expect(checked).toMatchObject({ block: { height: 4 }, proved: { kind: 'transaction', receipt: { tx, ok: true } } })
})

test.skipIf(!isThere)('a proof altered anywhere is refused with a code', async () => {
  const bytes = await state()
  const codes = new Set<string>()
  // A prime step: the places differ in every structure of the proof.
  for (let offset = 0; offset < bytes.length; offset += 211) {
    const altered = bytes.slice()
    altered[offset] = (altered[offset] ?? 0) ^ 0x01
    const { fault } = await checkInPage(altered, chain.id)
    expect(fault, `byte ${offset}`).toBeDefined()
    codes.add(fault?.code ?? '')
  }
  expect([...codes]).toEqual(expect.arrayContaining(['PROOF_OTHER_CHAIN', 'PROOF_NOT_FINAL']))
})

test.skipIf(!isThere)('a proof of another chain is refused', async () => {
  const other = 'bafyreidk7zbd7oyhcwrv5xmsaoxuq5zkm2wv3ewuvbgrljc2xqkgtkjcdu'
  expect(await checkInPage(await state(), other)).toMatchObject({ fault: { code: 'PROOF_OTHER_CHAIN' } })
})
