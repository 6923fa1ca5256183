/** `network layout | members | leave` in words. */
import type { PlacementCode, PlacementTable } from '../domain/placement-table.ts'
import type { LayoutAnswer, LeaveAnswer, MembersAnswer } from '../gateway/network-routes.ts'
import type { LayoutPeerState } from '../peer/layout.ts'
import type { LayoutPlan, OfferChange } from './layout-plan.ts'
import { bytesText, columns, table, timeText } from './output.ts'

/** @param inForce - the table of the answer. */
export function layoutText(answer: LayoutAnswer, inForce: PlacementTable | undefined): string {
  const { peers, placed } = answer
  const extents = placed.reduce((sum, one) => sum + one.extents, 0)
  const bytes = placed.reduce((sum, one) => sum + one.columns.reduce((all, part) => all + part, 0), 0)
  const rows: [string, string][] = [['table', tableText(answer)]]
  if (inForce !== undefined) rows.push(['code', codeText(inForce.code)])
  rows.push(['placed', `${count(extents, 'extent')}, ${bytesText(bytes)} with parity`])
  if (peers.length === 0) return `${table(rows)}\n\nno peer offers room`
  const shares = columnShares(inForce)
  const lines = peers.map((one) => [
    one.institution,
    one.peer,
    one.zone,
    bytesText(one.bytes),
    shareText(shares.get(one.peer), inForce),
    `${bytesText(one.held.bytes)} in ${count(one.held.columns, 'column')}`,
    loadText(one),
    one.trouble ?? one.state,
  ])
  const headings = ['institution', 'peer', 'zone', 'room', 'share', 'holds', 'full', 'state']
  return `${table(rows)}\n\n${columns(headings, lines)}`
}

export function planText(
  answer: LayoutAnswer,
  inForce: PlacementTable | undefined,
  changes: readonly OfferChange[],
  plan: LayoutPlan,
): string {
  const before = inForce?.code
  const { code, groups } = plan.table
  const rows: [string, string][] = [
    ['change', changes.map(changeText).join(', ')],
    ['code', before === undefined ? codeText(code) : codeChangeText(before, code)],
  ]
  if (inForce === undefined) rows.push(['moves', 'nothing: this would be the first table'])
  else {
    const all = groups * (code.data + code.parity)
    rows.push(
      ['table', `${plan.columns} of ${count(all, 'column')} go to another peer`],
      ['moves', `${bytesText(plan.bytes)} of what is placed`],
    )
    if (plan.bytes > 0) rows.push(['takes', moveTimeText(plan.mostBytes, answer.repairBytesPerSecond)])
    if (answer.inForce?.layout.base !== answer.base) {
      rows.push(['of that', 'a part moves anyway: offers have changed since the table in force was made'])
    }
  }
  const was = institutionShares(inForce)
  const will = institutionShares(plan.table)
  const names = [...new Set([...was.keys(), ...will.keys()])].sort()
  const lines = names.map((name) => [
    name,
    percent(was.get(name) ?? 0),
    percent(will.get(name) ?? 0),
    bytesText(sumOf(plan, (one) => one.to === name)),
    bytesText(sumOf(plan, (one) => one.from === name)),
  ])
  const blocks = [table(rows), columns(['institution', 'share now', 'then', 'gets', 'gives'], lines)]
  if (plan.handovers.length > 0) {
    const handovers = plan.handovers.map(({ bytes, columns: moved, from, to }) => [
      from === '' ? 'nobody (made anew)' : from,
      to,
      String(moved),
      bytesText(bytes),
    ])
    blocks.push(columns(['from', 'to', 'columns', 'bytes'], handovers))
  }
  return blocks.join('\n\n')
}

export function membersText({ height, members }: MembersAnswer): string {
  const lines = members.flatMap(({ id, name, peers, role, validator }) =>
    peers.map(({ link, peer, storage }, at) => [
      at === 0 ? id : '',
      at === 0 ? name : '',
      at === 0 ? role : '',
      at === 0 ? (validator ? 'yes' : 'no') : '',
      peer,
      link === 'self' ? 'this one' : link,
      storage === undefined ? 'no' : `${storage.state}, ${bytesText(storage.bytes)} in ${storage.zone}`,
    ]),
  )
  const headings = ['institution', 'name', 'role', 'votes', 'peer', 'link', 'stores']
  return `${count(members.length, 'institution')} at height ${height}\n\n${columns(headings, lines)}`
}

