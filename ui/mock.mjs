// A stand-in for dnshark serve while pages are changed where nothing can be captured:
//   node mock.mjs [port] [events a second]
// serves the built pages, under the same policy, with data that are made up.
import { createServer } from 'node:http'
import { readFileSync } from 'node:fs'

const port = Number(process.argv[2] ?? 8053)
const perSecond = Number(process.argv[3] ?? 40)
const assets = new URL('../internal/web/assets/', import.meta.url)
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

const pick = (list) => list[Math.floor(Math.random() ** 1.7 * list.length)]
const names = ['api.payments.example.com', 'www.example.com', 'cdn.example.net', 'db-3.internal.example.com', 'mirror.example.org', 'telemetry.example.net', 'registry.example.io', '_ldap._tcp.example.com',
  'oauth.example.com', 'a-very-long-name-that-does-not-fit-its-column.of-a-provider.with-many-labels.example.net', '<script>alert(1)</script>.example.com', '\\226\\128\\174gpj.example.com']
const processes = [['curl', '/usr/bin/curl'], ['checkout', '/app/checkout'], ['systemd-resolve', '/usr/lib/systemd/systemd-resolved'], ['node', '/usr/bin/node'], ['postgres', '/usr/lib/postgresql/16/bin/postgres'], ['chronyd', '/usr/sbin/chronyd'], ['envoy', '/usr/local/bin/envoy']]
const servers = ['10.0.0.53', '10.0.1.53', '2001:db8::53']
const clients = ['10.4.2.17', '10.4.2.18', '10.4.7.90', '2001:db8:4::17']

function event(time = Date.now()) {
  const name = pick(names), [comm, exe] = pick(processes), missing = Math.random() < 0.09, broken = !missing && Math.random() < 0.02
  const type = pick(['A', 'AAAA', 'HTTPS', 'SRV', 'PTR'])
  const rcode = missing ? 'NXDOMAIN' : broken ? 'SERVFAIL' : 'NOERROR'
  const e = {
    time: new Date(time).toISOString().replace('Z', '123456Z'), event: 'net_packet_dns_response', host: 'web-07', observer: 'client',
    metadata: { src_ip: pick(servers), dst_ip: pick(clients), src_port: 53, dst_port: 30000 + Math.floor(Math.random() * 30000), protocol: 17, packet_len: 96, iface: 'eth0' },
    dns: {
      id: Math.floor(Math.random() * 65536), opcode: 'QUERY', rcode, flags: ['qr', 'rd', 'ra'], questions: [{ name, type, class: 'IN' }],
      answer: rcode === 'NOERROR' && type.startsWith('A') ? [{ name, type: 'CNAME', class: 'IN', ttl: 300, data: 'edge.' + name }, { name: 'edge.' + name, type, class: 'IN', ttl: 60, data: type === 'A' ? '192.0.2.' + Math.floor(Math.random() * 20) : '2001:db8::' + Math.floor(Math.random() * 20) }] : [],
      authority: missing ? [{ name: 'example.com', type: 'SOA', class: 'IN', ttl: 900, data: 'ns1.example.com hostmaster.example.com 2026 7200 3600 1209600 900' }] : [], additional: [],
      edns: { version: 0, udp_size: 1232, do: false, ext_rcode: 0, options: [{ code: 10, name: 'COOKIE', data: 'b1946ac92492d234' }] },
      counts: { qd: 1, an: 2, ns: 0, ar: 1 }, size: 82, incomplete: false, anomalies: Math.random() < 0.03 ? ['ttl_zero'] : [],
    },
    transaction: { state: 'answered', latency_us: Math.floor(300 + Math.random() ** 6 * 180000), retransmits: Math.random() < 0.03 ? 1 : 0 },
    process: {
      attribution: 'query_egress', pid: 1000 + Math.floor(Math.random() * 9000), tid: 1, ppid: 1, uid: 1000, gid: 1000, user: 'app', comm, exe, cwd: '/', args: [exe, '--config', '/etc/' + comm + '.yaml'], start_time: new Date(time - 3.6e6).toISOString(),
      ancestors: [{ pid: 812, comm: 'containerd-shim', exe: '/usr/bin/containerd-shim-runc-v2', start_time: new Date(time - 7.2e6).toISOString() }, { pid: 1, comm: 'systemd', exe: '/usr/lib/systemd/systemd', start_time: new Date(time - 9e7).toISOString() }],
      cgroup_id: 4711, unit: '', netns: 4026531840, pidns: 4026531836,
    },
  }
  if (comm === 'checkout' || comm === 'envoy') e.process.container = { id: 'f2a91b6c77d8', runtime: 'containerd', name: comm, image: 'registry.example.io/shop/' + comm + ':4.2', labels: { app: comm }, pod: { uid: '1b0d', name: comm + '-6f7', namespace: 'shop' } }
  return e
}

