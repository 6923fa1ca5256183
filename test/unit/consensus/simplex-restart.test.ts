/** What a validator knows after a restart, what must not be taken from another epoch, and what it must not wait for in vain. */
import { describe, expect, test } from 'vitest'
import { statusOf } from '../../../src/consensus/simplex-status.ts'
import { Bench, setOf } from './bench.ts'

/** Lets time go by, with the timers running out. */
function pass(bench: Bench, ms: number): void {
  for (const untilMs = bench.nowMs + ms; bench.nowMs < untilMs; ) bench.wait(100)
}

describe('restart', () => {
  test('votes go into the log with the certificates that they rest on', () => {
    const bench = new Bench()
    const block = bench.block(1)
    bench.propose(block)
    bench.answer()
    bench.makeDurable()
    const certificate = bench.learn('notarize', 1, block.id)
    expect(bench.wanted('cast').map(({ ballots, certificates }) => ({ kind: ballots[0]?.kind, certificates }))).toEqual(
      [{ kind: 'finalize', certificates: [certificate] }],
    )
  })

  test('a finalize vote without its certificate would hold the view for ever: with it, the next view is entered', () => {
    const before = new Bench()
    const block = before.block(1)
    const certificate = before.certificate('notarize', 1, block.id)
    const votes = [before.vote(before.me, 'notarize', 1, block.id), before.vote(before.me, 'finalize', 1, block.id)]
    const bench = new Bench({ blocks: [block], certificates: [certificate], votes })
    bench.answer()
    expect(bench.state.view).toBe(2)
    expect(bench.state.views.get(1)?.notarization).toEqual(certificate)
  })

  test('who voted a block final that is gone from its ledger says that it waits for that', () => {
    const before = new Bench()
    const block = before.block(1)
    const certificates = [before.certificate('notarize', 1, block.id)]
    const votes = [before.vote(before.me, 'notarize', 1, block.id), before.vote(before.me, 'finalize', 1, block.id)]
    const waitsFor = (bench: Bench): string =>
      statusOf(bench.state, { nowMs: bench.nowMs, wallMs: bench.nowMs }, 0).waitsFor
    expect(waitsFor(new Bench({ certificates, votes }))).toBe('own-block')
    expect(waitsFor(new Bench({ blocks: [block], certificates, votes }))).not.toBe('own-block')
    expect(waitsFor(new Bench())).not.toBe('own-block')
  })

  test('a leader sends the proposal of before again', () => {
    const before = new Bench({ leads: 1 })
    const block = before.block(1)
    const bench = new Bench({ leads: 1, blocks: [block], votes: [before.vote(before.me, 'notarize', 1, block.id)] })
    pass(bench, 5_000)
    const sent = bench.wanted('send').map(({ message }) => message.type)
    expect(sent).toContain('proposal')
  })

  test('who was halted stays so in the next epoch', () => {
    const bench = new Bench({ halted: 'key-in-use-elsewhere', set: setOf(4, 1) })
    bench.propose(bench.block(1))
    pass(bench, 60_000)
    expect(bench.wanted('cast')).toEqual([])
  })
})

describe('another epoch', () => {
  test('a verdict on votes of an epoch that is over says nothing of this one', () => {
    const bench = new Bench({ set: setOf(4, 1) })
    for (const signer of bench.others) bench.hear(signer, { type: 'vote', vote: bench.vote(signer, 'nullify', 1) })
    bench.wanted('check-votes')
    bench.happen({ type: 'votes-checked', ballot: { epoch: 0, view: 1, kind: 'nullify' }, good: bench.others, bad: [] })
    expect(bench.state.view).toBe(1)
    expect(bench.state.views.get(1)?.nullification).toBeUndefined()
  })

  test('a verdict on certificates of an epoch that is over neither justifies a proposal nor bans anyone', () => {
    const bench = new Bench({ set: setOf(4, 1) })
    const [from = 0] = bench.others
    bench.happen({ type: 'certificates-checked', epoch: 0, from, view: 1, good: [], bad: 1 })
    expect(bench.state.banned).toEqual([])
  })
})

test('a wanted block is asked for with growing pauses, and taken however late it comes', () => {
  const bench = new Bench()
  const block = bench.block(1)
  bench.learn('notarize', 1, block.id)
  pass(bench, 120_000)
  const asked = bench.wanted('send').filter(({ message }) => message.type === 'want')
  expect(asked.length).toBeGreaterThan(9)
  expect(asked.length).toBeLessThan(100)
  bench.hear(bench.others[0] ?? 0, { type: 'block', header: block.headerBytes, body: block.body })
  bench.answer()
  expect(bench.state.view).toBe(2)
})

test('a timer that ran out a moment early is set again', () => {
  const bench = new Bench()
  const [timer] = bench.wanted('timer')
  const atMs = timer?.atMs ?? 0
  expect(atMs).toBeGreaterThan(0)
  // As an event loop does that was busy when the timer was set.
  bench.wait(atMs - 0.5)
  expect(bench.wanted('timer').map((one) => one.atMs)).toEqual([atMs])
})
