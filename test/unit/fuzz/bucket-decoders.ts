/** Decoders of what an object store answers, and of the file that notes what a bucket holds. */
import { crc32c } from '../../../src/store/crc32c.ts'
import { decodeBucketIndex, encodeBucketIndex } from '../../../src/store/s3-index-file.ts'
import { parseListPage } from '../../../src/store/s3-list.ts'
import type { FuzzedDecoder } from './decoders.ts'

const place = { endpoint: 'https://s3.example.org', bucket: 'blocks', prefix: 'p/', region: 'us-east-1' }
const hexes = ['0', '7', 'f'].map((digit) => digit.repeat(64))

function bucketIndex(bytes: Uint8Array): Uint8Array | 'refused' {
  const index = decodeBucketIndex(bytes, place)
  return index === undefined ? 'refused' : encodeBucketIndex(place, { count: index.count, entries: index.entries() })
}

/** With the last four bytes made the CRC of all before. */
function bucketIndexBehindChecksum(bytes: Uint8Array): 'accepted' | 'refused' {
  if (bytes.length < 4) return 'refused'
  const sealed = bytes.slice()
  new DataView(sealed.buffer).setUint32(sealed.length - 4, crc32c(sealed.subarray(0, -4)))
  const again = bucketIndex(sealed)
  if (again === 'refused') return again
  if (Buffer.compare(again, sealed) !== 0) throw new Error('accepted, and encoded otherwise')
  return 'accepted'
}

function listPage(bytes: Uint8Array): 'accepted' | 'refused' {
  const page = parseListPage(new TextDecoder().decode(bytes), place.prefix)
  if (page === undefined) return 'refused'
  for (const { key, bytes: size } of page.entries) {
    if (!Number.isSafeInteger(size) || size < 0 || key.includes('<')) throw new Error('no key, or no size')
  }
  if (page.entries.length === 0 && !page.isLast) throw new Error('a page that leads nowhere')
  return 'accepted'
}

export function bucketDecoders(): readonly FuzzedDecoder[] {
  const entries = hexes.map((hex, i) => ({ digest: new Uint8Array(Buffer.from(hex, 'hex')), length: i * 1_000 }))
  const index = encodeBucketIndex(place, { count: entries.length, entries })
  const contents = hexes.map(
    (hex) =>
      `<Contents><Key>p/blocks/${hex.slice(0, 2)}/${hex}</Key><ETag>&quot;e&quot;</ETag><Size>12</Size></Contents>`,
  )
  const page = `<ListBucketResult><IsTruncated>true</IsTruncated>${contents.join('')}</ListBucketResult>`
  return [
    { name: 'decodeBucketIndex', samples: [index], run: bucketIndex },
    { name: 'decodeBucketIndex, behind its checksum', samples: [index], run: bucketIndexBehindChecksum },
    { name: 'parseListPage', samples: [new TextEncoder().encode(page)], run: listPage },
  ]
}
