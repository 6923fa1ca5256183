import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CodedError } from '../../../src/core/coded-error.ts'
import { accountIdOf } from '../../../src/core/ids.ts'
import { SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { rawCid } from '../../../src/crypto/hash.ts'
import { type Manifest, decodeManifest, encodeManifest, objectKeyContext } from '../../../src/shards/manifest.ts'

const manifest: Manifest = {
  version: 1,
  kind: 'file',
  content: rawCid(new Uint8Array([1])),
  listing: rawCid(new Uint8Array([2])),
  bytes: 57,
  files: 1,
  cipher: 'aes-256-gcm',
  segmentBytes: SEGMENT_BYTES,
  profile: 'unixfs-v1-2025',
  keys: [
    {
      account: accountIdOf(new Uint8Array(32)),
      key: { wrap: 'x25519', enc: new Uint8Array(32), sealed: new Uint8Array(48) },
    },
  ],
}

test('a manifest reads back as it was, under the same CID', () => {
  const { bytes, cid } = encodeManifest(manifest)
  expect(decodeManifest(bytes)).toEqual(manifest)
  expect(encodeManifest(decodeManifest(bytes)).cid.toString()).toBe(cid.toString())
})

test('pinned: the CID of a known manifest', () => {
  expect(encodeManifest(manifest).cid.toString()).toBe('bafyreicydjx3lf33eqdfy7nwcqw5v7kgx5ghhmt267ce6yaxpmxmuxol4y')
})

test('every single-byte change is refused with a code, or is another valid manifest', () => {
  const { bytes } = encodeManifest(manifest)
  const property = fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
    const altered = bytes.slice()
    altered[at] = (altered[at] ?? 0) ^ flip
    try {
      expect(encodeManifest(decodeManifest(altered)).bytes).toEqual(altered)
    } catch (error) {
      expect(error).toBeInstanceOf(CodedError)
    }
  })
  fc.assert(property, { numRuns: 1_000 })
})

test('the context of an object key differs when content or listing does', () => {
  const context = objectKeyContext(manifest)
  expect(objectKeyContext({ ...manifest, content: manifest.listing })).not.toEqual(context)
  expect(objectKeyContext({ ...manifest, listing: manifest.content })).not.toEqual(context)
})
