/** `put`, `get`, `ls`, `verify`, `cid`: files and folders of any size. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { LISTING_FILES_MAX } from '../core/limits.ts'
import { EXIT } from '../core/coded-error.ts'
import type { CipherProfile } from '../crypto/sealed-stream.ts'
import { bytesText, columns, dim, print, rateText, secondsText, timeText } from './output.ts'
import { progressBar, statusLine } from './progress.ts'
import { type Session, run, withPeer } from './session.ts'

interface AsOption {
  readonly as?: string
}

export function contentCommands(program: Command): void {
  program
    .command('put')
    .summary('seal and store a file or folder')
    .description(
      'Seals a file or folder, stores it on the peer, and waits until the peer has placed it on the network. Repeat the command to go on after an interruption.',
    )
    .argument('<path>', `file, or folder of at most ${LISTING_FILES_MAX} files`)
    .option('--as <name>', 'account that stores, and that can open it')
    .addOption(
      new Option('--cipher <profile>', 'how it is sealed')
        .choices(['aes-256-gcm', 'chacha20-poly1305'])
        .default('aes-256-gcm'),
    )
    .option('--restart', 'begin anew: what an interrupted put of the same thing sent is taken back', false)
    .option('--critical', 'full copies on more institutions than may lie; 64 KiB at most', false)
    .option('--no-wait', 'leave placing it on the network to the peer')
    .addHelpText('after', '\nExample:\n  apotheca put ./study --as radiology')
    .action(async (path: string, given: PutFlags, command: Command) =>
      withPeer(command, async (session) => putCommand(session, path, given)),
    )

  program
    .command('get')
    .summary('fetch and open an object')
    .description(
      'Fetches an object by its CID or by a record, opens it, writes its files. Repeat to go on after an interruption.',
    )
    .argument('<target>', 'CID of an object, or a record')
    .option('--as <name>', 'account that opens it')
    .option('-o, --out <path>', 'file or folder to write')
    .option('--version-number <n>', 'version of the record', integerArgument)
    .option('--sealed', 'fetch the ciphertext only; no key is needed', false)
    .option('--keep', 'store the ciphertext on this peer too', false)
    .option('--force', 'overwrite what is there', false)
    .addHelpText('after', '\nExample:\n  apotheca get rec1… --as institute --out ./study')
    .action(async (target: string, given: GetFlags, command: Command) =>
      withPeer(command, async ({ options, client, signal, account }) => {
        const { get, getSealed } = await import('./get.ts')
        const started = Date.now()
        const bar = progressBar(given.sealed ? 'fetching' : 'opening', options.json)
        const common = {
          force: given.force,
          keep: given.keep,
          signal,
          onStart: (plan: { bytes: number }) => bar.start(plan.bytes),
          onOpened: (bytes: number) => bar.add(bytes),
          ...(given.out === undefined ? {} : { out: given.out }),
          ...(given.versionNumber === undefined ? {} : { version: given.versionNumber }),
        }
        try {
          const result = given.sealed
            ? await getSealed(client, target, common)
            : await get(client, await account(given.as), target, common)
          const tookMs = Date.now() - started
          print(options.json, { ...result, tookMs }, [
            [given.sealed ? 'fetched' : 'opened', `${filesText(result.files)}, ${bytesText(result.bytes)}`],
            ['into', result.out],
            ['took', `${secondsText(tookMs)}, ${rateText(result.bytes, tookMs)}`],
          ])
        } finally {
          bar.stop()
        }
      }),
    )

  inspectCommands(program)
}

/** Commands that store and fetch nothing. */
function inspectCommands(program: Command): void {
  program
    .command('ls')
    .summary('list objects of this peer, or the files of one')
    .argument('[target]', 'CID of an object, or a record')
    .option('--as <name>', 'account that opens it')
    .option('--limit <n>', 'objects listed', integerArgument, 100)
    .addHelpText('after', '\nExample:\n  apotheca ls\n  apotheca ls bafyrei… --as radiology')
    .action(async (target: string | undefined, given: AsOption & { limit: number }, command: Command) =>
      withPeer(command, async ({ options, client, signal, account }) => {
        const { listFiles, listObjects } = await import('./ls.ts')
        if (target === undefined) {
          const objects = await listObjects(client, given.limit)
          if (options.json) print(true, { objects }, [])
          else if (objects.length === 0) process.stdout.write('nothing is stored here yet\n')
          else {
            const rows = objects.map((one) => [
              timeText(one.storedAtMs),
              filesText(one.files),
              bytesText(one.bytes),
              one.manifest.toString(),
            ])
            process.stdout.write(`${columns(['stored (UTC)', 'files', 'sealed', 'object'], rows)}\n`)
          }
          return
        }
        const { entries } = await listFiles(client, await account(given.as), target, signal)
        if (options.json) print(true, { entries }, [])
        else {
          const rows = entries.map((one) => [
            timeText(one.mtimeMs),
            one.kind === 'folder' ? '-' : bytesText(one.bytes),
            one.path,
          ])
          process.stdout.write(`${columns(['changed (UTC)', 'size', 'name'], rows)}\n`)
        }
      }),
    )

  program
    .command('verify')
    .summary('check an object, or a copy of it on this disk')
    .description(
      'Checks an object against its CIDs and the ledger; with a path, checks that the files there are what was stored.',
    )
    .argument('<target>', 'CID of an object, or a record')
    .argument('[path]', 'a copy on this disk')
    .option('--as <name>', 'account that opens it')
    .addHelpText('after', '\nExample:\n  apotheca verify rec1… ./study --as institute')
    .action(async (target: string, path: string | undefined, given: AsOption, command: Command) =>
      withPeer(command, async ({ options, client, signal, account }) => {
        const { verify } = await import('./verify.ts')
        const bar = progressBar('verifying', options.json)
        try {
          const result = await verify(client, await account(given.as), target, {
            signal,
            onStart: (plan) => bar.start(plan.bytes),
            onOpened: (bytes) => bar.add(bytes),
            ...(path === undefined ? {} : { path }),
          })
          const place = result.onLedger
          print(options.json, result, [
            ['verified', `${filesText(result.files)}, ${bytesText(result.bytes)}: every byte is what was stored`],
            ['object', result.manifest.toString()],
            [
              'ledger',
              place === undefined
                ? 'not looked up: name the record to check it there'
                : `${place.record}, version ${place.version}, final at height ${place.height}`,
            ],
          ])
        } finally {
          bar.stop()
        }
      }),
    )

  program
    .command('cid')
    .summary('name a file without storing it')
    .description(
      'Prints the CID that the bytes of a file have in this network (profile unixfs-v1-2025). Stores nothing.',
    )
    .argument('<file>', 'file')
    .addHelpText('after', '\nExample:\n  apotheca cid scan.dcm')
    .action(async (file: string, _given: object, command: Command) =>
      run(command, async (options) => {
        const { cidOfFile } = await import('./cid.ts')
        const { cid, bytes } = await cidOfFile(file)
        if (options.json) print(true, { cid, bytes }, [])
        else process.stdout.write(`${cid.toString()}\n`)
      }),
    )
}

