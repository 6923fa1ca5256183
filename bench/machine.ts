/** What the benches ask of a machine beside the network of scripts/daemon-network.ts. */
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A file of random bytes. */
export async function randomFile(path: string, bytes: number): Promise<void> {
  await mkdir(join(path, '..'), { recursive: true })
  const stream = createWriteStream(path)
  const piece = Buffer.allocUnsafe(4 * 1024 * 1024)
  for (let left = bytes; left > 0; left -= piece.length) {
    randomFillSync(piece)
    if (!stream.write(Buffer.from(piece.subarray(0, Math.min(left, piece.length))))) await once(stream, 'drain')
  }
  stream.end()
  await once(stream, 'close')
}

/** A line of /proc/PID/status, in bytes: `VmRSS`, or `VmHWM` for the largest so far. */
export async function memoryOf(pid: number, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]
  if (kib === undefined) throw new Error(`no ${field} of process ${pid}`)
  return Number(kib) * 1024
}

/** Linux counts the time of processes in hundredths of a second, on every machine that Node runs on. */
const CLOCK_TICK_MS = 10

/** Time that a process had on a processor so far, in milliseconds. */
export async function cpuMsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  // The name, in parentheses, may hold blanks; user and system time are the 14th and 15th field.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS
}
