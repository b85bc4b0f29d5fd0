package web

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"
)

// assets is what `make ui` makes of ui/.
//
//go:embed assets
var assets embed.FS

// pages are the paths of the user interface, whose index.html decides what to show.
var pages = []string{"/{$}", "/live", "/alerts", "/search", "/name/", "/ip/", "/process/", "/container/"}

// uiRoutes serve the user interface. It tells nothing of what was seen: its data come
// from the API, with a token where there are tokens.
func uiRoutes() []route {
	files, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // the name is ours
	}
	index := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// An older page would ask for assets that are gone.
		w.Header().Set("Cache-Control", "no-cache")
		http.ServeFileFS(w, r, files, "index.html")
	})
	var list []route
	for _, path := range pages {
		list = append(list, route{"GET " + path, index})
	}
	return append(list, route{"GET /assets/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") {
			http.NotFound(w, r) // and no list
			return
		}
		// Names have a hash of what is in them.
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		http.FileServerFS(files).ServeHTTP(w, r)
	})})
}
