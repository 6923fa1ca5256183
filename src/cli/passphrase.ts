/** Passphrases: from a file that only its owner reads, or typed at the terminal without echo. Never from the environment. */
import { PASSPHRASE_BYTES_MAX } from '../core/limits.ts'
import { readPassphraseFile } from '../peer/passphrase-file.ts'
import { CliError } from './faults.ts'

/**
 * @param file - read when given: its first line is the passphrase.
 * @param prompt - what the terminal shows when asked there.
 * @throws {PeerError} `PASSPHRASE_UNREADABLE`; {CliError} `PASSPHRASE_NEEDED`, `INTERRUPTED`
 */
export async function readPassphrase(file: string | undefined, prompt: string): Promise<Uint8Array> {
  return file === undefined ? typePassphrase(prompt) : readPassphraseFile(file)
}

/** A new passphrase: typed twice, or from the file. @throws as `readPassphrase`; `PASSPHRASE_DIFFERS` */
export async function newPassphrase(file: string | undefined, name: string): Promise<Uint8Array> {
  if (file !== undefined) return readPassphraseFile(file)
  const first = await typePassphrase(`New passphrase for ${name}: `)
  const second = await typePassphrase('The same again: ')
  if (Buffer.compare(first, second) !== 0) throw new CliError({ code: 'PASSPHRASE_DIFFERS' })
  return first
}

/** Reads one line from the terminal in raw mode, so that nothing is echoed. */
async function typePassphrase(prompt: string): Promise<Uint8Array> {
  const { stdin, stderr } = process
  if (!stdin.isTTY) throw new CliError({ code: 'PASSPHRASE_NEEDED' })
  stderr.write(prompt)
  stdin.setRawMode(true)
  const typed: number[] = []
  try {
    for await (const chunk of stdin.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      for (const byte of chunk) {
        if (byte === 0x03) throw new CliError({ code: 'INTERRUPTED' })
        if (byte === 0x0d || byte === 0x0a || byte === 0x04) return Uint8Array.from(typed)
        if (byte === 0x7f || byte === 0x08) dropCharacter(typed)
        else if (typed.length < PASSPHRASE_BYTES_MAX) typed.push(byte)
      }
    }
    return Uint8Array.from(typed)
  } finally {
    stdin.setRawMode(false)
    stdin.pause()
    stderr.write('\n')
  }
}

/** Removes the last UTF-8 character: its continuation bytes and its first. */
function dropCharacter(typed: number[]): void {
  while (((typed.at(-1) ?? 0) & 0xc0) === 0x80) typed.pop()
  typed.pop()
}
