/**
 * `scale`: 100,000 peers with a billion objects through four years of failures, in virtual time: what is lost, what repair moves, how
 * even loads are; the simulator beside the closed form for small codes, in the same run.
 *
 * By itself it takes options: `node bench/scale.ts --peers 2000 --failures 0.3 --code 6+4`, see `OPTIONS`. Times are CPU times of one thread.
 *
 * @see docs/decisions/0084-scale-by-simulation.md
 */
import { parseArgs } from 'node:util'
import { PLACEMENT_FEW_PEERS_MAX, PLACEMENT_GROUPS_MAX } from '../src/core/limits.ts'
import { type PlacementCode, codeFor } from '../src/domain/placement-table.ts'
import { type Figure, agrees, beside, printFigures, reaches, staysUnder } from './figure.ts'
import { type GroupModel, lossesPerYear, nines, timeRatioMissing } from './scale/model.ts'
import { type NetworkOptions, type Outcome, simulate } from './scale/run.ts'

const HOURS_PER_YEAR = 365.25 * 24
const SECONDS_PER_YEAR = HOURS_PER_YEAR * 3_600
const MB = 1e6
const GB = 1e9
const CPU_S_MAX = 60
/** What storage.md promises for one object. */
const LOSS_PER_YEAR_MAX = 1e-10
const POOL_PEERS = 100
/** Of a column where it is urgent, in the table of codes: a few peers share a lost one's hundred gigabytes. */
const REBUILD_HOURS = 4
const COPIES: PlacementCode = { data: 1, parity: 2 }
const FOUR_PLUS_TWO: PlacementCode = { data: 4, parity: 2 }

const OPTIONS = {
  seed: { type: 'string', default: '1' },
  peers: { type: 'string', default: '100000' },
  objects: { type: 'string', default: '1000000000' },
  /** Mean size of an object, MB. */
  'object-mb': { type: 'string', default: '10' },
  code: { type: 'string', default: '10+5' },
  years: { type: 'string', default: '4' },
  /** Of one peer, a year. */
  failures: { type: 'string', default: '0.1' },
  /** What a peer takes in while it rebuilds, MB/s. */
  bandwidth: { type: 'string', default: '10' },
  zones: { type: 'string', default: '10' },
  /** Zones that are struck, a year. */
  shocks: { type: 'string', default: '0.25' },
  /** Part of a struck zone's peers that lose their data. */
  'shock-ratio': { type: 'string', default: '1' },
  'wait-hours': { type: 'string', default: '24' },
  'replace-days': { type: 'string', default: '7' },
  json: { type: 'boolean', default: false },
} as const
type Given = { readonly [name in keyof typeof OPTIONS]: string | boolean }

export function benchScale(options: { quick: boolean }): Promise<Figure[]> {
  const defaults = Object.fromEntries(Object.entries(OPTIONS).map(([name, one]) => [name, one.default])) as Given
  const size = options.quick ? { peers: '2000', objects: '20000000', years: '2', shocks: '0.5' } : {}
  const network = networkOptions({ ...defaults, ...size })
  return Promise.resolve([...checkFigures(options.quick), ...networkFigures(network)])
}

function networkOptions(given: Given): NetworkOptions {
  const number = (name: keyof Given): number => {
    const value = Number(given[name])
    if (!Number.isFinite(value) || value < 0) throw new RangeError(`--${name} is a number from 0 on`)
    return value
  }
  const peers = number('peers')
  const poolPeers = Math.min(POOL_PEERS, peers)
  return {
    seed: number('seed'),
    code: codeOf(String(given.code)),
    pools: Math.max(1, Math.round(peers / poolPeers)),
    poolPeers,
    groups: groupsOf(poolPeers),
    objects: number('objects'),
    objectBytes: number('object-mb') * MB,
    objectBytesSpread: 2,
    zones: number('zones'),
    areZonesKept: true,
    years: number('years'),
    failuresPerYear: number('failures'),
    shocksPerYear: number('shocks'),
    shockRatio: number('shock-ratio'),
    waitYears: number('wait-hours') / HOURS_PER_YEAR,
    replaceYears: (number('replace-days') * 24) / HOURS_PER_YEAR,
    repair: { bytesPerYear: number('bandwidth') * MB * SECONDS_PER_YEAR },
  }
}

const groupsOf = (peers: number): number => (peers > PLACEMENT_FEW_PEERS_MAX ? PLACEMENT_GROUPS_MAX : 1_024)
const nameOf = ({ data, parity }: PlacementCode): string => `${data}+${parity}`

