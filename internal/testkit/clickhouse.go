package testkit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ClickHouse is a server on ports of its own: Debian's (18.16), or the engine of
// today.
type ClickHouse struct {
	t       testing.TB
	Address string // HOST:PORT of its HTTP interface
	TCP     int    // port of Debian's
	command func() *exec.Cmd
	daemon  *Daemon
	query   string
}

// ClickHousePassword is that of the user agent.
const ClickHousePassword = "p a+s:s/@%"

const clickhouseConfig = `<?xml version="1.0"?>
<yandex>
 <logger><level>warning</level><log>DIR/log</log><errorlog>DIR/errors</errorlog></logger>
 <http_port>%d</http_port><tcp_port>%d</tcp_port><interserver_http_port>%d</interserver_http_port>
 <interserver_http_host>127.0.0.1</interserver_http_host><listen_host>127.0.0.1</listen_host>
 <mark_cache_size>67108864</mark_cache_size>
 <path>DIR/data/</path><tmp_path>DIR/tmp/</tmp_path><user_files_path>DIR/files/</user_files_path>
 <format_schema_path>DIR/schemas/</format_schema_path>
 <users_config>users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
 <remote_servers>%s</remote_servers>%s
</yandex>`

const clickhouseUsers = `<?xml version="1.0"?>
<yandex>
 <profiles><default></default></profiles>
 <users>
  <agent><password>p a+s:s/@%%</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></agent>
  <default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>
 </users>
 <quotas><default></default></quotas>
</yandex>`

// StartClickHouse starts Debian's server.
func StartClickHouse(t testing.TB) *ClickHouse {
	t.Helper()
	ports := FreePorts(t, 3)
	return startClickHouse(t, ports, "", "")
}

// ClickHouseShards starts a ZooKeeper and n servers, which are the shards of the
// cluster "fleet".
func ClickHouseShards(t testing.TB, n int) (list []*ClickHouse) {
	t.Helper()
	zookeeper := startZooKeeper(t)
	ports := FreePorts(t, 3*n)
	cluster := "<fleet>"
	for i := range n {
		cluster += fmt.Sprintf("<shard><internal_replication>true</internal_replication><replica><host>127.0.0.1</host><port>%d</port></replica></shard>", ports[3*i+1])
	}
	cluster += "</fleet>"
	for i := range n {
		more := fmt.Sprintf("<zookeeper><node><host>127.0.0.1</host><port>%d</port></node></zookeeper><macros><shard>s%d</shard><replica>r1</replica></macros>", zookeeper, i) +
			"<distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl>"
		list = append(list, startClickHouse(t, ports[3*i:], cluster, more))
	}
	return list
}

func startClickHouse(t testing.TB, ports []int, cluster, more string) *ClickHouse {
	t.Helper()
	NeedPrograms(t, "clickhouse-server")
	dir := t.TempDir()
	config := strings.ReplaceAll(fmt.Sprintf(clickhouseConfig, ports[0], ports[1], ports[2], cluster, more), "DIR", dir)
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "config.xml"), []byte(config), 0o600),
		os.WriteFile(filepath.Join(dir, "users.xml"), fmt.Appendf(nil, clickhouseUsers), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	s := &ClickHouse{t: t, Address: fmt.Sprintf("127.0.0.1:%d", ports[0]), TCP: ports[1]}
	s.command = func() *exec.Cmd {
		c := exec.Command("clickhouse-server", "--config-file="+filepath.Join(dir, "config.xml"))
		c.Dir = dir
		return c
	}
	s.Start()
	return s
}

// StartClickHouseToday starts the engine of today's ClickHouse, as the package chdb
// carries it, behind as much of the HTTP interface as dnshark speaks. Users and
// clusters it has none.
func StartClickHouseToday(t testing.TB) *ClickHouse {
	t.Helper()
	modules := filepath.Join(unpacked(t, "chdb"), "node_modules")
	ports := FreePorts(t, 1)
	dir := t.TempDir()
	s := &ClickHouse{t: t, Address: fmt.Sprintf("127.0.0.1:%d", ports[0])}
	s.command = func() *exec.Cmd {
		c := exec.Command("node", filepath.Join(Root(t), "internal/testkit/clickhouse.js"), fmt.Sprint(ports[0]), dir)
		c.Env = append(os.Environ(), "NODE_PATH="+modules)
		return c
	}
	s.Start()
	return s
}

// Start starts the server again after Stop.
func (s *ClickHouse) Start() {
	s.t.Helper()
	s.daemon = Start(s.t, s.command())
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if answer, err := http.Get("http://" + s.Address + "/ping"); err == nil {
			answer.Body.Close()
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("ClickHouse does not start: %s", s.daemon.Output)
		}
	}
}

// Stop kills the server.
func (s *ClickHouse) Stop() {
	s.daemon.Process.Kill()
	<-s.daemon.done
}

// Ask returns the answer to a query, without its last line feed.
func (s *ClickHouse) Ask(query string) string {
	s.t.Helper()
	text, err := s.Try(query)
	if err != nil {
		s.t.Fatalf("%s: %v; ended: %v; %s", query, err, s.daemon.Ended(), s.daemon.Output)
	}
	return text
}

// Try is Ask where errors are expected.
func (s *ClickHouse) Try(query string) (string, error) {
	r, err := http.NewRequest(http.MethodPost, "http://"+s.Address+"/"+s.query, strings.NewReader(query))
	if err != nil {
		return "", err
	}
	r.SetBasicAuth("agent", ClickHousePassword)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %s", answer.StatusCode, text)
	}
	return strings.TrimSuffix(string(text), "\n"), err
}

// RunIn is Run with a database.
func (s *ClickHouse) RunIn(database, statements string) {
	s.t.Helper()
	s.query = "?database=" + url.QueryEscape(database)
	defer func() { s.query = "" }()
	s.Run(statements)
}

// Run runs statements with a semicolon at the end of a line behind each.
func (s *ClickHouse) Run(statements string) {
	s.t.Helper()
	for statement := range strings.SplitSeq(statements, ";\n") {
		if strings.TrimSpace(statement) != "" {
			s.Ask(statement)
		}
	}
}

// startZooKeeper returns the port of a ZooKeeper.
func startZooKeeper(t testing.TB) int {
	t.Helper()
	NeedPrograms(t, "java")
	jars := filepath.Join(unpacked(t, "zookeeper"), "usr/share/java")
	dir, port := t.TempDir(), FreePorts(t, 1)[0]
	config := filepath.Join(dir, "zoo.cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, "tickTime=2000\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n", dir, port), 0o600); err != nil {
		t.Fatal(err)
	}
	var path []string
	for _, pattern := range []string{"zookeeper.jar", "zookeeper-jute.jar", "slf4j-api.jar", "slf4j-nop.jar", "netty-*.jar", "commons-cli.jar", "metrics-core.jar", "snappy-java.jar", "log4j-1.2.jar"} {
		found, _ := filepath.Glob(filepath.Join(jars, pattern))
		path = append(path, found...)
	}
	d := Start(t, exec.Command("java", "-Xmx256m", "-cp", strings.Join(path, ":"), "org.apache.zookeeper.server.quorum.QuorumPeerMain", config))
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		// It listens before it serves.
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			conn.SetDeadline(time.Now().Add(time.Second))
			conn.Write([]byte("srvr"))
			says, _ := io.ReadAll(conn)
			conn.Close()
			if strings.Contains(string(says), "Mode: ") {
				return port
			}
		}
		if time.Now().After(end) {
			t.Fatalf("ZooKeeper does not start: %s", d.Output)
		}
	}
}