const alert = (threat, severity, kind, domain, minutes, rule, evidence, rejected) => ({
  time: new Date(Date.now() - minutes * 6e4).toISOString(), event: threat, host: 'web-07', observer: 'client', process: event().process,
  alert: { id: threat + minutes, severity, kind, domain, rule, confidence: 0.93, value: 61.25, threshold: 20, window_s: 60, start: new Date(Date.now() - minutes * 6e4 - 4e5).toISOString(), end: new Date(Date.now() - minutes * 6e4).toISOString(), update: 3, technique: 'T1071.004', src: '10.4.2.17', evidence, benign_explanations_rejected: rejected },
})
const alerts = [
  alert('dns_tunnel', 'critical', 'tunnel', 't.exfil-example.net', 3, 'many long, random labels below one registered domain', { queries: 812, distinct_names: 810, octets_of_names: 48211, sample: ['aj3kfi2mdk2o4ks.t.exfil-example.net', 'p2kd83mzkq0s1.t.exfil-example.net'] }, ['no reputation service: labels are not reversed addresses', 'no content delivery: names never come back']),
  alert('dns_dga', 'high', 'dga', '', 41, 'names that look made up, most of them not existing', { nxdomain: 91, domains: 88 }, ['no search list: domains differ', 'no captive portal check: not a single label']),
  alert('dns_zone_transfer', 'low', 'axfr', 'example.com', 300, 'a whole zone was handed out', { records: 311 }, []),
]
const history = (q) => Array.from({ length: 24 }, (_, i) => {
  const name = /^[a-z<\\_*]/i.test(q) && !/^(process|container):/.test(q) ? q.replace('*.', `h${i}.`) : names[i % names.length]
  return { rrname: name, rrtype: i % 5 ? 'A' : i ? 'CNAME' : 'NS', rdata: i % 5 ? '192.0.2.' + (i + 1) : 'edge-' + i + '.example.net', bailiwick: 'example.com', sensor: 'web-07', time_first: new Date(Date.now() - (40 - i) * 6e7).toISOString(), time_last: new Date(Date.now() - i * i * 3e5).toISOString(), count: Math.ceil(9000 / (i + 1) ** 1.5) }
})
const top = { names, clients, servers, processes: processes.map((p) => p[0]), rcodes: ['NOERROR', 'NXDOMAIN', 'SERVFAIL', 'REFUSED'], nxdomain: ['wpad.example.com', 'missing.example.net', 'isatap.example.com', 'old-db.internal.example.com'] }
const seconds = (text) => Number(text.slice(1, -1)) * { s: 1, m: 60, h: 3600, d: 86400 }[text.at(-1)]

function answer(path, q) {
  const limit = Number(q.get('limit') ?? 50)
  if (path === 'status') return { version: 'v0.0.0-mock', host: 'web-07', started: new Date(Date.now() - 3e8).toISOString(), capturing: true, source: 'eBPF, all network namespaces', events: 48211034, lost: 0, store: { tuples: 182330, names: 90211, octets: 61e6 }, subscribers: 1 }
  if (path === 'events') return { events: Array.from({ length: Math.min(limit, 200) }, (_, i) => event(Date.now() - i * 900)), more: true }
  if (path === 'alerts') return { events: alerts.filter((a) => !q.get('severity') || a.alert.severity === q.get('severity')).slice(0, limit), more: false }
  if (path.startsWith('top/')) return { rows: (top[path.slice(4)] ?? []).slice(0, limit).map((value, i) => ({ value, count: Math.ceil(81000 / (i + 1) ** 1.4) })) }
  if (path === 'new') return { rows: names.slice(0, limit).map((value, i) => ({ value, count: i + 1, first: new Date(Date.now() - i * 7e5).toISOString() })) }
  if (path === 'asked') return { rows: processes.slice(0, 5).map((p, i) => ({ process: p[0], container: i === 1 ? 'f2a91b6c77d8' : '', client: clients[i % 4], count: 400 - i * 80, first: new Date(Date.now() - 9e7).toISOString(), last: new Date(Date.now() - i * 9e4).toISOString() })) }
  if (path === 'history') return { tuples: history(q.get('q') ?? ''), more: false }
  if (path === 'series') {
    const span = seconds(q.get('since') ?? '-1h'), step = Number.parseInt(q.get('step') ?? '60')
    return { step, points: Array.from({ length: Math.floor(span / step) }, (_, i) => {
      const t = Math.floor(Date.now() / 1000 / step) * step - span + (i + 1) * step, wave = 1 + 0.5 * Math.sin(t / 900) + Math.random() * 0.25
      return { time: new Date(t * 1000).toISOString(), events: Math.round(40 * step * wave), nxdomain: Math.round(4 * step * wave * Math.random()), servfail: Math.random() < 0.06 ? step : 0, latency_p50: 0.8 + Math.random() * 0.2, latency_p95: 9 + 4 * wave, latency_p99: 28 + 22 * Math.random() }
    }) }
  }
}

createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost')
  response.setHeader('Content-Security-Policy', policy)
  const json = (status, body) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
  if (url.pathname === '/api/v1/stream') {
    if (url.searchParams.get('filter')?.includes('wrong')) return json(400, { title: 'Bad Request', status: 400, detail: 'no such field: wrong', column: url.searchParams.get('filter').indexOf('wrong') + 1 })
    response.writeHead(200, { 'Content-Type': 'text/event-stream' }).flushHeaders()
    const timer = setInterval(() => response.write(`event: events\ndata: ${JSON.stringify(Array.from({ length: Math.ceil(perSecond / 10) }, () => event()))}\n\n`), 100)
    request.on('close', () => clearInterval(timer))
    return
  }
  if (url.pathname.startsWith('/api/v1/')) {
    const body = answer(url.pathname.slice(8), url.searchParams)
    return body ? json(200, body) : json(404, { title: 'Not Found', status: 404 })
  }
  try {
    const asset = url.pathname.startsWith('/assets/') && !url.pathname.includes('..')
    const kinds = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' }
    response.setHeader('Content-Type', asset ? kinds[url.pathname.split('.').at(-1)] ?? 'application/octet-stream' : 'text/html')
    response.end(readFileSync(new URL(asset ? '.' + url.pathname : 'index.html', assets)))
  } catch {
    response.writeHead(404).end()
  }
}).listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}/`))