function codeOf(name: string): PlacementCode {
  const [data, parity] = name.split('+').map(Number)
  if (data === undefined || parity === undefined || !(data >= 1) || !(parity >= 0) || data + parity > POOL_PEERS) {
    throw new RangeError('--code is data+parity, such as 10+5')
  }
  return { data, parity }
}

/** The whole network, as the options say. */
function networkFigures(options: NetworkOptions): Figure[] {
  const cpu = process.cpuUsage()
  const outcome = simulate(options)
  const { system, user } = process.cpuUsage(cpu)
  const { code, failuresPerYear, years } = options
  const size = `${nameOf(code)}, ${outcome.peers.toLocaleString('en')} peers, ${options.objects.toLocaleString('en')} objects`
  const figure = (text: string): string => `${size}: ${text}`
  const bytesPerYear = outcome.bytesRebuilt / years
  const peerRate = (bytesPerYear + outcome.bytesMovedIn / years) / outcome.peers / SECONDS_PER_YEAR
  const model = { code, failuresPerYear, repairYears: () => meanMissingYears(outcome) }
  const losses = lossesPerYear(model)
  return [
    staysUnder('scale', figure(`CPU time of ${years} years`), (user + system) / 1e6, 's', CPU_S_MAX),
    reaches('scale', figure('objects kept'), 1 - outcome.objectsLost / options.objects, 'of all', 1, 1),
    beside('scale', figure('objects lost a year'), outcome.objectsLost / years, '1/year', losses * options.objects),
    beside(
      'scale',
      figure('bytes lost a year'),
      outcome.bytesLost / years / GB,
      'GB/year',
      (losses * outcome.bytes) / GB,
    ),
    staysUnder('scale', figure('loss of an object, closed form'), losses, '1/year', LOSS_PER_YEAR_MAX),
    beside('scale', figure('nines of an object'), nines(losses), 'nines', nines(LOSS_PER_YEAR_MAX)),
    beside(
      'scale',
      figure('column missing, mean'),
      meanMissingYears(outcome) * HOURS_PER_YEAR,
      'h',
      options.waitYears * HOURS_PER_YEAR,
    ),
    beside(
      'scale',
      figure('read for repair, of all data'),
      bytesPerYear / outcome.bytes,
      '1/year',
      failuresPerYear * (code.data + code.parity),
    ),
    beside(
      'scale',
      figure('moved to new peers, of all data'),
      outcome.bytesMovedIn / years / outcome.bytes,
      '1/year',
      failuresPerYear * ((code.data + code.parity) / code.data),
    ),
    beside(
      'scale',
      figure('repair and moves, a peer'),
      peerRate / MB,
      'MB/s',
      'bytesPerYear' in options.repair ? options.repair.bytesPerYear / SECONDS_PER_YEAR / MB : Number.NaN,
    ),
    // The largest may be just what is allowed.
    reaches('scale', figure('load allowed, beside the largest'), 1.03, 'parts', outcome.fullLoadMax, 1),
    beside('scale', figure('largest load while places are empty'), outcome.loadMax, 'parts', 1.03),
    beside('scale', figure('largest load in bytes'), outcome.fullBytesLoadMax, 'parts', 1.03),
    ...(isPlanned(options)
      ? [
          reaches(
            'scale',
            figure('tables at the end that the ledger takes'),
            outcome.tablesAccepted,
            'tables',
            outcome.tablesChecked,
            1,
          ),
        ]
      : []),
  ]
}

/** Whether the code is the one that the ledger asks for. */
function isPlanned({ code, poolPeers }: NetworkOptions): boolean {
  const due = codeFor(poolPeers)
  return due.data === code.data && due.parity === code.parity
}

/** Mean time that a lost column was missing. */
function meanMissingYears({ columnsLost, yearsMissing }: Outcome): number {
  return yearsMissing.reduce((sum, years, missing) => sum + years * missing, 0) / columnsLost
}

