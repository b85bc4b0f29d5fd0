package proc

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"dig @127.0.0.1 example.com", "dig @127.0.0.1 example.com"},
		{"curl -s https://example.com/a?page=2", "curl -s https://example.com/a?page=2"},
		{"x --password hunter2 --host h", "x --password [redacted] --host h"},
		{"x --password=hunter2 --host h", "x --password=[redacted] --host h"},
		{"x --db-pass=hunter2", "x --db-pass=[redacted]"},
		{"x -apiKey hunter2 y", "x -apiKey [redacted] y"},
		{"x --API_TOKEN hunter2", "x --API_TOKEN [redacted]"},
		{"env AWS_SECRET_ACCESS_KEY=hunter2 aws s3", "env AWS_SECRET_ACCESS_KEY=[redacted] aws s3"},
		{"curl -H Authorization:_Bearer_hunter2", "curl -H Authorization:[redacted]"},
		{"curl -H X-Api-Key:hunter2", "curl -H X-Api-Key:[redacted]"},
		{"curl https://bob:hunter2@example.com/x", "curl https://bob:[redacted]@example.com/x"},
		{"curl https://bob:hun/ter@2@example.com/x", "curl https://bob:[redacted]@example.com/x"},
		{"git clone https://hunter2@example.com/x", "git clone https://[redacted]@example.com/x"},
		{"git clone ssh://git@example.com/x", "git clone ssh://git@example.com/x"},
		{"curl https://example.com/?user=b&token=hunter2&x=y", "curl https://example.com/?user=b&token=[redacted]"},
		{`curl -d {"user":"b","password":"hunter2"}`, `curl -d {"user":"b","password":[redacted]`},
		{"curl -u bob:hunter2 https://example.com", "curl -u bob:[redacted] https://example.com"},
		{"setpriv --user bob", "setpriv --user bob"},
		{"sh -c curl_-u_bob:hunter2_https://example.com", "sh -c curl_-u_bob:[redacted]"},
		{"sh -c PGPASSWORD=hunter2_psql", "sh -c PGPASSWORD=[redacted]"},
		{"sh -c x_--secret_hunter2", "sh -c x_--secret_[redacted]"},
		{"redis-cli AUTH hunter2", "redis-cli AUTH [redacted]"},
		{"passwd bob", "passwd bob"},
		{"ssh-keygen -t rsa", "ssh-keygen -t rsa"},
		{"x --key", "x --key"},
	} {
		// An underscore between words stands for a space inside an argument.
		octets := func(s string) string {
			s = strings.ReplaceAll(s, " ", "\x00") + "\x00"
			for _, w := range []string{":_", "_-", "_hunter2", "_bob", "_https", "_psql", "_[", "_Bearer"} {
				s = strings.ReplaceAll(s, w, strings.ReplaceAll(w, "_", " "))
			}
			return s
		}
		if got := Redact(octets(test.args)); got != octets(test.want) {
			t.Errorf("%q becomes %q, want %q", octets(test.args), got, octets(test.want))
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("curl\x00https://a:b@c\x00--key\x00v\x00")
	f.Fuzz(func(t *testing.T, args string) {
		got := Redact(args)
		if strings.Count(got, "\x00") != strings.Count(args, "\x00") {
			t.Errorf("%q becomes %q: another number of arguments", args, got)
		}
		// A forked process may have arguments that were redacted before.
		if again := Redact(got); again != got {
			t.Errorf("%q becomes %q and then %q", args, got, again)
		}
	})
}
