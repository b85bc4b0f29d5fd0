package web

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// The pages work under the policy that they come with: files of their own, nothing inline.
func TestPages(t *testing.T) {
	server := httptest.NewServer((&Server{}).handler())
	defer server.Close()
	get := func(path string) (*http.Response, string) {
		t.Helper()
		r, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(body)
	}
	_, index := get("/")
	for _, path := range []string{"/live", "/alerts", "/search?q=*.example.com", "/name/www.example.com", "/name/a%2Fb", "/ip/192.0.2.1", "/process/%2Fusr%2Fbin%2Fcurl", "/container/f2a9"} {
		if r, body := get(path); r.StatusCode != http.StatusOK || body != index || r.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %s, Cache-Control %q", path, r.Status, r.Header.Get("Cache-Control"))
		}
	}
	for _, path := range []string{"/other", "/assets/", "/assets/none.js", "/assets/index.html", "/index.html"} {
		if r, _ := get(path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	if found := regexp.MustCompile(`(?i)<style| style=| on[a-z]+=|<script[^>]*>[^<]`).FindString(index); found != "" {
		t.Errorf("index.html has %q, which the policy refuses", found)
	}
	linked := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(index, -1)
	if len(linked) < 3 {
		t.Fatalf("index.html links to %q", linked)
	}
	kinds := map[string]string{"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
	for _, m := range linked {
		r, body := get(m[1])
		kind := kinds[m[1][strings.LastIndexByte(m[1], '.')+1:]]
		if !strings.HasPrefix(m[1], "/assets/") || r.StatusCode != http.StatusOK || body == "" || kind == "" || !strings.HasPrefix(r.Header.Get("Content-Type"), kind) ||
			r.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %s, %v", m[1], r.Status, r.Header)
		}
	}
	// Nothing else is built in, above all no older build.
	if err := fs.WalkDir(assets, "assets/assets", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(index, strings.TrimPrefix(path, "assets")) {
			t.Errorf("%s is built in, and index.html does not know it", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
