package proc

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("root:x:0:0:root:/root:/bin/sh\n# no line\nbad:x:y:0\ntoor:x:0:0::/:/bin/sh\nbob:x:1000:1000::/home/bob:\n+\n")
	u := users{path: file}
	now := time.Now().UnixNano()
	want := func(uid uint32, name string) {
		t.Helper()
		if got := u.name(uid, now); got != name {
			t.Errorf("user %d is %q, want %q", uid, got, name)
		}
	}
	want(0, "root")
	want(1000, "bob")
	want(1001, "")
	write("root:x:0:0::/:\nalice:x:1001:1001::/:\n")
	now += checkUsers / 2
	want(1001, "")
	now += checkUsers
	want(1001, "alice")
	want(1000, "")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	now += checkUsers
	want(0, "")
}
