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

const CONTENTS = /<Contents>(.*?)<\/Contents>/gs
const KEY = /<Key>([^<]*)<\/Key>/
const SIZE = /<Size>(\d{1,15})<\/Size>/
const TRUNCATED = /<IsTruncated>(true|false)<\/IsTruncated>/

/** @returns undefined where this is no such page, or holds other keys than were asked for. */
export function parseListPage(xml: string, prefix: string): ListPage | undefined {
  const truncated = TRUNCATED.exec(xml)?.[1]
  if (!xml.includes('<ListBucketResult') || truncated === undefined) return undefined
  const entries: ListEntry[] = []
  for (const [, contents = ''] of xml.matchAll(CONTENTS)) {
    const key = KEY.exec(contents)?.[1]
    const size = SIZE.exec(contents)?.[1]
    if (key === undefined || size === undefined || !key.startsWith(prefix)) return undefined
    entries.push({ key: key.slice(prefix.length), bytes: Number(size) })
  }
  // A page that says "more follows" and shows nothing would be asked for again for ever.
  if (truncated === 'true' && entries.length === 0) return undefined
  return { entries, isLast: truncated === 'false' }
}
