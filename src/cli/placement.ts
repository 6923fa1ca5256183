/** What becomes of a stored object on the network: waits for it, and says it in words. */
import { setTimeout as waitMs } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import { PLACEMENT_POLL_MS_MAX, PLACEMENT_POLL_MS_MIN } from '../core/limits.ts'
import type { PlacementStatus } from '../peer/placement-status.ts'
import type { ApiClient } from './api-client.ts'
import { bytesText } from './output.ts'
import { withRetries } from './retry.ts'

/** What no waiting changes. */
const NAME_TAKEN = 'OBJECT_NAME_TAKEN'

/** The part of it that scripts rely on. */
export type Placement = PlacementStatus

/**
 * Waits until the object is placed, or turns out to have nowhere to go. An abort ends the waiting, not the placing.
 *
 * @param options.wait - false: only looks once.
 * @returns how it stood last.
 */
export async function waitForPlacement(
  client: ApiClient,
  manifest: CID,
  options: {
    readonly wait: boolean
    readonly signal: AbortSignal
    readonly onStatus: (status: Placement) => void
  },
): Promise<Placement> {
  const { onStatus, signal, wait } = options
  const look = async (): Promise<Placement> =>
    withRetries(signal, async () => client.get<Placement>(`/api/v1/objects/${manifest.toString()}/placement`))
  let status = await look()
  for (let pauseMs = PLACEMENT_POLL_MS_MIN; wait && isUnderWay(status); pauseMs *= 2) {
    onStatus(status)
    try {
      await waitMs(Math.min(pauseMs, PLACEMENT_POLL_MS_MAX), undefined, { signal })
      status = await look()
    } catch (error) {
      if (signal.aborted) return status
      throw error
    }
  }
  return status
}

export function isUnderWay({ fault, state }: Placement): boolean {
  return (state === 'waiting' || state === 'placing') && fault?.code !== NAME_TAKEN
}

/** While it is under way. */
export function progressWords({ bytes, bytesPlaced, columns, state, waitingFor }: Placement): string {
  const waits = waitingFor.length === 0 ? '' : `, without ${waitingFor.join(', ')} so far`
  if (state === 'waiting' || bytes === 0) return `waiting for peers to place it on${waits}`
  return `placing on ${columns} peers: ${bytesText(bytesPlaced)} of ${bytesText(bytes)}${waits}`
}

/** Once it is known where it lies. */
export function placementWords(placement: Placement): string {
  const { columns, fault, held, state, survives } = placement
  if (fault?.code === NAME_TAKEN) {
    return 'stored on this peer alone: on the ledger its name is of another object, of another institution; put it again (OBJECT_NAME_TAKEN)'
  }
  switch (state) {
    case 'placed':
      return `stored on ${held} of ${columns}, survives any ${survives}`
    case 'alone':
      return 'stored on this peer alone: the network has no other storage peer'
    case 'unknown':
      return 'stored on this peer'
    case 'waiting':
    case 'placing':
      return 'stored on this peer, which goes on placing it on the network by itself'
    default:
      return state satisfies never
  }
}
