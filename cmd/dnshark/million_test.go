package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

const million = 1_000_000

// usage runs a command, its output thrown away, and returns the CPU time and
// the largest memory of it.
func usage(t *testing.T, name string, args ...string) (cpu time.Duration, rssMiB int64) {
	t.Helper()
	cmd := exec.Command(name, args...)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	errs := &testkit.Buffer{}
	cmd.Stdout, cmd.Stderr = null, errs
	if rssMiB, err = runWatched(cmd); err != nil {
		t.Fatalf("%s: %v: %s", name, err, errs)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), rssMiB
}

// runWatched runs a command and returns its largest memory, in MiB, as far as it
// was seen. What the kernel tells at the end holds that of the process it was
// forked from too.
func runWatched(cmd *exec.Cmd) (rssMiB int64, err error) {
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- watchMemory(cmd.Process.Pid, done) }()
	err = cmd.Wait()
	close(done)
	return <-peak, err
}

func watchMemory(pid int, done <-chan struct{}) (peak int64) {
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err == nil {
			_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
			var kib int64
			if _, err := fmt.Sscan(string(rest), &kib); err == nil {
				peak = max(peak, kib>>10)
			}
		}
		select {
		case <-done:
			return peak
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A million responses, with their queries, go through in constant memory and at
// least 20 times faster than through tshark, in the same run.
func TestMillionResponses(t *testing.T) {
	testkit.NeedPrograms(t, "tshark")
	if testing.Short() {
		t.Skip("skipped: it takes minutes, and -short was given")
	}
	file := filepath.Join(t.TempDir(), "million.pcap")
	writeResponses(t, file, million)

	bin := testkit.Dnshark(t)
	lines := countLines(t, exec.Command(bin, "read", "-q", "-o", "json", file))
	if lines != million {
		t.Errorf("%d events, want %d", lines, million)
	}
	// The other program detects nothing, so here detectors are off.
	ours, rss := usage(t, bin, "read", "-q", "-o", "json", "-e", "net_packet_dns_response", file)
	theirs, theirRSS := usage(t, "tshark", "-n", "-r", file, "-Y", "dns.flags.response==1", "-T", "fields",
		"-e", "frame.time_epoch", "-e", "ip.src", "-e", "ip.dst", "-e", "dns.id", "-e", "dns.flags.rcode",
		"-e", "dns.qry.name", "-e", "dns.qry.type", "-e", "dns.resp.name", "-e", "dns.resp.type", "-e", "dns.resp.ttl",
		"-e", "dns.a", "-e", "dns.aaaa")
	ratio := float64(theirs) / float64(ours)
	t.Logf("%d responses: dnshark %.2f s CPU, %d MiB; tshark %.2f s CPU, %d MiB; ratio %.0f",
		million, ours.Seconds(), rss, theirs.Seconds(), theirRSS, ratio)
	if rss >= 64 {
		t.Errorf("memory %d MiB, want less than 64", rss)
	}
	if ratio < 20 {
		t.Errorf("%.1f times faster than tshark, want at least 20", ratio)
	}
	// With 65,536 clients hardly anything repeats: detectors have the most to do.
	detecting, rss := usage(t, bin, "read", "-q", "-o", "none", file)
	plain, _ := usage(t, bin, "read", "-q", "-o", "none", "-e", "net_packet_dns_response", file)
	t.Logf("detectors: %.0f ns per message, %d MiB in all", float64(detecting-plain)/(2*million), rss)
	if rss >= 160 {
		t.Errorf("memory %d MiB with detectors, want less than 160", rss)
	}
}

// BenchmarkRead is the whole program, from the file to the JSON. Its CPU profile
// is what `make profile` gives to the compiler.
func BenchmarkRead(b *testing.B) {
	const responses = 100_000
	file := filepath.Join(b.TempDir(), "responses.pcap")
	writeResponses(b, file, responses)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		if code := mainExit([]string{"read", "-q", "-o", "json", file}, nil, null, os.Stderr); code != 0 {
			b.Fatalf("exit code %d", code)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/responses, "ns/response")
}

func countLines(t *testing.T, cmd *exec.Cmd) (lines int) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		chunk, err := r.ReadSlice('\n')
		if err == io.EOF {
			break
		}
		if err != nil && err != bufio.ErrBufferFull {
			t.Fatal(err)
		}
		if chunk[len(chunk)-1] == '\n' {
			lines++
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// writeResponses writes a capture of a busy resolver with so many responses and
// their queries: 50,000 names, the records that real answers hold, and clients
// that ask 100,000 times a second.
func writeResponses(t testing.TB, path string, responseCount int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	capture, err := testkit.NewCapture(w)
	if err != nil {
		t.Fatal(err)
	}
	const distinct = 50_000
	var queries, responses [distinct][]byte
	for i := range distinct {
		queries[i], responses[i] = exchange(t, i)
	}
	server := netip.MustParseAddrPort("198.51.100.53:53")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	for i := range responseCount {
		// Few names are asked often, most are rare.
		n := i % distinct
		if i%3 != 0 {
			n = i * 7919 % 997
		}
		id := uint16(i*31 + 7)
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(1024+i%60000))
		for _, m := range [2][]byte{queries[n], responses[n]} {
			m[0], m[1] = byte(id>>8), byte(id)
		}
		if err := capture.UDP(now, client, server, queries[n]); err != nil {
			t.Fatal(err)
		}
		if err := capture.UDP(now+3_000, server, client, responses[n]); err != nil {
			t.Fatal(err)
		}
		now += 10_000
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// exchange returns the i-th question and its answer.
func exchange(t testing.TB, i int) (query, response []byte) {
	t.Helper()
	name := fmt.Sprintf("host%d.zone%d.example.", i, i%700)
	types := []uint16{dns.TypeA, dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeAAAA, dns.TypeMX, dns.TypeTXT, dns.TypePTR, dns.TypeSRV, dns.TypeHTTPS}
	q := new(dns.Msg)
	q.SetQuestion(name, types[i%len(types)])
	q.SetEdns0(1232, i%4 == 0)
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg)
	r.SetReply(q)
	r.Compress = true
	r.RecursionAvailable = true
	r.SetEdns0(1232, i%4 == 0)
	add := func(section *[]dns.RR, format string, args ...any) {
		rr, err := dns.NewRR(fmt.Sprintf(format, args...))
		if err != nil {
			t.Fatal(err)
		}
		*section = append(*section, rr)
	}
	if i%12 == 11 {
		r.Rcode = dns.RcodeNameError
		add(&r.Ns, "example. 900 IN SOA ns1.example. hostmaster.example. %d 7200 3600 1209600 300", i)
	} else {
		switch q.Question[0].Qtype {
		case dns.TypeA:
			owner := name
			if i%3 == 0 {
				owner = fmt.Sprintf("edge%d.cdn.example.net.", i%90)
				add(&r.Answer, "%s 300 IN CNAME %s", name, owner)
			}
			for j := range 1 + i%3 {
				add(&r.Answer, "%s 60 IN A 203.0.113.%d", owner, (i+j)%256)
			}
		case dns.TypeAAAA:
			add(&r.Answer, "%s 60 IN AAAA 2001:db8::%x", name, i%65536)
		case dns.TypeMX:
			add(&r.Answer, "%s 3600 IN MX 10 mx1.%s", name, name)
			add(&r.Answer, "%s 3600 IN MX 20 mx2.%s", name, name)
		case dns.TypeTXT:
			add(&r.Answer, `%s 3600 IN TXT "v=spf1 include:_spf%d.example.com -all"`, name, i)
		case dns.TypePTR:
			add(&r.Answer, "%s 3600 IN PTR ptr%d.example.org.", name, i)
		case dns.TypeSRV:
			add(&r.Answer, "%s 600 IN SRV 1 2 443 srv%d.example.org.", name, i)
		case dns.TypeHTTPS:
			add(&r.Answer, `%s 300 IN HTTPS 1 . alpn="h2,h3" ipv4hint="203.0.113.7"`, name)
		}
		if i%5 == 0 {
			add(&r.Ns, "example. 172800 IN NS ns1.example.")
			add(&r.Extra, "ns1.example. 172800 IN A 198.51.100.1")
		}
	}
	if response, err = r.Pack(); err != nil {
		t.Fatal(err)
	}
	return query, response
}
