/** Whom things are sealed to, against a peer that lies about it. */
import { once } from 'node:events'
import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as dagJson from '@ipld/dag-json'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ApiClient } from '../../../src/cli/api-client.ts'
import { cliReport } from '../../../src/cli/output.ts'
import { encryptionKeyOf } from '../../../src/cli/record-commands.ts'
import { EXIT } from '../../../src/core/coded-error.ts'
import { accountIdOfKeys } from '../../../src/ledger/account-keys.ts'
import { keysOf } from '../ledger/network.ts'

const asked = keysOf('patient')
const account = accountIdOfKeys(asked)
const since = { fromMs: 1 }
const first = { ...asked, ...since }
const other = { ...keysOf('peer'), ...since }

let keys: readonly unknown[] = []
let server: Server
let client: ApiClient
beforeAll(async () => {
  server = createServer((_request, response) =>
    response.end(dagJson.encode({ id: account, kind: 'person', org: 'city', keys })),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  client = new ApiClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: '' })
})
afterAll(() => {
  client.close()
  server.close()
})

test('the key that an account began with is taken', async () => {
  keys = [first]
  expect(await encryptionKeyOf(client, account)).toEqual(asked.encryption)
})

test.each([
  ['of another account', [other]],
  ['with another encryption key beside the right signing key', [{ ...first, encryption: other.encryption }]],
  ['with a later one, which no transaction can have added', [first, other]],
  ['with none', []],
])('keys %s are refused, and nothing is sealed to them', async (_of, lie) => {
  keys = lie
  const refused = await encryptionKeyOf(client, account).catch((error: unknown) => error)
  expect(refused).toMatchObject({ fault: { code: 'ACCOUNT_KEYS_DIFFER', account } })
  expect(cliReport(refused).exit).toBe(EXIT.integrity)
})

test('what is no key at all is refused with a code', async () => {
  keys = [{ ...since, signingKey: 'x', encryption: null }]
  await expect(encryptionKeyOf(client, account)).rejects.toMatchObject({ fault: { code: 'CODEC_SHAPE' } })
})
