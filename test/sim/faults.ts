/** What goes wrong around the validators: each fault takes a world, and comes back to it later by itself. */
import { getRoster } from '../../src/domain/validator-sets.ts'
import type { ValidatorChange } from '../../src/domain/validator-plan.ts'
import { faultyMax } from '../../src/ledger/validators.ts'
import { approveTx, consensusSigner, proposeTx } from './consortium.ts'
import type { Machine } from './machine.ts'
import type { World } from './world.ts'

export interface Fault {
  /** How many validators it makes byzantine. */
  readonly compromises: number
  begin(world: World, durationMs: number): void
}

const HOUR_MS = 60 * 60 * 1_000

const harmless = (begin: Fault['begin']): Fault => ({ compromises: 0, begin })

/** On one machine: what it has become by then, after a random part of the time. */
function onOne(act: (world: World, machine: Machine, durationMs: number) => void): Fault {
  return harmless((world, durationMs) => {
    const machine = world.random.pick(world.honest)
    world.scheduler.after(world.random.unit() * durationMs * 0.7, () => act(world, machine, durationMs))
  })
}

const partition = harmless((world, durationMs) => {
  const { network, random } = world
  const all = world.machines.map(({ institution }) => institution)
  split()
  world.scheduler.after(durationMs * 0.5, () => {
    network.mend()
    if (random.chance(0.5)) split()
  })
  function split(): void {
    const side = random.some(all, random.between(1, Math.max(1, all.length - 1)))
    world.note(`partition: ${side.join(', ')} on one side`)
    for (const one of all) {
      for (const other of all) if (side.includes(one) !== side.includes(other)) network.cut(one, other)
    }
  }
})

const oneWay = harmless((world, durationMs) => {
  const { network, random } = world
  const all = world.machines.map(({ institution }) => institution)
  const deaf = random.pick(all)
  const isMute = random.chance(0.5)
  world.note(`${deaf} ${isMute ? 'is not heard' : 'hears nothing'}`)
  for (const other of all)
    if (isMute) network.cut(deaf, other)
    else network.cut(other, deaf)
  world.scheduler.after(durationMs * 0.6, () => network.mend())
})

const partial = harmless((world, durationMs) => {
  const { network, random } = world
  const all = world.machines.map(({ institution }) => institution)
  const cutSome = (): void => {
    for (const one of all) for (const other of all) if (random.chance(0.35)) network.cut(one, other)
  }
  cutSome()
  for (const part of [0.25, 0.5, 0.75]) {
    world.scheduler.after(durationMs * part, () => {
      network.mend()
      cutSome()
    })
  }
  world.scheduler.after(durationMs, () => network.mend())
})

const storm = harmless(({ network, random }) => {
  network.weather = {
    delayMs: { low: 1, high: random.pick([50, 200, 600]) },
    lossRatio: random.pick([0.02, 0.1, 0.25]),
    duplicateRatio: random.pick([0, 0.1, 0.3]),
    reorders: random.chance(0.7),
  }
})

const slowPeer = harmless(({ machines, network, random }) => {
  network.slow(random.pick(machines).institution, random.pick([200, 800, 3_000]))
})

const crashes = harmless((world, durationMs) => {
  for (let count = world.random.between(1, 4); count > 0; count--) {
    const machine = world.random.pick(world.honest)
    world.scheduler.after(world.random.unit() * durationMs, () => machine.crash('power'))
  }
})

/** At any step of the vote log and of the database: unsynced writes are lost, or torn. */
const crashesOfDisk = harmless(({ honest, random }) => {
  for (const machine of random.some(honest, random.between(1, honest.length))) {
    machine.crashRatio = random.pick([0.01, 0.03, 0.08])
  }
})

const syncErrors = harmless(({ honest, random }) => {
  for (const machine of random.some(honest, random.between(1, 2))) machine.syncErrorRatio = 0.06
})

const clockOff = onOne((world, machine) => {
  const byMs = world.random.pick([-HOUR_MS, HOUR_MS, -3_000, 3_000])
  machine.trace(`its clock goes off by ${byMs} ms`)
  machine.setClock(1, byMs)
})

const clockDrift = harmless(({ machines, random }) => {
  for (const machine of machines) machine.setClock(1 + (random.unit() - 0.5) * 0.02, random.between(-800, 800))
})

