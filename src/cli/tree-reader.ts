/** Reads trees of stored files through the peer, checking every inner block against its hash here. */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { type BlockCodec, DAG_CBOR, RAW, digestCid, sha256 } from '../crypto/hash.ts'
import { type Manifest, decodeManifest } from '../shards/manifest.ts'
import { opaquePath } from '../shards/listing.ts'
import { parseNode } from '../shards/unixfs-tree.ts'
import type { ApiClient } from './api-client.ts'
import { CliError } from './faults.ts'

export class TreeReader {
  readonly #client: ApiClient
  readonly #signal: AbortSignal

  constructor(client: ApiClient, signal: AbortSignal) {
    this.#client = client
    this.#signal = signal
  }

  /** One block, verified. @throws {CliError} `CONTENT_CID_DIFFERS`; {ApiError} */
  async block(cid: CID): Promise<Uint8Array> {
    const { body } = await this.#client.call(`/api/v1/blocks/${cid.toString()}`, { signal: this.#signal })
    const digest = sha256(body)
    if (!equals(digest, cid.multihash.digest)) {
      throw new CliError({
        code: 'CONTENT_CID_DIFFERS',
        expected: cid.toString(),
        found: digestCid(cid.code as BlockCodec, digest).toString(),
      })
    }
    return body
  }

  /** @throws {CliError} `TARGET_NOT_AN_OBJECT`; faults of `decodeManifest` */
  async manifest(cid: CID): Promise<Manifest> {
    if (cid.code !== DAG_CBOR) throw new CliError({ code: 'TARGET_NOT_AN_OBJECT', cid: cid.toString() })
    return decodeManifest(await this.block(cid))
  }

  /** Length of a file's stored bytes. */
  async fileBytes(root: CID): Promise<number> {
    const block = await this.block(root)
    const node = parseNode(root, block)
    if (node.kind === 'directory') throw new CliError({ code: 'TARGET_NOT_AN_OBJECT', cid: root.toString() })
    return node.kind === 'leaf' ? block.length : node.fileBytes
  }

  /** Roots of an object's files, in the order of its listing. */
  async fileRoots(manifest: Manifest): Promise<readonly CID[]> {
    if (manifest.kind === 'file') return [manifest.content]
    const byName = new Map<string, CID>()
    await this.#collect(manifest.content, '', byName)
    return Array.from({ length: manifest.files }, (_, index) => {
      const cid = byName.get(opaquePath(index, manifest.files).join('/'))
      if (cid === undefined) throw new CliError({ code: 'CONTENT_SHORT', said: manifest.files, bytes: byName.size })
      return cid
    })
  }

  async #collect(folder: CID, prefix: string, into: Map<string, CID>): Promise<void> {
    const node = parseNode(folder, await this.block(folder))
    if (node.kind !== 'directory') throw new CliError({ code: 'TARGET_NOT_AN_OBJECT', cid: folder.toString() })
    for (const { name, cid } of node.entries) {
      // Names of three digits at two levels; below those are files, whatever codec their root has.
      const path = `${prefix}${name}`
      const inner = cid.code !== RAW && prefix === '' ? parseNode(cid, await this.block(cid)) : undefined
      if (inner?.kind === 'directory') await this.#collect(cid, `${path}/`, into)
      else into.set(path, cid)
    }
  }
}
