/** The erasure code in Chromium: an uploader that is a page makes the same shards as a peer. */
import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, expect, test } from 'vitest'
import { hexOf, loadVectors } from '../vectors/load.ts'
import { seededBytes } from '../vectors/seeded.ts'
import { bundleErasure } from './page-bundle.ts'

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
const isThere = existsSync(executablePath)
if (!isThere) {
  const todo = `No Chromium at ${executablePath}: apt-get install chromium, or name another one in CHROMIUM.`
  if (process.env['CI'] === 'true') throw new Error(todo)
  console.error(todo)
}

interface ErasurePage {
  readonly apothecaErasure: {
    roundTrip(dataHex: readonly string[], parity: number): { parity: string[]; rebuilt: string[] }
  }
}
interface Vectors {
  readonly cases: readonly { name: string; dataBytes: readonly number[]; parity: readonly { bytes?: string }[] }[]
}

let browser: Browser | undefined
afterAll(async () => browser?.close())

test.skipIf(!isThere)(
  'a page makes the parity that galois computed, and rebuilds data from it',
  async () => {
    const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run']
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync']
    browser = await chromium.launch({ executablePath, args: [...args, ...quiet] })
    const page = await browser.newPage()
    await page.addScriptTag({ content: (await bundleErasure()).code })
    const short = loadVectors<Vectors>('erasure').cases.filter(({ parity }) => parity[0]?.bytes !== undefined)
    expect(short.length).toBeGreaterThan(10)
    for (const { name, dataBytes, parity } of short) {
      const data = dataBytes.map((bytes, index) => hexOf(seededBytes(`data ${name} ${index}`, bytes)))
      const answer = await page.evaluate(
        ([hex, count]) => (globalThis as unknown as ErasurePage).apothecaErasure.roundTrip(hex, count),
        [data, parity.length] as const,
      )
      expect(answer, name).toEqual({ parity: parity.map(({ bytes }) => bytes), rebuilt: data.slice(0, parity.length) })
    }
  },
  120_000,
)