/** Rows for a terminal. @param drained - peers that were drained just now. */
export function leaveRows({ institution, peers }: LeaveAnswer, drained: number): (readonly [string, string])[] {
  const columnsHeld = heldColumns(peers)
  const bytes = peers.reduce((sum, { held }) => sum + held.bytes, 0)
  const now =
    drained === 0 ? 'no peer of it was active; nothing had to be drained' : `${count(drained, 'peer')} drained`
  return [
    ['institution', institution],
    ['leave', now],
    ['holds', columnsHeld === 0 ? 'nothing' : `${bytesText(bytes)} in ${count(columnsHeld, 'column')}`],
    [
      'next',
      columnsHeld === 0
        ? 'nothing of the network depends on its peers any more'
        : 'keep its peers running until they hold nothing: others take over from them; repeat the command, or give --wait, to see how far it is',
    ],
  ]
}

/** Rows for a terminal. @param offered - peers whose room was offered again just now. */
export function stayRows({ institution, peers }: LeaveAnswer, offered: number): (readonly [string, string])[] {
  return [
    ['institution', institution],
    ['stay', offered === 0 ? 'no peer of it was draining' : `the room of ${count(offered, 'peer')} is offered again`],
    ['active', `${count(peers.filter(({ state }) => state === 'active').length, 'storage peer')}`],
  ]
}

export const heldColumns = (peers: LeaveAnswer['peers']): number =>
  peers.reduce((sum, { held }) => sum + held.columns, 0)

function tableText({ base, inForce }: LayoutAnswer): string {
  if (inForce === undefined) return 'none yet: what is stored stays where it was put'
  const { groups, height, timeMs, version } = inForce.layout
  const since = `${version}, since height ${height} (${timeText(timeMs)} UTC), ${groups} groups`
  return inForce.layout.base === base ? since : `${since}; offers have changed since: a new one is due`
}

function codeText({ data, parity }: PlacementCode): string {
  const any = parity === 0 ? 'no institution may fail' : `any ${parity} of ${data + parity} institutions may fail`
  return `${data}+${parity}: ${any}, ${((data + parity) / data).toFixed(2)} bytes for each byte`
}

function codeChangeText(before: PlacementCode, after: PlacementCode): string {
  return before.data === after.data && before.parity === after.parity
    ? `stays ${codeText(after)}`
    : `${before.data}+${before.parity} becomes ${codeText(after)}; what is placed already keeps its own`
}

/** Columns of each peer. */
function columnShares(inForce: PlacementTable | undefined): Map<string, number> {
  const shares = new Map<string, number>()
  for (const index of inForce?.rows ?? []) {
    const peer = inForce?.peers[index]?.peer ?? ''
    shares.set(peer, (shares.get(peer) ?? 0) + 1)
  }
  return shares
}

/** Part of all columns of each institution. */
function institutionShares(planned: PlacementTable | undefined): Map<string, number> {
  const shares = new Map<string, number>()
  if (planned === undefined) return shares
  for (const index of planned.rows) {
    const name = planned.peers[index]?.institution ?? ''
    shares.set(name, (shares.get(name) ?? 0) + 1 / planned.rows.length)
  }
  return shares
}

function shareText(share: number | undefined, inForce: PlacementTable | undefined): string {
  return inForce === undefined || share === undefined ? '0 %' : percent(share / inForce.rows.length)
}

function loadText({ bytes, held, state }: LayoutPeerState): string {
  return state === 'active' ? percent(bytes === 0 ? 0 : held.bytes / bytes) : '-'
}

function changeText(change: OfferChange): string {
  const { institution, kind } = change
  if (kind === 'without') return `without ${institution}`
  const zone = kind === 'with' && change.zone !== undefined ? ` in zone ${change.zone}` : ''
  return kind === 'with'
    ? `${institution} offers ${bytesText(change.bytes)} more${zone}`
    : `${institution} offers ${bytesText(change.bytes)} in all`
}

function sumOf({ handovers }: LayoutPlan, isMeant: (one: LayoutPlan['handovers'][number]) => boolean): number {
  return handovers.filter(isMeant).reduce((sum, { bytes }) => sum + bytes, 0)
}

/** @param bytes - of the peer that gets most. */
function moveTimeText(bytes: number, bytesPerSecond: number): string {
  const minutes = Math.ceil(bytes / bytesPerSecond / 60)
  const time = minutes < 120 ? count(minutes, 'minute') : count(Math.ceil(minutes / 60), 'hour')
  return `${time} at least, where every peer takes ${bytesText(bytesPerSecond)} a second as this one may (store.repairRate)`
}

const percent = (part: number): string => `${(part * 100).toFixed(1)} %`
const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`