const pause = onOne((world, machine) => machine.pause(world.random.pick([500, 3_000, 9_000])))

const backup = onOne((world, machine, durationMs) => {
  // The log of votes is cut short often then, as it is once it has grown long.
  machine.voteLogBytesFactor = world.random.pick([1, 1_000_000])
  // What a lone validator has decided since may be nowhere else: nothing goes on without it then, and nothing may.
  if (world.consortium.validators === 1) return
  world.whenCopied(machine.backup(), ({ store }) => {
    world.scheduler.after(durationMs * 0.3, () => {
      machine.crash('its database is put back from a backup')
      machine.store = store
    })
  })
})

/** Its database and its vote log go back together: it has forgotten what it signed. */
const rollback: Fault = {
  compromises: 1,
  begin: (world, durationMs) => {
    const machine = world.random.pick(world.honest)
    machine.compromised = true
    world.scheduler.after(durationMs * 0.2, () => {
      world.whenCopied(machine.backup(), ({ store, votes }) => {
        world.scheduler.after(durationMs * 0.3, () => {
          machine.crash('the whole machine is put back from a backup')
          machine.store = store
          machine.votes = votes
        })
      })
    })
  },
}

/** A copy of a machine runs beside it, with the same key. */
const clone: Fault = {
  compromises: 1,
  begin: (world, durationMs) => {
    const machine = world.random.pick(world.honest)
    machine.compromised = true
    world.scheduler.after(durationMs * 0.2, () => {
      world.whenCopied(machine.backup(), ({ store, votes }) => {
        const twin = world.addMachine(`${machine.name}'`, machine.institution)
        twin.compromised = true
        twin.store = store
        twin.votes = votes
        twin.start()
      })
    })
  },
}

/** The institutions end the epoch early, with other validators or with the same. */
const epochChange = harmless((world, durationMs) => {
  const { random, scheduler } = world
  for (let round = random.between(1, 2); round > 0; round--) {
    scheduler.after(random.unit() * durationMs * 0.6, () => world.whenDone(changeEpoch(world)))
  }
})

async function changeEpoch(world: World): Promise<void> {
  const by = world.random.pick(world.honest)
  const chain = by.process?.chain
  const set = chain?.validators()
  if (chain === undefined || set === undefined) return
  const { since } = await getRoster(chain.reader)
  const present = set.validators.map(({ institution }) => institution)
  const spare = world.consortium.institutions.find((one) => !present.includes(one))
  const changes: ValidatorChange[] = []
  if (spare !== undefined && world.random.chance(0.4)) {
    changes.push({ kind: 'add', institution: spare, key: consensusSigner(spare).publicKey })
  } else if (faultyMax(present.length - 1) >= world.byzantineCount && present.length > 1 && world.random.chance(0.5)) {
    changes.push({ kind: 'remove', institution: world.random.pick(present) })
  }
  const seqOf = async (machine: Machine): Promise<number> => world.nextSeq(machine, 0)
  world.note(
    `${by.name} proposes to end the epoch, with ${changes.map((one) => `${one.kind} ${one.institution}`).join()}`,
  )
  const proposal = await proposeTx(world.consortium, by.institution, await seqOf(by), {
    base: since,
    changes,
    now: true,
  })
  await world.submit(by, proposal)
  for (const [index, other] of world.machines.filter((one) => one !== by).entries()) {
    world.scheduler.after(400 + 50 * index, () => {
      world.whenDone(
        (async () => {
          if (other.process?.chain === undefined) return
          await world.submit(
            other,
            await approveTx(world.consortium, other.institution, await seqOf(other), proposal.id),
          )
        })(),
      )
    })
  }
}

export const FAULTS: Readonly<Record<string, Fault>> = {
  'a partition': partition,
  'one way only': oneWay,
  'a partial partition': partial,
  'loss, delay, duplicates': storm,
  'a slow peer': slowPeer,
  crashes,
  'crashes in disk writes': crashesOfDisk,
  'failed syncs': syncErrors,
  'a clock that is off': clockOff,
  'clocks that drift': clockDrift,
  'a long pause': pause,
  'a database from a backup': backup,
  'a machine from a backup': rollback,
  'a cloned validator': clone,
  'an epoch that ends': epochChange,
}
