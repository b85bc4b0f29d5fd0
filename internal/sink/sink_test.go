package sink

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// open returns the sink and target of a URL.
func open(t testing.TB, url string) (Sink, *Target) {
	t.Helper()
	target, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	target.Name = "t"
	target.Log = t.Logf
	nothing := func(dst []byte) []byte { return dst }
	target.Header, target.Trailer = nothing, nothing
	s, err := target.Kind.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	return s, target
}

// refused returns why a URL is refused, or "".
func refused(url string) string {
	target, err := Parse(url)
	if err == nil {
		_, err = target.Kind.Open(target)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// block returns a block of n lines of JSON that begin at number first.
func block(first, n int) *Block {
	b := &Block{First: uint64(first), Events: n, source: "host-0123abcd-t-"}
	for i := range n {
		b.Text = fmt.Appendf(b.Text, `{"time":"2026-11-18T11:06:41.000000005Z","n":%d,"name":"a\\010<b>\\\"%%.example"}`+"\n", first+i)
	}
	return b
}

// receiver is a server that is told what to do with each connection.
type receiver struct {
	t       testing.TB
	network string
	address string
	config  *tls.Config
	handle  func(net.Conn)

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

// listen starts a receiver on a free address, or with TLS.
func listen(t testing.TB, network string, config *tls.Config, handle func(net.Conn)) *receiver {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	r := &receiver{t: t, network: network, address: address, config: config, handle: handle}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *receiver) start() {
	r.t.Helper()
	l, err := net.Listen(r.network, r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.listener, r.conns, r.address = l, map[net.Conn]bool{}, l.Addr().String()
	r.mu.Unlock()
	r.wg.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			conn := raw
			if r.config != nil {
				conn = tls.Server(raw, r.config)
			}
			r.mu.Lock()
			if r.listener != l {
				r.mu.Unlock()
				conn.Close()
				return
			}
			r.conns[raw] = true
			r.mu.Unlock()
			r.wg.Go(func() {
				defer conn.Close()
				r.handle(conn)
			})
		}
	})
}

// stop ends the receiver with all its connections, as if it had been killed.
func (r *receiver) stop() {
	r.mu.Lock()
	if r.listener != nil {
		r.listener.Close()
		r.listener = nil
	}
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// lines collects what comes line by line.
type lines struct {
	mu   sync.Mutex
	list []string
}

func (l *lines) read(conn io.Reader) {
	in := bufio.NewReaderSize(conn, 1<<16)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		l.add(strings.TrimSuffix(line, "\n"))
	}
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, line)
}

func (l *lines) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.list...)
}

// deliver delivers within the time that any sink may take here.
func deliver(t testing.TB, s Sink, b *Block) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return s.Deliver(ctx, b)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, time.Minute, what, ok)
}

// authority makes certificates for 127.0.0.1 and the name sink.example.
type authority struct {
	path   string // of the certificate to trust
	server *tls.Config
	// Of a client that the server believes.
	cert, key string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	dir := t.TempDir()
	write := func(name, typ string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	make := func(name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			DNSNames: []string{"sink.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if parent == nil {
			parent, signer = c, key
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	caDER, caKey := make("authority", nil, nil)
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	serverDER, serverKey := make("server", ca, caKey)
	clientDER, clientKey := make("client", ca, caKey)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	keyDER, err := x509.MarshalPKCS8PrivateKey(clientKey)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{
		path: write("ca.pem", "CERTIFICATE", caDER),
		cert: write("cert.pem", "CERTIFICATE", clientDER), key: write("key.pem", "PRIVATE KEY", keyDER),
		server: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{serverDER}, PrivateKey: serverKey}},
			ClientCAs:    pool, ClientAuth: tls.VerifyClientCertIfGiven,
		},
	}
}

// numbers returns how often each number of lines of block was seen.
func numbers(t testing.TB, list []string) map[int]int {
	t.Helper()
	seen := map[int]int{}
	for _, line := range list {
		_, rest, _ := strings.Cut(line, `"n":`)
		digits, _, _ := strings.Cut(rest, ",")
		n, err := strconv.Atoi(digits)
		if err != nil {
			t.Fatalf("not one of ours: %q", line)
		}
		seen[n]++
	}
	return seen
}

// testGrace is for how long queues deliver at their end: what has not come by then
// never will, on however busy a machine.
const testGrace = time.Minute

// Settings are shown to people, and end in tickets.
func TestMask(t *testing.T) {
	for text, want := range map[string]string{
		"json:/var/log/a,b.json":                  "json:/var/log/a,b.json",
		"kafka://h:9092/dns?format=ecs":           "kafka://h:9092/dns?format=ecs",
		"https://u:se%40cret@h:1/x?y=1":           "https://u:[hidden]@h:1/x?y=1",
		"loki://1234:${LOKI_TOKEN}@h?labels=a=b":  "loki://1234:${LOKI_TOKEN}@h?labels=a=b",
		"loki://1234:${LOKI_TOKEN}x@h?labels=a=b": "loki://1234:[hidden]@h?labels=a=b",
		"elastic://h?api-key=abc&index=i":         "elastic://h?api-key=[hidden]&index=i",
		"https://h?token=abc&token-file=/x":       "https://h?token=[hidden]&token-file=/x",
		"nats://h?password=${P}":                  "nats://h?password=${P}",
	} {
		if got := Mask(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
