// What the server answers, or its problem (RFC 9457).

export const session = $state({ needed: false, seen: 0 })

export class Problem extends Error {
  constructor(status, detail, column) {
    super(detail)
    this.status = status
    this.column = column
  }
}

export async function ask(path, params = {}, signal) {
  const query = new URLSearchParams()
  for (const [key, value] of Object.entries(params)) if (value !== undefined && value !== '') query.set(key, value)
  const text = query.toString()
  let answer
  try {
    for (let again = 0; ; again++) {
      answer = await fetch('/api/v1/' + path + (text && '?' + text), { signal, credentials: 'same-origin' })
      if (answer.status !== 503 || !answer.headers.has('Retry-After') || again === 2) break
      await new Promise((resolve) => setTimeout(resolve, 500 + 1000 * again))
    }
  } catch (e) {
    if (e.name === 'AbortError') throw e
    throw new Problem(0, 'dnshark does not answer')
  }
  const body = await answer.json().catch(() => ({}))
  if (answer.status === 401) session.needed = true
  if (!answer.ok) throw new Problem(answer.status, body.detail ?? answer.statusText, body.column)
  return body
}

export async function login(token) {
  const answer = await fetch('/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ token }) })
  if (!answer.ok) throw new Problem(answer.status, 'That is not a token of this dnshark.')
  session.needed = false
  session.seen++
}

// load asks again whenever what it depends on changes, and every so many seconds.
// It keeps the last answer while the next one is on its way.
export function load(question, seconds = 0) {
  const state = $state({ data: null, error: null, busy: true })
  $effect(() => {
    session.seen
    const asked = question()
    const abort = new AbortController()
    let timer
    state.data = null
    const run = async () => {
      try {
        if (!document.hidden || !state.data) state.data = await ask(asked[0], asked[1], abort.signal)
        state.error = null
      } catch (e) {
        if (e.name !== 'AbortError') state.error = e
      }
      if (abort.signal.aborted) return
      state.busy = false
      if (seconds) timer = setTimeout(run, seconds * 1000)
    }
    state.busy = true
    run()
    return () => {
      abort.abort()
      clearTimeout(timer)
    }
  })
  return state
}
