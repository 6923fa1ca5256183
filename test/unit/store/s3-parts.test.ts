import { chmod, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nodeFileSystem } from '../../../src/store/file-system.ts'
import { readS3Credentials } from '../../../src/store/s3-credentials.ts'
import {
  decodeBucketIndex,
  encodeBucketIndex,
  takeIndexFile,
  writeIndexFile,
} from '../../../src/store/s3-index-file.ts'
import { parseListPage } from '../../../src/store/s3-list.ts'
import { blocks, faultOf, tempFolder } from './setup.ts'

const place = { endpoint: 'https://s3.example.org', bucket: 'a-bucket', prefix: 'p/', region: 'us-east-1' }
const entries = blocks(5, 100).map(({ digest, bytes }) => ({ digest, length: bytes.length }))

test('an index file says what was written, for its own place, and is gone once it was read', async () => {
  const dir = await tempFolder()
  await writeIndexFile(nodeFileSystem, dir, place, { count: entries.length, entries })
  const taken = await takeIndexFile(nodeFileSystem, dir, place)
  expect(
    [...(taken?.entries() ?? [])].map(({ digest, length }) => ({ digest: new Uint8Array(digest), length })),
  ).toEqual(entries)
  expect(await readdir(dir)).toEqual([])
  expect(await takeIndexFile(nodeFileSystem, dir, place)).toBeUndefined()
  for (const other of [{ bucket: 'b-bucket' }, { prefix: '' }, { endpoint: 'https://s4.example.org' }]) {
    await writeIndexFile(nodeFileSystem, dir, place, { count: entries.length, entries })
    expect(await takeIndexFile(nodeFileSystem, dir, { ...place, ...other })).toBeUndefined()
    expect(await readdir(dir)).toEqual([])
  }
})

test('an index file with any byte changed, or of any other length, is none', () => {
  const bytes = encodeBucketIndex(place, { count: entries.length, entries })
  expect(decodeBucketIndex(bytes, place)?.count).toBe(5)
  for (let at = 0; at < bytes.length; at++) {
    const other = bytes.slice()
    other[at] = (other[at] ?? 0) ^ (1 << (at % 8))
    expect(decodeBucketIndex(other, place), `byte ${at}`).toBeUndefined()
    expect(decodeBucketIndex(bytes.subarray(0, at), place), `cut at ${at}`).toBeUndefined()
  }
  expect(decodeBucketIndex(new Uint8Array([...bytes, 0]), place)).toBeUndefined()
})

test.each<[text: string, mode: number, problem: string | undefined]>([
  ['{"accessKeyId":"A","secretAccessKey":"B"}', 0o600, undefined],
  ['{"accessKeyId":"A","secretAccessKey":"B","sessionToken":"C"}\n', 0o400, undefined],
  ['{"accessKeyId":"A","secretAccessKey":"B"}', 0o644, 'others than its owner can read it'],
  ['{"accessKeyId":"A","secretAccessKey":"B"}', 0o660, 'others than its owner can read it'],
  ['{"accessKeyId":"A"}', 0o600, 'it does not hold what it should'],
  ['{"accessKeyId":"A","secretAccessKey":"B","region":"x"}', 0o600, 'it does not hold what it should'],
  ['{"accessKeyId":"A\\r\\nX: y","secretAccessKey":"B"}', 0o600, 'it does not hold what it should'],
  ['{"accessKeyId":"A","secretAccessKey":""}', 0o600, 'it does not hold what it should'],
  ['A\nB\n', 0o600, 'it does not hold what it should'],
  ['', 0o600, 'it does not hold what it should'],
  [' '.repeat(20_000), 0o600, 'it has 20000 bytes, at most 16384'],
])('a credentials file %j of mode %o: %s', async (text, mode, problem) => {
  const file = join(await tempFolder(), 'credentials.json')
  await writeFile(file, text)
  await chmod(file, mode)
  if (problem === undefined)
    expect(await readS3Credentials(file)).toMatchObject({ accessKeyId: 'A', secretAccessKey: 'B' })
  else expect(await faultOf(readS3Credentials(file))).toEqual({ code: 'STORE_S3_CREDENTIALS', file, problem })
})

test('a credentials file that is not there is told by its name', async () => {
  const file = join(await tempFolder(), 'none.json')
  expect(await faultOf(readS3Credentials(file))).toEqual({ code: 'STORE_S3_CREDENTIALS', file, problem: 'ENOENT' })
})

test('a page of a list is read whatever stands beside keys and sizes, and in whatever order', () => {
  const page = `<?xml version="1.0"?>\n<ListBucketResult xmlns="x"><Name>b</Name><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>
    <Contents><Key>p/blocks/a</Key><LastModified>x</LastModified><ETag>&quot;e&quot;</ETag><Size>12</Size></Contents>
    <Contents><Owner><ID>1</ID></Owner><Size>0</Size><Key>p/blocks/b&amp;c</Key></Contents></ListBucketResult>`
  expect(parseListPage(page, 'p/')).toEqual({
    entries: [
      { key: 'blocks/a', bytes: 12 },
      { key: 'blocks/b&amp;c', bytes: 0 },
    ],
    isLast: false,
  })
  for (const broken of [
    '',
    page.replace('<IsTruncated>true</IsTruncated>', ''),
    page.replace('<Size>12</Size>', ''),
    page.replace('<Size>12<', '<Size>-12<'),
    page.replace('p/blocks/a', 'q/blocks/a'),
    page.replace('<ListBucketResult', '<Error'),
  ]) {
    expect(parseListPage(broken, 'p/')).toBeUndefined()
  }
})
