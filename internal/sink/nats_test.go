package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// natsServer starts a server with JetStream on a free port, or on that of o.
func natsServer(t testing.TB, o natsd.Options) *natsd.Server {
	t.Helper()
	o.Host, o.JetStream, o.NoSigs, o.NoLog = "127.0.0.1", true, true, true
	if o.Port == 0 {
		o.Port = natsd.RANDOM_PORT
	}
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	s, err := natsd.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// natsMessages reads the n messages of a stream, and what comes after them at once:
// the messages by id.
func natsMessages(t testing.TB, url, stream string, n int, options ...nats.Option) map[string][]*jetstream.RawStreamMsg {
	t.Helper()
	conn, err := nats.Connect(url, append(options, nats.Timeout(5*time.Second))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.OrderedConsumer(t.Context(), stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]*jetstream.RawStreamMsg{}
	for end := time.Now().Add(testGrace); ; {
		batch, err := c.Fetch(5000, jetstream.FetchMaxWait(300*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		before := n
		for m := range batch.Messages() {
			n--
			id := m.Headers().Get(jetstream.MsgIDHeader)
			found[id] = append(found[id], &jetstream.RawStreamMsg{Subject: m.Subject(), Data: m.Data()})
		}
		if n == before && (n <= 0 || time.Now().After(end)) {
			return found
		}
	}
}

// Three servers, a stream that each of them has; the stream's leader goes away while
// events come. Nothing is lost, and nothing is there twice.
func TestNATSCluster(t *testing.T) {
	ports := testkit.FreePorts(t, 6)
	var servers []*natsd.Server
	var addresses []string
	for i := range 3 {
		var routes []string
		for j := range 3 {
			if j != i {
				routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[3+j]))
			}
		}
		servers = append(servers, natsServer(t, natsd.Options{
			ServerName: fmt.Sprintf("n%d", i), Port: ports[i],
			Cluster: natsd.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[3+i]},
			Routes:  natsd.RoutesFromStr(strings.Join(routes, ",")),
		}))
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", ports[i]))
	}
	s, _ := open(t, "nats://"+addresses[0]+"?timeout=2s&stream=DNS&replicas=3&servers="+strings.Join(addresses[1:], ","))
	q := newRestartSpool(t, s)
	const blocks, each = 300, 100
	killed := ""
	for i := range blocks {
		q.Put(block(1+each*i, each))
		time.Sleep(time.Millisecond)
		if i == blocks/3 {
			eventually(t, "something delivered", func() bool { return q.Stats().Delivered > 1000 })
			for _, server := range servers {
				if server.JetStreamIsStreamLeader("$G", "DNS") {
					killed = server.Name()
					server.Shutdown()
				}
			}
		}
	}
	q.settle()
	if err := q.Close(30 * time.Second); err != nil {
		t.Error(err)
	}
	if killed == "" {
		t.Error("nobody led the stream")
	}
	if stats := q.Stats(); stats.Delivered != blocks*each || stats.Events != blocks*each {
		t.Errorf("%+v", stats)
	}
	found := natsMessages(t, strings.Join(addresses, ","), "DNS", blocks*each)
	for i := range blocks * each {
		id := fmt.Sprintf("host-0123abcd-t-%d", 1+i)
		if len(found[id]) != 1 || !strings.HasPrefix(string(found[id][0].Data), `{"event_id":"`+id+`",`) {
			t.Fatalf("%s: %d messages", id, len(found[id]))
		}
	}
	if len(found) != blocks*each {
		t.Errorf("%d messages", len(found))
	}
	t.Logf("%s was ended, %d retries", killed, q.Stats().Retries)
}

// Who may connect, and how.
func TestNATSRights(t *testing.T) {
	ca := newAuthority(t)
	t.Setenv("NATS_SECRET", "p a+s:s/@%")
	config := ca.server.Clone()
	for _, test := range []struct {
		name, scheme, user, options string
		server                      natsd.Options
		option                      nats.Option
	}{
		{name: "user", scheme: "nats", user: "u:${NATS_SECRET}@", server: natsd.Options{Username: "u", Password: "p a+s:s/@%"}, option: nats.UserInfo("u", "p a+s:s/@%")},
		{name: "token", scheme: "nats", options: "&token=${NATS_SECRET}", server: natsd.Options{Authorization: "p a+s:s/@%"}, option: nats.Token("p a+s:s/@%")},
		{name: "TLS", scheme: "nats+tls", options: "&ca=" + ca.path, server: natsd.Options{TLS: true, TLSConfig: config, TLSTimeout: 2}, option: nats.RootCAs(ca.path)},
		{name: "own certificate", scheme: "nats+tls", options: "&ca=" + ca.path + "&cert=" + ca.cert + "&key=" + ca.key,
			server: natsd.Options{TLS: true, TLSVerify: true, TLSConfig: func() *tls.Config { c := config.Clone(); c.ClientAuth = tls.RequireAndVerifyClientCert; return c }(), TLSTimeout: 2},
			option: func(o *nats.Options) error {
				return errors.Join(nats.RootCAs(ca.path)(o), nats.ClientCert(ca.cert, ca.key)(o))
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := natsServer(t, test.server).Addr().String()
			s, _ := open(t, test.scheme+"://"+test.user+address+"?stream=S"+test.options)
			if err := errors.Join(deliver(t, s, block(1, 3)), s.Close()); err != nil {
				t.Fatal(err)
			}
			if found := natsMessages(t, address, "S", 3, test.option); len(found) != 3 {
				t.Error(found)
			}
			wrong, _ := open(t, "nats://u:wr0ng@"+address+"?timeout=1s")
			if err := deliver(t, wrong, block(1, 1)); err == nil || isPermanent(err) || strings.Contains(err.Error(), "wr0ng") {
				t.Error(err)
			} else {
				t.Log(err)
			}
		})
	}
}

// A credentials file: a token (JWT) and the key that signs what the server asks.
func TestNATSCredentials(t *testing.T) {
	key := func(make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		pair, err := make()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return pair, public
	}
	operator, operatorID := key(nkeys.CreateOperator)
	account, accountID := key(nkeys.CreateAccount)
	user, userID := key(nkeys.CreateUser)
	operatorClaims, accountClaims := jwt.NewOperatorClaims(operatorID), jwt.NewAccountClaims(accountID)
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1}
	_, err := operatorClaims.Encode(operator)
	accountToken, accountErr := accountClaims.Encode(operator)
	userToken, userErr := jwt.NewUserClaims(userID).Encode(account)
	seed, seedErr := user.Seed()
	text, textErr := jwt.FormatUserConfig(userToken, seed)
	if err := errors.Join(err, accountErr, userErr, seedErr, textErr); err != nil {
		t.Fatal(err)
	}
	resolver := &natsd.MemAccResolver{}
	path := filepath.Join(t.TempDir(), "creds")
	if err := errors.Join(resolver.Store(accountID, accountToken), os.WriteFile(path, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, systemID := key(nkeys.CreateAccount)
	systemToken, err := jwt.NewAccountClaims(systemID).Encode(operator)
	if err := errors.Join(err, resolver.Store(systemID, systemToken)); err != nil {
		t.Fatal(err)
	}
	address := natsServer(t, natsd.Options{TrustedOperators: []*jwt.OperatorClaims{operatorClaims}, AccountResolver: resolver, SystemAccount: systemID}).Addr().String()
	s, _ := open(t, "nats://"+address+"?stream=S&creds="+path)
	if err := errors.Join(deliver(t, s, block(1, 3)), s.Close()); err != nil {
		t.Fatal(err)
	}
	if found := natsMessages(t, address, "S", 3, nats.UserCredentials(path)); len(found) != 3 {
		t.Error(found)
	}
	without, _ := open(t, "nats://"+address+"?stream=S&timeout=1s")
	if err := deliver(t, without, block(1, 1)); err == nil {
		t.Error("delivered without credentials")
	}
}

// Names stay inside their part of the subject, and the stream takes them all.
func TestNATSSubjects(t *testing.T) {
	address := natsServer(t, natsd.Options{}).Addr().String()
	s, _ := open(t, "nats://"+address+"?stream=S&subject=dns.{event}.q-{qname}.{process}.x")
	lines := map[string]string{
		`{"event":"e","dns":{"questions":[{"name":"www.example","type":"A"}]},"process":{"comm":"dig"}}`: "dns.e.q-www%2Eexample.dig.x",
		`{"event":"e","dns":{"questions":[{"name":"*.>. \\\"","type":"A"}]}}`:                            "dns.e.q-%2A%2E%3E%2E%20%5C%22._.x",
		`{"event":"e","dns":{"questions":[]},"process":{"comm":"$SYS"}}`:                                 "dns.e.q-_.%24SYS.x",
		`{"event":"` + strings.Repeat("y", 1000) + `"}`:                                                  "dns." + strings.Repeat("y", natsPart) + ".q-_._.x",
	}
	b := &Block{First: 1, source: "s-"}
	for line := range lines {
		b.Text, b.Events = append(append(b.Text, line...), '\n'), b.Events+1
	}
	if err := errors.Join(deliver(t, s, b), s.Close()); err != nil {
		t.Fatal(err)
	}
	for id, messages := range natsMessages(t, address, "S", len(lines)) {
		line := strings.Replace(string(messages[0].Data), `"event_id":"`+id+`",`, "", 1)
		if messages[0].Subject != lines[line] {
			t.Errorf("%s: %s", line, messages[0].Subject)
		}
		delete(lines, line)
	}
	if len(lines) > 0 {
		t.Error("missing:", lines)
	}
}

// What the server will never take is refused, alone; what it may take later is not.
func TestNATSRefusals(t *testing.T) {
	address := natsServer(t, natsd.Options{MaxPayload: 4096}).Addr().String()
	s, _ := open(t, "nats://"+address+"?subject=a.b&timeout=10s")
	if err := deliver(t, s, block(1, 3)); err == nil || isPermanent(err) || !strings.Contains(err.Error(), "no stream takes the subject a.b") {
		t.Error(err)
	}
	conn, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err == nil {
		_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.*"}, MaxMsgSize: 1024})
	}
	if err != nil {
		t.Fatal(err)
	}
	b := block(1, 3)
	for _, size := range []int{2000, 5000} { // too large for the stream, for the server
		b.Text, b.Events = fmt.Appendf(b.Text, "{\"x\":%q}\n", strings.Repeat("x", size)), b.Events+1
	}
	b.Text = append(b.Text, block(6, 1).Text...)
	b.Events++
	var p *partly
	if err := deliver(t, s, b); !errors.As(err, &p) || p.refused != 2 {
		t.Error(err)
	}
	if found := natsMessages(t, address, "S", 4); len(found) != 4 {
		t.Error(found)
	}
	for url, want := range map[string]string{
		"nats://h?format=dnstap":              "is a stream",
		"nats://h?subject=a.{qnam}":           "did you mean qname",
		"nats://h?subject=a.{qname":           "unknown part",
		"nats://h?subject=a..b":               "no subject to publish to",
		"nats://h?subject=a.*":                "no subject to publish to",
		"nats://h?subject={event}&format=csv": "need format json",
		"nats://h?servers=a":                  "HOST:PORT",
		"nats://h/x":                          "no path",
		"nats://h?ca=/x":                      "ca is for TLS",
		"nats://h?replicas=3":                 "stream=",
		"nats://h?creds=/nowhere":             "/nowhere",
	} {
		if why := refusedBy(url); !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
}

// A server that says nothing is left within the timeout, and at once when nothing more
// is to be tried.
func TestNATSSilence(t *testing.T) {
	hold := make(chan struct{})
	r := listen(t, "tcp", nil, func(net.Conn) { <-hold })
	defer close(hold)
	s, _ := open(t, "nats://"+r.address+"?timeout=300ms")
	begin := time.Now()
	if err := deliver(t, s, block(1, 1)); err == nil || time.Since(begin) > testGrace {
		t.Error(err, time.Since(begin))
	}
	s, _ = open(t, "nats://"+r.address+"?timeout=1h")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Deliver(ctx, block(1, 1)); err == nil || time.Since(begin) > testGrace {
		t.Error(err, time.Since(begin))
	}
}

// refusedBy is refused, with the format's frame known.
func refusedBy(url string) string {
	target, err := Parse(url)
	if err == nil {
		target.Binary = target.Format == "dnstap"
		_, err = target.Kind.Open(target)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func natsStandIn(options string) func(*testing.T) (string, func() []string) {
	return func(t *testing.T) (string, func() []string) {
		address := natsServer(t, natsd.Options{}).Addr().String()
		return "nats://" + address + "?stream=S" + options, func() (list []string) {
			for id, messages := range natsMessages(t, address, "S", 0) {
				for _, m := range messages {
					if strings.HasPrefix(string(m.Data), "{") && !strings.HasPrefix(string(m.Data), `{"event_id":"`+id+`",`) {
						t.Errorf("%s: %s", id, m.Data)
					}
					list = append(list, string(m.Data))
				}
			}
			return list
		}
	}
}
