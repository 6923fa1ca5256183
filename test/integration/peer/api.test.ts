/** The HTTP API as any client sees it. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { recordIdOf } from '../../../src/core/ids.ts'
import { startPeer } from '../../../src/peer/compose.ts'
import { TestNetwork, type TestPeer } from './network.ts'

const MIB = 1024 * 1024
const NO_RECORD = recordIdOf(new Uint8Array(32))
const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
let network: TestNetwork
let at: TestPeer
beforeAll(async () => {
  network = await TestNetwork.start({ peers: 1 })
  at = network.peer(0)
}, 30_000)
afterAll(async () => network[Symbol.asyncDispose]())

const authorization = 'Bearer test-token-of-thirty-two-characters!'
const tus = { authorization, 'tus-resumable': '1.0.0' }

test('nothing but health is answered without the token', async () => {
  expect(await (await fetch(`${at.gateway.url}/healthz`)).json()).toEqual({ ok: true })
  const paths = ['/api/v1/status', '/api/v1/objects', '/openapi.json', '/api/v1/ledger/head', '/nothing/here']
  for (const path of paths) {
    for (const token of [undefined, 'Bearer wrong', 'Basic Zm9v']) {
      const answer = await fetch(`${at.gateway.url}${path}`, {
        headers: token === undefined ? {} : { authorization: token },
      })
      expect([path, answer.status]).toEqual([path, 401])
      expect(await answer.json()).toMatchObject({ code: 'API_TOKEN_INVALID', status: 401 })
    }
  }
})

test('every route under /api stands in the OpenAPI document with a summary', async () => {
  const answer = await fetch(`${at.gateway.url}/openapi.json`, { headers: { authorization } })
  const document = (await answer.json()) as {
    openapi: string
    paths: Record<string, Record<string, { summary?: string }>>
  }
  expect(document.openapi).toBe('3.1.0')
  expect(Object.keys(document.paths)).toEqual(
    expect.arrayContaining([
      '/api/v1/uploads',
      '/api/v1/content/{cid}',
      '/api/v1/ledger/transactions',
      '/api/v1/records/{id}',
      '/api/v1/records/{id}/versions/{version}/grants/{grantee}',
    ]),
  )
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods))
      expect([path, method, operation.summary ?? '']).toEqual([path, method, expect.stringMatching(/\w/)])
  }
})

test('an upload takes up at its durable offset after a connection that broke off in a segment', async () => {
  const bytes = randomBytes(3 * MIB + 100)
  const created = await fetch(`${at.gateway.url}/api/v1/uploads`, {
    method: 'POST',
    headers: { ...tus, 'upload-length': String(bytes.length) },
  })
  expect(created.status).toBe(201)
  const url = `${at.gateway.url}${created.headers.get('location') ?? ''}`
  const stop = new AbortController()
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(bytes.subarray(0, MIB + 500_000)),
  })
  const sending = fetch(url, {
    method: 'PATCH',
    headers: { ...tus, 'content-type': 'application/offset+octet-stream', 'upload-offset': '0' },
    body,
    duplex: 'half',
    signal: stop.signal,
  } as RequestInit)
  sending.catch(() => undefined)
  await expect
    .poll(async () => (await fetch(url, { method: 'HEAD', headers: tus })).headers.get('upload-offset'), {
      timeout: 5_000,
    })
    .toBe(String(MIB))
  stop.abort()
  const rest = async (): Promise<Response> =>
    fetch(url, {
      method: 'PATCH',
      headers: { ...tus, 'content-type': 'application/offset+octet-stream', 'upload-offset': String(MIB) },
      body: bytes.subarray(MIB),
    })
  await expect.poll(async () => (await rest()).status, { timeout: 5_000 }).toBe(204)
  const head = await fetch(url, { method: 'HEAD', headers: tus })
  const content = head.headers.get('apotheca-content') ?? ''
  const whole = await fetch(`${at.gateway.url}/api/v1/content/${content}`, { headers: { authorization } })
  expect(Buffer.from(await whole.arrayBuffer()).equals(bytes)).toBe(true)
  const ranged = await fetch(`${at.gateway.url}/api/v1/content/${content}`, {
    headers: { authorization, range: `bytes=${MIB - 3}-${MIB + 2}` },
  })
  expect(ranged.status).toBe(206)
  expect(Buffer.from(await ranged.arrayBuffer()).equals(bytes.subarray(MIB - 3, MIB + 3))).toBe(true)
  // The head alone reads nothing.
  const reads = vi.spyOn(at.peer.store, 'readInto')
  const sizes = await fetch(`${at.gateway.url}/api/v1/content/${content}`, {
    method: 'HEAD',
    headers: { authorization },
  })
  expect([sizes.status, sizes.headers.get('content-length')]).toEqual([200, String(bytes.length)])
  expect(reads).toHaveBeenCalledTimes(0)
  reads.mockRestore()
})

test('wrong requests are refused with their code', async () => {
  const refusals: [string, RequestInit, number, string][] = [
    ['/api/v1/uploads', { method: 'POST', headers: { ...tus, 'upload-length': '-1' } }, 400, 'API_REQUEST_INVALID'],
    ['/api/v1/uploads', { method: 'POST', headers: { authorization, 'upload-length': '1' } }, 412, 'UPLOAD_VERSION'],
    ['/api/v1/uploads/00000000-0000-0000-0000-000000000000', { method: 'HEAD', headers: tus }, 404, ''],
    ['/api/v1/blocks/notacid', { headers: { authorization } }, 400, 'CID_MALFORMED'],
    ['/api/v1/records/rec1short', { headers: { authorization } }, 400, 'ID_MALFORMED'],
    ['/api/v1/records', { headers: { authorization } }, 400, 'API_REQUEST_INVALID'],
    ['/api/v1/records?patient=acc1&custodian=h0', { headers: { authorization } }, 400, 'API_REQUEST_INVALID'],
    ['/api/v1/records?custodian=h0&after=cursor', { headers: { authorization } }, 400, 'API_REQUEST_INVALID'],
    ['/api/v1/records?custodian=h0&limit=1001', { headers: { authorization } }, 400, 'API_REQUEST_INVALID'],
    ['/api/v1/grants?limit=1', { headers: { authorization } }, 400, 'API_REQUEST_INVALID'],
    [`/api/v1/records/${NO_RECORD}/versions`, { headers: { authorization } }, 404, 'LEDGER_UNKNOWN'],
    [`/api/v1/records/${NO_RECORD}/versions/1`, { headers: { authorization } }, 404, 'LEDGER_UNKNOWN'],
    ['/api/v1/ledger/blocks/999999', { headers: { authorization } }, 404, 'LEDGER_UNKNOWN'],
    ['/api/v1/ledger/blocks/x', { headers: { authorization } }, 400, 'API_REQUEST_INVALID'],
    ['/api/v1/nothing', { headers: { authorization } }, 404, 'API_ROUTE_UNKNOWN'],
    [
      '/api/v1/blocks',
      {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/vnd.ipld.dag-cbor' },
        body: new Uint8Array([0xff]),
      },
      400,
      'CODEC_MALFORMED',
    ],
    [
      '/api/v1/blocks',
      {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/vnd.ipld.raw' },
        body: new Uint8Array(2 * MIB + 1),
      },
      413,
      'API_BODY_TOO_LARGE',
    ],
    [
      '/api/v1/ledger/transactions',
      {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/vnd.ipld.dag-cbor' },
        body: new Uint8Array([0xa0]),
      },
      400,
      'CODEC_SHAPE',
    ],
  ]
  for (const [path, init, status, code] of refusals) {
    const answer = await fetch(`${at.gateway.url}${path}`, init)
    expect([path, answer.status]).toEqual([path, status])
    if (code !== '') expect(await answer.json()).toMatchObject({ code })
  }
})

test.each([
  ['/api/v1/blocks', 2 * MIB],
  ['/api/v1/ledger/transactions', 64 * 1024],
  ['/api/v1/accounts', 64 * 1024],
])('a body that is larger than %s takes is refused with what it takes', async (path, bytesMax) => {
  const headers = { authorization, 'content-type': 'application/vnd.ipld.dag-cbor' }
  const answer = await fetch(`${at.gateway.url}${path}`, {
    method: 'POST',
    headers,
    body: new Uint8Array(bytesMax + 1),
  })
  expect(answer.status).toBe(413)
  expect(await answer.json()).toMatchObject({ code: 'API_BODY_TOO_LARGE', fields: { bytesMax } })
})

test('a second daemon on one data folder is refused', async () => {
  const deps = { clock: { nowMs: () => Date.now() }, log: silent, onFailure: () => undefined }
  await expect(startPeer(at.config, deps)).rejects.toMatchObject({ fault: { code: 'STORE_FOLDER_IN_USE' } })
})

test('the institution attests accounts, and signs nothing else', async () => {
  const { attestAccount } = await import('../../../src/peer/attest.ts')
  const { signTx, txBodyOf } = await import('../../../src/ledger/transaction.ts')
  const { account } = at.peer.identity
  const draft = { lane: 1 as const, type: 'record.add', payload: {} }
  const body = txBodyOf(draft, {
    chain: at.peer.chain.id,
    org: at.peer.institution,
    account: account.id,
    seq: 1,
    expiresMs: Date.now() + 60_000,
  })
  const { bytes } = await signTx(body, [account.signer])
  await expect(attestAccount(at.peer, bytes)).rejects.toMatchObject({ fault: { code: 'ATTEST_TYPE' } })
})