/** The simulator against the closed form, and what it says of codes and zones; sizes that a few seconds are enough for. */
function checkFigures(isQuick: boolean): Figure[] {
  const [copies, wide] = [checkedCode(COPIES, isQuick), checkedCode(FOUR_PLUS_TWO, isQuick)]
  const atLeast = isQuick ? 0.7 : 0.95
  const checked = [
    checkedCode({ data: 1, parity: 1 }, isQuick),
    copies,
    checkedCode({ data: 2, parity: 2 }, isQuick),
    wide,
  ]
  return [
    ...checked.map(({ losses, model }) =>
      agrees(
        'scale',
        `${nameOf(model.code)}, losses of a group, simulated and closed form`,
        losses,
        '1/year',
        lossesPerYear(model),
        atLeast,
      ),
    ),
    reaches('scale', 'losses of 4+2, beside those of three copies', wide.losses, '1/year', copies.losses, 5),
    ...independenceFigures(isQuick),
    ...zoneFigures(isQuick),
    ...codeFigures(),
  ]
}

/** Failures so frequent, and repair so slow, that thousands of groups are lost. */
export function checkedCode(
  code: PlacementCode,
  isQuick: boolean,
): { readonly model: GroupModel; readonly losses: number } {
  const [years, failuresPerYear, meanYears] = [20, 0.5, 1 / 12]
  const options: NetworkOptions = {
    ...quietOptions(code),
    pools: isQuick ? 8 : 256,
    poolPeers: 40,
    // Few, so that groups have hardly a peer in common: they are lost one by one, as in the closed form.
    groups: 64,
    years,
    failuresPerYear,
    replaceYears: 0,
    repair: { meanYears },
  }
  const { groups, groupsLost } = simulate(options)
  return { model: { code, failuresPerYear, repairYears: () => meanYears }, losses: groupsLost / groups / years }
}

/** No shocks, small objects: what the checks start from. */
function quietOptions(code: PlacementCode): NetworkOptions {
  const defaults = Object.fromEntries(Object.entries(OPTIONS).map(([name, one]) => [name, one.default])) as Given
  return { ...networkOptions(defaults), code, objects: 1e6, shocksPerYear: 0 }
}

/** With waiting, queues and bandwidth, but no shocks: columns of one group are still missing independently of each other. */
function independenceFigures(isQuick: boolean): Figure[] {
  const options = { ...quietOptions({ data: 10, parity: 5 }), pools: isQuick ? 8 : 64, objects: isQuick ? 8e6 : 64e6 }
  const outcome = simulate(options)
  const { code, failuresPerYear, years } = options
  const model = { code, failuresPerYear, repairYears: () => meanMissingYears(outcome) }
  const ratio = (missing: number): number => (outcome.yearsMissing[missing] ?? 0) / outcome.groups / years
  return [1, 2].map((missing) =>
    agrees(
      'scale',
      `10+5, time with ${missing} missing, simulated and closed form`,
      ratio(missing),
      'of all',
      timeRatioMissing(model, missing),
      isQuick ? 0.6 : 0.9,
    ),
  )
}

/** One of ten zones is destroyed: with tables that know the zones, and with tables that don't. */
function zoneFigures(isQuick: boolean): Figure[] {
  const keptOf = (areZonesKept: boolean): number => {
    const options = {
      ...quietOptions({ data: 10, parity: 5 }),
      pools: isQuick ? 8 : 32,
      years: 0.1,
      shocksPerYear: 10,
      areZonesKept,
    }
    const { groups, groupsLost } = simulate(options)
    return 1 - groupsLost / groups
  }
  return [
    reaches('scale', '10+5, groups that survive the end of a zone', keptOf(true), 'of all', 1, 1),
    beside('scale', '10+5, the same where tables ignore zones', keptOf(false), 'of all', 1),
  ]
}

/** What the closed form says of each code at 10% a year, as repair works: waiting for a day, unless it is urgent. */
function codeFigures(): Figure[] {
  const codes = [2, 3, 4, 7, 10, 15].map(codeFor)
  return [...codes, FOUR_PLUS_TWO].map((code) => {
    const urgentFrom = code.parity - Math.ceil(code.parity / 3)
    const repairYears = (missing: number): number => (REBUILD_HOURS + (missing < urgentFrom ? 24 : 0)) / HOURS_PER_YEAR
    const loss = lossesPerYear({ code, failuresPerYear: 0.1, repairYears })
    return beside('scale', `${nameOf(code)}, loss of an object, closed form`, loss, '1/year', LOSS_PER_YEAR_MAX)
  })
}

if (import.meta.main) {
  try {
    const { values } = parseArgs({ options: OPTIONS })
    printFigures(networkFigures(networkOptions(values)), values.json)
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error
    process.stderr.write(
      `${error.message}\noptions: ${Object.keys(OPTIONS)
        .map((name) => `--${name}`)
        .join(' ')}\n`,
    )
    process.exitCode = 2
  }
}