interface PutFlags extends AsOption {
  readonly cipher: CipherProfile
  readonly restart: boolean
  readonly critical: boolean
  readonly wait: boolean
}

async function putCommand(session: Session, path: string, given: PutFlags): Promise<void> {
  const { account, client, options, signal } = session
  const { put } = await import('./put.ts')
  const { isUnderWay, placementWords, progressWords, waitForPlacement } = await import('./placement.ts')
  const started = Date.now()
  const bar = progressBar('sealing', options.json)
  const line = statusLine(options.json)
  let resumed = false
  try {
    const result = await put(client, await account(given.as), path, {
      home: options.home,
      profile: given.cipher,
      restart: given.restart,
      critical: given.critical,
      signal,
      onStart: (plan) => {
        ;({ resumed } = plan)
        bar.start(plan.bytes)
      },
      onSent: (bytes) => bar.add(bytes),
    })
    bar.stop()
    const placement = await waitForPlacement(client, result.manifest, {
      wait: given.wait,
      signal,
      onStatus: (status) => line.show(progressWords(status)),
    })
    line.stop()
    const tookMs = Date.now() - started
    print(options.json, { ...result, placement, tookMs, resumed }, [
      ['sealed', `${filesText(result.files)}, ${bytesText(result.plaintextBytes)}${resumed ? ', resumed' : ''}`],
      ['placed', placementWords(placement)],
      ['object', result.manifest.toString()],
      ['content', `${result.content.toString()} ${dim('(sealed; any IPFS member can fetch it)')}`],
      ['took', `${secondsText(tookMs)}, ${rateText(result.plaintextBytes, tookMs)}`],
    ])
    // Whoever stopped waiting has it on one peer: a script must not take that for stored.
    if (given.wait && isUnderWay(placement)) process.exitCode = EXIT.unavailable
  } finally {
    bar.stop()
    line.stop()
  }
}

interface GetFlags extends AsOption {
  readonly out?: string
  readonly versionNumber?: number
  readonly sealed: boolean
  readonly keep: boolean
  readonly force: boolean
}

function filesText(files: number): string {
  return files === 1 ? '1 file' : `${files} files`
}

export function integerArgument(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('a whole number is needed')
  return Number(text)
}
