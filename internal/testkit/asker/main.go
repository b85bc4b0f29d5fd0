//go:build linux

// Asker is a program for tests: a process that asks DNS questions in every way
// in which sockets can be used, on command. It reads commands from standard
// input, a line each, and answers each with a line: "ok", a number, or "error".
//
// Sockets have names, which are the first argument of most commands:
//
//	socket S udp4|udp6|udp46|tcp4|tcp6|tcp46   46 is IPv6 with a mapped address
//	bind S PORT           with SO_REUSEPORT, on any address
//	connect S             to the server
//	ask S HOW ID NAME...  one question per name: send write sendto sendmsg sendmmsg uring, or
//	                      corked: kept by TCP until flush
//	part S OCTETS AT N    octets AT to AT+N of a question over TCP: part S ID NAME AT N
//	flush S
//	take S HOW            one answer: recv read recvfrom recvmsg recvmmsg uring; its id
//	give S PID            to another asker (SCM_RIGHTS)
//	get S                 what was given
//	child S HOW ID NAME   the same as ask, by a child process, whose id is the answer
//	close S
//	forge PORT ID NAME    an answer from 127.0.0.2 to 127.0.0.1:PORT, to a question that nobody asked
//	queue -               lets pass, from now on, what netfilter queues (NFQUEUE 0)
//	burst TAG N           N questions about TAG-i over a few sockets, with their answers
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const port = 53

var (
	sockets = map[string]*socket{}
	mailbox = -1 // where other askers send sockets
)

type socket struct {
	fd     int
	kind   string
	server unix.Sockaddr
	rest   []byte // TCP: what was read beyond the last answer
}

