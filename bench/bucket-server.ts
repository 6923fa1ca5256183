/**
 * The other side of `bench bucket`, a process of its own: an object store in memory that does what any must do, which is to hash
 * what it is sent and compare, and nothing else. `node bucket-server.ts BLOCKS` prints its port; with BLOCKS above 0 it lists so many.
 */
import { createHash, randomFillSync } from 'node:crypto'
import * as http from 'node:http'
import type { AddressInfo } from 'node:net'

const PAGE = 1_000
const objects = new Map<string, Buffer>()
const listed = sortedHexes(Number(process.argv[2] ?? 0))

function sortedHexes(count: number): string[] {
  const bytes = randomFillSync(Buffer.alloc(count * 32))
  return Array.from({ length: count }, (_, i) => bytes.toString('hex', i * 32, i * 32 + 32)).sort()
}

function keyOf(hex: string): string {
  return `p/blocks/${hex.slice(0, 2)}/${hex}`
}

/** Position of the first listed key that isn't before `key`. */
function positionOf(key: string): number {
  let [low, high] = [0, listed.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (keyOf(listed[middle] ?? '') < key) low = middle + 1
    else high = middle
  }
  return low
}

function list(query: URLSearchParams): string {
  const prefix = query.get('prefix') ?? ''
  const after = query.get('start-after')
  let at = positionOf(after ?? prefix)
  if (after !== null && keyOf(listed[at] ?? '') === after) at++
  const keys: string[] = []
  for (; keys.length < PAGE && at < listed.length; at++) {
    const key = keyOf(listed[at] ?? '')
    if (!key.startsWith(prefix)) break
    keys.push(key)
  }
  const more = keyOf(listed[at] ?? '').startsWith(prefix) && at < listed.length
  const contents = keys.map(
    (key) =>
      `<Contents><Key>${key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>1048576</Size><StorageClass>STANDARD</StorageClass></Contents>`,
  )
  return `<ListBucketResult><IsTruncated>${more}</IsTruncated>${contents.join('')}</ListBucketResult>`
}

async function serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '', 'http://127.0.0.1')
  if (request.method === 'PUT') {
    const hash = createHash('sha256')
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) {
      hash.update(chunk)
      chunks.push(chunk)
    }
    const digest = hash.digest()
    const isRight = digest.toString('hex') === request.headers['x-amz-content-sha256']
    if (isRight) objects.set(url.pathname, Buffer.concat(chunks))
    response.writeHead(isRight ? 200 : 400, { 'x-amz-checksum-sha256': digest.toString('base64') })
    response.end()
    return
  }
  request.resume()
  const object = url.searchParams.has('list-type') ? Buffer.from(list(url.searchParams)) : objects.get(url.pathname)
  response.writeHead(object === undefined ? 404 : 200, { 'content-length': object?.length ?? 0 })
  response.end(object)
}

const server = http.createServer((request, response) => {
  serve(request, response).catch(() => response.destroy())
})
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))
process.once('disconnect', () => process.exit())
