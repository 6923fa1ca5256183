/** The same suites on the browser form of `#native`: Node has WebCrypto too, so the real thing runs here. */
import { expect, test, vi } from 'vitest'
import { keystoreSuite } from './suites/keystore.ts'
import { sealedStreamSuite } from './suites/sealed-stream.ts'
import { signaturesSuite } from './suites/signatures.ts'

vi.mock('#native', () => import('../../../src/crypto/native/browser.ts'))

test('the browser form is what runs here', async () => {
  const { sha256 } = await import('../../../src/crypto/hash.ts')
  const browser = await import('../../../src/crypto/native/browser.ts')
  expect(sha256).toBe(browser.sha256)
})

signaturesSuite('browser')
sealedStreamSuite('browser')
keystoreSuite('browser')
