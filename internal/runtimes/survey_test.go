package runtimes

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func survey(t *testing.T, socket string) Found {
	t.Helper()
	r, err := Parse([]string{socket})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	found := r.Survey(context.Background())
	if took := time.Since(begin); took > 4*askTimeout || len(found) != 1 {
		t.Fatalf("%+v after %v", found, took)
	}
	return found[0]
}

func TestSurvey(t *testing.T) {
	l, kubeSocket := listen(t)
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, kubelet{})
	go server.Serve(l)
	t.Cleanup(server.Stop)
	for socket, want := range map[string]Found{
		kubeSocket: {Runtime: "cri-o", Version: "1.30.2", API: "CRI v1"},
		engine(t, map[string]string{"Libpod-API-Version": "5.0.0"}, http.NotFound): {Runtime: "podman", Version: "5.0.0", API: "Engine API 1.41"},
	} {
		want.Path = strings.TrimPrefix(socket, "unix://")
		if got := survey(t, socket); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// What is wrong with a socket is said in words that help.
func TestSurveyProblems(t *testing.T) {
	stale := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	silent, silentSocket := listen(t)
	go func() {
		for {
			if _, err := silent.Accept(); err != nil {
				return
			}
		}
	}()
	rude, rudeSocket := listen(t)
	go func() {
		for {
			conn, err := rude.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "220 mail.example.test ESMTP\r\n")
			conn.Close()
		}
	}()
	for socket, want := range map[string]string{
		"unix://" + stale + "x": "there is no such socket",
		"unix://" + stale:       "nobody listens: is the runtime running?",
		silentSocket:            "no answer within 4s",
		rudeSocket:              "neither containerd's API nor CRI nor the Engine API is spoken there",
	} {
		if got := survey(t, socket); got.Problem != want || got.Runtime != "" {
			t.Errorf("%s: %+v, want %q", socket, got, want)
		}
	}
}

// Of the usual sockets, those that are not there are not worth a word.
func TestSurveyUsual(t *testing.T) {
	r := &Set{}
	r.add(&endpoint{path: filepath.Join(t.TempDir(), "none"), speaks: dialDocker})
	if found := r.Survey(context.Background()); found != nil {
		t.Errorf("%+v", found)
	}
}
