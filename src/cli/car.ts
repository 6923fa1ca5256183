/**
 * `apotheca car export` and `car import`.
 *
 * What the peer exports is checked here, block by block as it is written: each is what its CID says, and below the root none
 * is missing. What is imported the peer checks: it must not take in what isn't whole.
 */
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { CID } from 'multiformats/cid'
import { parseCid } from '../core/ids.ts'
import { SEGMENT_BYTES } from '../core/limits.ts'
import { CAR_MEDIA_TYPE } from '../gateway/car-routes.ts'
import type { CarImported } from '../peer/car.ts'
import { readCar } from '../shards/car.ts'
import { DagWalk } from '../shards/dag-walk.ts'
import type { ApiClient } from './api-client.ts'
import { CliError } from './faults.ts'
import { exists, openPart, unwritable, writeAll } from './open-download.ts'

export interface CarExported {
  readonly root: CID
  readonly blocks: number
  /** Of the file. */
  readonly bytes: number
  readonly out: string
}

/**
 * Writes the CAR of a CID; the file is there whole, or not at all.
 *
 * @throws {CliError} `OUTPUT_EXISTS`, `OUTPUT_UNWRITABLE`, `PEER_BROKE_OFF`, `CAR_ORDER`; {CarError}, {DagError}; {ApiError}
 */
export async function exportCar(
  client: ApiClient,
  target: string,
  options: { out: string; force: boolean; signal: AbortSignal },
): Promise<CarExported> {
  const root = parseCid(target)
  const out = resolve(options.out)
  if (!options.force && (await exists(out))) throw new CliError({ code: 'OUTPUT_EXISTS' })
  const message = await client.stream(`/api/v1/car/${root.toString()}`, { signal: options.signal })
  const part = `${out}.part`
  const handle = await openPart(part)
  let bytes = 0
  const written = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for await (const piece of message as AsyncIterable<Uint8Array>) {
        await writeAll(handle, piece, bytes)
        bytes += piece.length
        yield piece
      }
    } catch (error) {
      throw error instanceof CliError ? error : new CliError({ code: 'PEER_BROKE_OFF' }, { cause: error })
    }
  }
  try {
    const blocks = await checkCar(written(), root)
    await handle.truncate(bytes)
    await handle.sync()
    await handle.close()
    await rename(part, out).catch((error: unknown) => {
      throw unwritable(error)
    })
    return { root, blocks, bytes, out }
  } catch (error) {
    message.destroy()
    await handle.close()
    await rm(part, { force: true })
    throw error
  }
}

/** @returns the blocks. @throws {CliError} `CAR_ORDER` where it isn't the whole graph below `root`, depth first */
async function checkCar(source: AsyncIterable<Uint8Array>, root: CID): Promise<number> {
  const car = await readCar(source)
  const walk = new DagWalk(root)
  let blocks = 0
  for await (const { bytes, cid } of car.blocks) {
    const expected = walk.next()
    if (expected?.equals(cid) !== true) throw new CliError({ code: 'CAR_ORDER', cid: String(expected ?? cid) })
    walk.enter(cid, bytes)
    blocks++
  }
  const missing = walk.next()
  if (missing !== undefined) throw new CliError({ code: 'CAR_ORDER', cid: missing.toString() })
  return blocks
}

/** @throws {CliError} `CAR_UNREADABLE`, `PEER_BROKE_OFF`, `PEER_ANSWER_INVALID`; {ApiError} with what the peer found wrong */
export async function importCar(
  client: ApiClient,
  file: string,
  options: { signal: AbortSignal; onStart: (bytes: number) => void; onSent: (bytes: number) => void },
): Promise<CarImported> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    throw unreadable(error)
  })
  try {
    const { size } = await handle.stat()
    options.onStart(size)
    const headers = { 'content-type': CAR_MEDIA_TYPE, 'content-length': String(size) }
    const body = pieces(handle, size, options.onSent)
    return await client.send<CarImported>('/api/v1/car', body, { method: 'POST', headers, signal: options.signal })
  } finally {
    await handle.close()
  }
}

/** A file in pieces, all in the same buffer. */
async function* pieces(handle: FileHandle, size: number, onSent: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafe(SEGMENT_BYTES)
  for (let position = 0; position < size; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(SEGMENT_BYTES, size - position), position)
    if (bytesRead === 0) throw new CliError({ code: 'CAR_UNREADABLE', reason: 'it became shorter meanwhile' })
    yield buffer.subarray(0, bytesRead)
    position += bytesRead
    onSent(bytesRead)
  }
}

function unreadable(error: unknown): CliError {
  const reason = (error as NodeJS.ErrnoException).code ?? 'unknown'
  return new CliError({ code: 'CAR_UNREADABLE', reason }, { cause: error })
}
