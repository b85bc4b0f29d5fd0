// The page that is shown is in the address: /name/www.example.com.

function parse() {
  const [, page = '', ...rest] = location.pathname.split('/')
  let value = rest.join('/')
  try {
    value = decodeURIComponent(value)
  } catch {
    // Not ours; shown as it is.
  }
  if (page === 'name' && !value) value = '.' // of /name/. a browser leaves this
  return { page: page || 'overview', value, query: new URLSearchParams(location.search) }
}

export const route = $state({ current: parse() })

addEventListener('popstate', () => (route.current = parse()))

export function go(path) {
  if (path !== location.pathname + location.search) history.pushState(null, '', path)
  route.current = parse()
  scrollTo(0, 0)
}

export const to = {
  name: (v) => '/name/' + encodeURIComponent(v),
  ip: (v) => '/ip/' + encodeURIComponent(v),
  process: (v) => '/process/' + encodeURIComponent(v),
  container: (v) => '/container/' + encodeURIComponent(v),
  live: (filter) => '/live' + (filter && '?filter=' + encodeURIComponent(filter)),
  search: (v) => '/search?q=' + encodeURIComponent(v),
}

const address = /^(\d{1,3}(\.\d{1,3}){3}|[0-9a-f:]*:[0-9a-f:.]*)$/i

// find returns the page for what somebody looks for.
export function find(text) {
  text = text.trim()
  const [, kind, rest] = /^(process|container):(.+)$/.exec(text) ?? []
  if (kind) return to[kind](rest)
  if (address.test(text)) return to.ip(text)
  if (/[*/]/.test(text)) return to.search(text)
  if (/[^ -~]/.test(text)) {
    try {
      text = new URL('http://' + text).hostname // in its ASCII form
    } catch {
      // As it is, then.
    }
  }
  return to.name(text.replace(/\.$/, '').toLowerCase() || '.')
}

// Links of this site change the page without loading it.
export function follow(event) {
  const link = event.target.closest?.('a[href^="/"]')
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || link.target) return
  event.preventDefault()
  go(link.getAttribute('href'))
}
