/**
 * One page of ListObjectsV2. Of its XML only three elements are read, and only the keys that a block store writes: they
 * hold nothing that XML escapes, so a key with an entity in it is not one of ours and isn't decoded.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
 */
export interface ListPage {
  /** In the order of the server, which is that of the keys' UTF-8 bytes. */
  readonly entries: readonly ListEntry[]
  readonly isLast: boolean
}

export interface ListEntry {
  /** Without the store's prefix. */
  readonly key: string
  /** In bytes, as the server says. */
  readonly bytes: number
}

const TRUNCATED = /<IsTruncated>(true|false)<\/IsTruncated>/
const SIZE = /^\d{1,15}$/

/** @returns undefined where this is no such page, or holds other keys than were asked for. */
export function parseListPage(xml: string, prefix: string): ListPage | undefined {
  const truncated = TRUNCATED.exec(xml)?.[1]
  if (!xml.includes('<ListBucketResult') || truncated === undefined) return undefined
  const entries: ListEntry[] = []
  for (const contents of elements(xml, 'Contents')) {
    const [key] = elements(contents, 'Key')
    const [size = ''] = elements(contents, 'Size')
    if (key === undefined || !key.startsWith(prefix) || key.includes('<') || !SIZE.test(size)) return undefined
    entries.push({ key: key.slice(prefix.length), bytes: Number(size) })
  }
  // A page that says "more follows" and shows nothing would be asked for again for ever.
  if (truncated === 'true' && entries.length === 0) return undefined
  return { entries, isLast: truncated === 'false' }
}

/** What stands between the tags of each element of that name, none of which has attributes or holds another. */
function* elements(xml: string, name: string): Generator<string> {
  const [open, close] = [`<${name}>`, `</${name}>`]
  for (let at = xml.indexOf(open); at >= 0; at = xml.indexOf(open, at)) {
    const end = xml.indexOf(close, at)
    if (end < 0) return
    yield xml.slice(at + open.length, end)
    at = end + close.length
  }
}
