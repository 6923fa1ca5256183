/**
 * The storage machine: its rules lie by concept in the files beside.
 *
 *   storage-offers   which peers hold shards            storage-columns   confirmed, lost
 *   storage-layout   the placement table                storage-leases    renewed, released, forgotten
 *   storage-commit   extents, with receipts             storage-holds     legal holds
 *   audit-rounds     who still has what it confirmed    storage-erasure   erasure on request
 *
 * @see docs/spec/storage-state.md; docs/decisions/0091-the-storage-machine.md
 */
import type { StateMachine } from '../ledger/machine.ts'
import { AUDIT_ROUND_NAMESPACE, AUDIT_TALLY_NAMESPACE, auditTypes } from './audit-rounds.ts'
import { AUDIT_STANDING_NAMESPACE } from './audit-standing.ts'
import { columnTypes } from './storage-columns.ts'
import { commitTypes } from './storage-commit.ts'
import { ERASED_NAMESPACE, erasureTypes } from './storage-erasure.ts'
import { HELD_NAMESPACE } from './storage-held.ts'
import { HOLD_NAMESPACE, holdTypes } from './storage-holds.ts'
import { LAYOUT_PARTS_NAMESPACE, layoutTypes } from './storage-layout.ts'
import { leaseTypes } from './storage-leases.ts'
import { PEERS_OF_NAMESPACE, PEER_SET_NAMESPACE, offerTypes } from './storage-offers.ts'
import { STORAGE_PARAMS_NAMESPACE, storageParamsChange } from './storage-params.ts'
import { STORAGE_QUOTA_NAMESPACE } from './storage-quota.ts'
import {
  CONTENT_NAMESPACE,
  EXTENT_NAMESPACE,
  GROUP_NAMESPACE,
  OBJECT_NAMESPACE,
  STORAGE_NUMBER_NAMESPACE,
  STORAGE_PEER_NAMESPACE,
} from './storage-state.ts'
import { LAYOUT_NAMESPACE, ROWS_NAMESPACE } from './storage-table.ts'

export const storageMachine: StateMachine = {
  namespaces: [
    STORAGE_PARAMS_NAMESPACE,
    STORAGE_PEER_NAMESPACE,
    STORAGE_NUMBER_NAMESPACE,
    PEER_SET_NAMESPACE,
    PEERS_OF_NAMESPACE,
    HELD_NAMESPACE,
    STORAGE_QUOTA_NAMESPACE,
    LAYOUT_NAMESPACE,
    LAYOUT_PARTS_NAMESPACE,
    ROWS_NAMESPACE,
    OBJECT_NAMESPACE,
    EXTENT_NAMESPACE,
    GROUP_NAMESPACE,
    CONTENT_NAMESPACE,
    HOLD_NAMESPACE,
    ERASED_NAMESPACE,
    AUDIT_ROUND_NAMESPACE,
    AUDIT_TALLY_NAMESPACE,
    AUDIT_STANDING_NAMESPACE,
  ],
  types: {
    ...offerTypes,
    ...layoutTypes,
    ...commitTypes,
    ...columnTypes,
    ...leaseTypes,
    ...holdTypes,
    ...erasureTypes,
    ...auditTypes,
  },
  genesis: ({ storage }) => [storageParamsChange(storage ?? {})],
}