func main() {
	if len(os.Args) > 1 { // a child, whose socket is descriptor 3
		s := &socket{fd: 3, kind: os.Args[1], server: serverOf(os.Args[1])}
		if _, err := s.ask(os.Args[2], os.Args[3], os.Args[4:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var err error
	if mailbox, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		err = unix.Bind(mailbox, address(os.Getpid()))
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("ok")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		args := strings.Fields(in.Text())
		if result, err := do(args[0], args[1], args[2:]); err != nil {
			fmt.Println("error", err)
		} else {
			fmt.Println(result)
		}
	}
}

// address is where an asker gets its mail: an abstract name.
func address(pid int) *unix.SockaddrUnix {
	return &unix.SockaddrUnix{Name: "@dnshark-asker-" + strconv.Itoa(pid)}
}

func serverOf(kind string) unix.Sockaddr {
	switch kind[3:] {
	case "4":
		return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	case "46":
		return &unix.SockaddrInet6{Port: port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	}
	return &unix.SockaddrInet6{Port: port, Addr: netip.IPv6Loopback().As16()}
}

func do(command, name string, args []string) (any, error) {
	switch command {
	case "socket":
		s, err := open(args[0])
		sockets[name] = s
		return "ok", err
	case "get":
		s, err := get()
		sockets[name] = s
		return "ok", err
	case "queue":
		return "ok", queue()
	case "forge":
		to, _ := strconv.Atoi(name)
		id, _ := strconv.Atoi(args[0])
		return "ok", forge(to, uint16(id), args[1])
	case "burst":
		n, _ := strconv.Atoi(args[0])
		return "ok", burst(name, n)
	}
	s := sockets[name]
	if s == nil {
		return nil, fmt.Errorf("no socket %s", name)
	}
	switch command {
	case "bind":
		n, _ := strconv.Atoi(args[0])
		return "ok", s.bind(n)
	case "connect":
		return "ok", unix.Connect(s.fd, s.server)
	case "ask":
		return s.ask(args[0], args[1], args[2:])
	case "part":
		at, _ := strconv.Atoi(args[2])
		n, _ := strconv.Atoi(args[3])
		id, _ := strconv.Atoi(args[0])
		_, err := unix.Write(s.fd, s.question(uint16(id), args[1])[at:][:n])
		return "ok", err
	case "flush":
		return "ok", unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_CORK, 0)
	case "take":
		return s.take(args[0])
	case "give":
		pid, _ := strconv.Atoi(args[0])
		return "ok", unix.Sendmsg(mailbox, []byte(s.kind), unix.UnixRights(s.fd), address(pid), 0)
	case "child":
		return s.child(args)
	case "close":
		delete(sockets, name)
		return "ok", unix.Close(s.fd)
	}
	return nil, errors.New("unknown command")
}

func open(kind string) (*socket, error) {
	family, typ := unix.AF_INET6, unix.SOCK_DGRAM
	if kind[3:] == "4" {
		family = unix.AF_INET
	}
	if kind[:3] == "tcp" {
		typ = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// Nobody waits for ever.
	limit := unix.Timeval{Sec: 3}
	return &socket{fd: fd, kind: kind, server: serverOf(kind)},
		errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
}

func (s *socket) bind(port int) error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	if s.kind[3:] == "4" {
		return unix.Bind(s.fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	return unix.Bind(s.fd, &unix.SockaddrInet6{Port: port})
}

func get() (*socket, error) {
	kind, oob := make([]byte, 16), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(mailbox, kind, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("%d control messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	return &socket{fd: fds[0], kind: string(kind[:n]), server: serverOf(string(kind[:n]))}, nil
}

// question returns a query for the name's IPv4 address, over TCP with its
// length (RFC 1035 section 4.2.2).
func (s *socket) question(id uint16, name string) []byte {
	be := binary.BigEndian
	q := make([]byte, 2, 300)
	q = append(be.AppendUint16(q, id), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	for label := range strings.SplitSeq(name, ".") {
		q = append(append(q, byte(len(label))), label...)
	}
	q = append(q, 0, 0, 1, 0, 1)
	be.PutUint16(q, uint16(len(q)-2))
	if s.kind[:3] == "udp" {
		return q[2:]
	}
	return q
}

func forge(to int, id uint16, name string) error {
	s, err := open("udp4")
	if err != nil {
		return err
	}
	defer unix.Close(s.fd)
	if err := unix.Bind(s.fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 2}}); err != nil {
		return err
	}
	answer := s.question(id, name)
	answer[2] |= 0x80 // QR
	return unix.Sendto(s.fd, answer, 0, &unix.SockaddrInet4{Port: to, Addr: [4]byte{127, 0, 0, 1}})
}

func (s *socket) ask(how, id string, names []string) (any, error) {
	n, _ := strconv.Atoi(id)
	var questions [][]byte
	for i, name := range names {
		questions = append(questions, s.question(uint16(n+i), name))
	}
	if s.kind[:3] == "tcp" { // all in one segment
		questions = [][]byte{join(questions)}
	}
	if how == "sendmmsg" {
		return "ok", s.sendmmsg(questions)
	}
	for _, q := range questions {
		if err := s.send(how, q); err != nil {
			return nil, err
		}
	}
	return "ok", nil
}

func join(list [][]byte) (all []byte) {
	for _, b := range list {
		all = append(all, b...)
	}
	return all
}

func (s *socket) send(how string, q []byte) (err error) {
	switch how {
	case "write":
		_, err = unix.Write(s.fd, q)
	case "sendto":
		err = unix.Sendto(s.fd, q, 0, s.server)
	case "sendmsg":
		_, err = unix.SendmsgBuffers(s.fd, [][]byte{q[:5], q[5:]}, nil, s.unconnected(), 0)
	case "send":
		err = unix.Send(s.fd, q, 0)
	case "corked":
		if err = unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_CORK, 1); err == nil {
			err = unix.Send(s.fd, q, 0)
		}
	case "uring":
		_, err = uring(opSend, s.fd, q)
	default:
		err = errors.New("unknown way to send")
	}
	return err
}

// unconnected is where a datagram goes that has no address of its own.
func (s *socket) unconnected() unix.Sockaddr {
	if _, err := unix.Getpeername(s.fd); err == nil {
		return nil
	}
	return s.server
}

// take receives an answer and returns its id.
func (s *socket) take(how string) (any, error) {
	buf := make([]byte, 4096)
	if s.kind[:3] == "udp" {
		n, err := s.receive(how, buf)
		if err != nil || n < 12 {
			return nil, fmt.Errorf("%d octets, %w", n, err)
		}
		return binary.BigEndian.Uint16(buf), nil
	}
	for {
		if b := s.rest; len(b) > 2 && len(b) >= 2+int(binary.BigEndian.Uint16(b)) {
			s.rest = b[2+int(binary.BigEndian.Uint16(b)):]
			return binary.BigEndian.Uint16(b[2:]), nil
		}
		n, err := s.receive(how, buf)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%d octets, %w", n, err)
		}
		s.rest = append(s.rest, buf[:n]...)
	}
}

func (s *socket) receive(how string, buf []byte) (n int, err error) {
	// The Go runtime's signals interrupt sockets with a time limit.
	for n, err = s.receiveOnce(how, buf); errors.Is(err, unix.EINTR); {
		n, err = s.receiveOnce(how, buf)
	}
	return n, err
}

func (s *socket) receiveOnce(how string, buf []byte) (n int, err error) {
	switch how {
	case "read":
		return unix.Read(s.fd, buf)
	case "recv", "recvfrom":
		n, _, err = unix.Recvfrom(s.fd, buf, 0)
		return n, err
	case "peek": // and then in earnest
		if _, _, err = unix.Recvfrom(s.fd, buf, unix.MSG_PEEK); err == nil {
			n, _, err = unix.Recvfrom(s.fd, buf, 0)
		}
		return n, err
	case "recvmsg":
		n, _, _, _, err = unix.RecvmsgBuffers(s.fd, [][]byte{buf[:7], buf[7:]}, nil, 0)
		return n, err
	case "recvmmsg":
		return s.recvmmsg(buf)
	case "uring":
		return uring(opRecv, s.fd, buf)
	}
	return 0, errors.New("unknown way to receive")
}

// child lets a child process, which inherits the socket, ask, and returns the
// child's id. The child is then gone.
func (s *socket) child(args []string) (any, error) {
	cmd := exec.Command("/proc/self/exe", append([]string{s.kind}, args...)...)
	fd, err := unix.Dup(s.fd)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	cmd.ExtraFiles, cmd.Stderr = []*os.File{file}, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return cmd.Process.Pid, nil
}

// burst asks n times over sockets of every kind and waits for each answer.
func burst(tag string, n int) error {
	ways := []struct{ kind, ask, take string }{
		{"udp4", "send", "recv"}, {"udp6", "sendto", "recvfrom"}, {"udp46", "write", "read"}, {"tcp4", "write", "read"},
	}
	all := make([]*socket, len(ways))
	for i, way := range ways {
		s, err := open(way.kind)
		if err != nil {
			return err
		}
		defer unix.Close(s.fd)
		if way.ask != "sendto" {
			if err := unix.Connect(s.fd, s.server); err != nil {
				return err
			}
		}
		all[i] = s
	}
	for i := range n {
		s, way := all[i%len(all)], ways[i%len(all)]
		// All processes use the same ids.
		if _, err := s.ask(way.ask, strconv.Itoa(i), []string{fmt.Sprintf("%s-%d.example.test", tag, i)}); err != nil {
			return err
		}
		if id, err := s.take(way.take); err != nil || id != uint16(i) {
			return fmt.Errorf("%s: answer %v to question %d: %w", way.kind, id, i, err)
		}
	}
	return nil
}
