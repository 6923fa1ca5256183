/** `car export`, `car import`: content to and from IPFS programs that are not connected. */
import type { Command } from 'commander'
import { bytesText, print, rateText, secondsText } from './output.ts'
import { progressBar } from './progress.ts'
import { withPeer } from './session.ts'

export function carCommands(program: Command): void {
  const car = program
    .command('car')
    .summary('write and read CAR files, by which content moves between IPFS programs')
    .description('Writes everything below a CID to a CAR file, or stores what such a file holds.')

  car
    .command('export')
    .summary('write everything below a CID to a CAR file')
    .description(
      'Writes all blocks below a CID to a CAR file (version 1), each checked. Of an object that is its ciphertext and its wrapped keys.',
    )
    .argument('<cid>', 'CID of an object, of its content, or of any block')
    .option('-o, --out <file>', 'file to write (default: CID.car)')
    .option('--force', 'overwrite what is there', false)
    .addHelpText('after', '\nExample:\n  apotheca car export bafyrei… --out study.car && ipfs dag import study.car')
    .action(async (target: string, given: { out?: string; force: boolean }, command: Command) =>
      withPeer(command, async ({ options, client, signal }) => {
        const { exportCar } = await import('./car.ts')
        const started = Date.now()
        const { force, out = `${target}.car` } = given
        const result = await exportCar(client, target, { out, force, signal })
        const tookMs = Date.now() - started
        print(options.json, { ...result, tookMs }, [
          ['exported', `${result.blocks} blocks, ${bytesText(result.bytes)}: every block is what its CID says`],
          ['root', result.root.toString()],
          ['into', result.out],
          ['took', `${secondsText(tookMs)}, ${rateText(result.bytes, tookMs)}`],
        ])
      }),
    )

  car
    .command('import')
    .summary('store what a CAR file holds')
    .description(
      'Stores the blocks of a CAR file (version 1) on the peer, each checked, and all of them or none. Nothing is sealed on the way: use "put" for what is not sealed yet.',
    )
    .argument('<file>', 'CAR file')
    .addHelpText('after', '\nExample:\n  ipfs dag export bafybei… > study.car && apotheca car import study.car')
    .action(async (file: string, _given: object, command: Command) =>
      withPeer(command, async ({ options, client, signal }) => {
        const { importCar } = await import('./car.ts')
        const started = Date.now()
        const bar = progressBar('importing', options.json)
        try {
          const result = await importCar(client, file, {
            signal,
            onStart: (bytes) => bar.start(bytes),
            onSent: (bytes) => bar.add(bytes),
          })
          const tookMs = Date.now() - started
          print(options.json, { ...result, tookMs }, [
            ['imported', `${result.blocks} blocks, ${bytesText(result.bytes)}`],
            ...result.roots.map((root): [string, string] => ['root', root.toString()]),
            ...result.objects.map((object): [string, string] => ['object', object.toString()]),
            ['took', `${secondsText(tookMs)}, ${rateText(result.bytes, tookMs)}`],
          ])
        } finally {
          bar.stop()
        }
      }),
    )
}
