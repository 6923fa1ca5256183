/** Long answers, written as they come: the pieces of one leaf in one system call, at the pace of whoever reads. */
import { once } from 'node:events'
import type { FastifyReply } from 'fastify'
import { faultOf } from '../core/coded-error.ts'
import type { Log } from '../core/ports.ts'
import type { FilePieces } from '../peer/content.ts'

/**
 * Sends the batches as the body of a reply whose status and headers are set.
 *
 * What fails before the first batch is thrown, and answered as any fault. Later the connection is cut: the reader sees that
 * the body isn't whole, asks again from there, and then gets the fault.
 */
export async function sendPieces(reply: FastifyReply, batches: AsyncGenerator<FilePieces>, log: Log): Promise<void> {
  const { raw } = reply
  // Nothing is read for who asks for the head alone: what is written to such an answer is dropped.
  const isHead = reply.request.method === 'HEAD'
  let batch = isHead ? await batches.return(undefined) : await batches.next()
  raw.writeHead(reply.statusCode, reply.getHeaders() as Record<string, string>)
  reply.hijack()
  try {
    for (; batch.done !== true; batch = await batches.next()) {
      // Node corks the socket until this turn ends. Corked by hand, a chunked answer asks for a "drain" that never comes.
      let flowing = true
      const { pieces, release } = batch.value
      for (const [index, piece] of pieces.entries()) {
        flowing = index === pieces.length - 1 ? raw.write(piece, release) : raw.write(piece)
      }
      if (!flowing) await drained(raw)
      if (raw.destroyed) return
    }
    raw.end()
  } catch (error) {
    log.warn({ err: error, fault: faultOf(error) }, 'an answer was cut off')
    // What was written goes out before, the head above all: without it this would look like a peer that can't be reached.
    raw.socket?.destroySoon()
  } finally {
    await batches.return(undefined)
  }
}

/** Settles when there is room again, or when the reader has gone. */
async function drained(raw: FastifyReply['raw']): Promise<void> {
  if (raw.destroyed) return
  const stop = new AbortController()
  try {
    await Promise.race([once(raw, 'drain', { signal: stop.signal }), once(raw, 'close', { signal: stop.signal })])
  } finally {
    stop.abort()
  }
}
