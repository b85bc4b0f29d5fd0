import { untrack } from 'svelte'
import { ask, session } from './api.svelte.js'

export const kept = 5000 // events on the page

// live is the stream of events. Batches wait for the next frame of the screen, so that
// however many come, the page is drawn once for all of them.
export function live() {
  const state = $state({ connected: false, error: null, rate: 0, lost: 0, total: 0, waiting: 0, paused: false })
  let events = $state.raw([]) // the newest first
  let newest = $state(0) // number of the first of them; each keeps its own
  let source, frame, fresh = [], held = [], recent = [], begin = 0

  const take = () => {
    frame = 0
    const now = performance.now()
    recent.push([now, fresh.length])
    while (recent.length && now - recent[0][0] > 5000) recent.shift()
    state.rate = recent.reduce((n, r) => n + r[1], 0) / Math.min(5, Math.max(1, (now - begin) / 1000))
    state.total += fresh.length
    if (state.paused) {
      held = fresh.reverse().concat(held).slice(0, kept)
      state.waiting += fresh.length
    } else {
      events = fresh.reverse().concat(events).slice(0, kept)
      newest += fresh.length
    }
    fresh = []
  }

  return {
    state,
    get events() {
      return events
    },
    get newest() {
      return newest
    },
    start(filter) {
      this.stop()
      // What was seen before is there at once, as far as no filter has to choose.
      if (!filter && !untrack(() => events.length)) {
        ask('events', { limit: 200 }).then((before) => {
          if (state.paused || !source) return
          const oldest = events.at(-1)?.time ?? '~'
          events = events.concat(before.events.filter((e) => e.time < oldest)).slice(0, kept)
        }, () => {})
      }
      state.error = null
      recent = []
      begin = performance.now()
      const path = '/api/v1/stream' + (filter ? '?filter=' + encodeURIComponent(filter) : '')
      source = new EventSource(path)
      source.onopen = () => (state.connected = true)
      source.addEventListener('events', (e) => {
        try {
          for (const one of JSON.parse(e.data)) fresh.push(one)
        } catch {
          return
        }
        // A page in the background draws no frames.
        if (fresh.length > kept) fresh = fresh.slice(-kept)
        frame ||= requestAnimationFrame(take)
      })
      source.addEventListener('lost', (e) => (state.lost += JSON.parse(e.data).count))
      source.onerror = async () => {
        state.connected = false
        if (source.readyState !== EventSource.CLOSED) return // it tries again by itself
        // The stream does not say what is wrong; the same question without it does.
        try {
          await ask('stream', { filter }, AbortSignal.timeout(2000))
        } catch (e) {
          if (e.status) state.error = e
        }
        if (!session.needed && !state.error) setTimeout(() => source && this.start(filter), 2000)
      }
    },
    stop() {
      source?.close()
      source = null
      cancelAnimationFrame(frame)
      frame = 0
      fresh = []
      state.connected = false
    },
    pause() {
      state.paused = !state.paused
      if (!state.paused) {
        events = held.concat(events).slice(0, kept)
        newest += state.waiting
        held = []
        state.waiting = 0
      }
    },
    clear() {
      events = []
      held = []
      Object.assign(state, { waiting: 0, lost: 0, total: 0 })
    },
  }
}
