/** `apotheca ls`: objects of this peer, and the sealed listing of one. */
import type { ObjectEntry } from '../peer/objects.ts'
import type { CliAccount } from './account.ts'
import type { ApiClient } from './api-client.ts'
import { type OpenedObject, objectKey, openObject, resolveObject } from './target.ts'
import { TreeReader } from './tree-reader.ts'

export async function listObjects(client: ApiClient, limit: number): Promise<readonly ObjectEntry[]> {
  return (await client.get<{ objects: ObjectEntry[] }>(`/api/v1/objects?limit=${limit}`)).objects
}

/** @throws {CliError} `KEY_NOT_GRANTED`, `TARGET_UNKNOWN`; faults of download and listing */
export async function listFiles(
  client: ApiClient,
  account: CliAccount,
  target: string,
  signal: AbortSignal,
): Promise<OpenedObject> {
  const tree = new TreeReader(client, signal)
  const object = await resolveObject(client, tree, target, undefined)
  const { key } = await objectKey(client, account, object)
  return openObject({ client, tree, signal, onOpened: () => undefined }, object, key)
}
