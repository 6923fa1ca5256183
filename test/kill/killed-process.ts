import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/**
 * Runs a script of this folder, kills it with SIGKILL a random time after its first line, and returns the whole lines that it
 * had written by then.
 *
 * @throws when it ended by itself.
 */
export async function runUntilKilled(script: string, args: readonly string[], lifeMs: number): Promise<string[]> {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const child = spawn(process.execPath, [path, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let complaints = ''
  child.stderr.on('data', (text: Buffer) => {
    complaints += text.toString()
  })
  const exited = once(child, 'exit')
  const lines: string[] = []
  let tail = ''
  child.stdout.on('data', (text: Buffer) => {
    tail = (tail + text.toString()).replace(/(.*)\n/g, (_, line: string) => {
      lines.push(line)
      return ''
    })
  })
  const began = Promise.race([once(child.stdout, 'data'), exited])
  await began
  const timer = setTimeout(() => child.kill('SIGKILL'), lifeMs)
  const [, signal] = (await exited) as [number | null, string | null]
  clearTimeout(timer)
  if (!child.stdout.readableEnded) await once(child.stdout, 'close')
  if (signal !== 'SIGKILL' || complaints !== '')
    throw new Error(`${script} ended by itself or complained: ${complaints}`)
  return lines
}
