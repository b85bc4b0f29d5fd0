// As much of ClickHouse's HTTP interface as dnshark speaks, before the engine in the package chdb:
// node clickhouse.js PORT DIRECTORY
const http = require('http'), fs = require('fs'), zlib = require('zlib'), { Session } = require('chdb')
const session = new Session(process.argv[3])
let turn = Promise.resolve() // a session does one thing at a time
const ours = new Set(['query', 'database', 'default_format', 'wait_end_of_query', 'readonly'])

http.createServer((request, answer) => {
  const parts = []
  request.on('data', part => parts.push(part))
  request.on('end', () => {
    const url = new URL(request.url, 'http://localhost')
    if (url.pathname === '/ping') return answer.end('Ok.\n')
    let body = Buffer.concat(parts)
    if (request.headers['content-encoding'] === 'gzip') body = zlib.gunzipSync(body)
    turn = turn.then(() => run(url.searchParams, body)).then(text => answer.end(text), error => {
      answer.statusCode = 500
      answer.end(String(error.message).replace(/^\w+ failed: /, '') + '\n')
    })
  })
}).listen(Number(process.argv[2]), '127.0.0.1')

async function run(parameters, body) {
  await session.queryAsync('USE `' + (parameters.get('database') || 'default').replace(/[\\`]/g, '\\$&') + '`')
  const set = []
  for (const [name, value] of parameters)
    if (!ours.has(name)) set.push([name, value.replace(/[\\']/g, '\\$&')])
  if (set.length) await session.queryAsync('SET ' + set.map(([name, value]) => `${name} = '${value}'`).join(', '))
  try {
    const insert = /^INSERT INTO (\S+) FORMAT (\w+)$/.exec(parameters.get('query') || '')
    if (!insert) {
      const answer = await session.queryAsync(body.toString(), { format: parameters.get('default_format') || 'TabSeparated' })
      return Buffer.from(answer.bytes())
    }
    const file = process.argv[3] + '/inserted'
    fs.writeFileSync(file, body)
    await session.queryAsync(`INSERT INTO ${insert[1]} FROM INFILE '${file}' COMPRESSION 'none' FORMAT ${insert[2]}`)
    return ''
  } finally {
    const settings = set.filter(([name]) => !name.startsWith('param_')) // the next request has its own
    if (settings.length) await session.queryAsync('SET ' + settings.map(([name]) => `${name} = DEFAULT`).join(', '))
  }
}
