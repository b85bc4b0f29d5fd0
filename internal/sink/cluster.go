package sink

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// servers returns HOST:PORT of the URL and of the option servers.
func (t *Target) servers(port string) (list []string, err error) {
	if t.URL.Hostname() == "" {
		return nil, errors.New("the URL needs a host")
	}
	if strings.Trim(t.URL.Path, "/") != "" {
		return nil, errors.New("the URL has no path; see the options")
	}
	host := t.URL.Host
	if t.URL.Port() == "" {
		host = net.JoinHostPort(t.URL.Hostname(), port)
	}
	list = append(list, host)
	if more := t.Text("servers"); more != "" {
		for _, server := range strings.Split(more, ",") {
			if host, port, err := net.SplitHostPort(server); err != nil || host == "" || port == "" {
				return nil, fmt.Errorf("servers: %q is no HOST:PORT", server)
			}
			list = append(list, server)
		}
	}
	return list, nil
}

// clusterTLS is tlsConfig for clients of several servers, which fill in the name of
// each.
func (t *Target) clusterTLS() (*tls.Config, error) {
	config, err := t.tlsConfig()
	if config != nil {
		config.ServerName = t.Text("server-name")
	}
	return config, err
}

// refuseBinary returns an error when events are not lines.
func (t *Target) refuseBinary() error {
	if t.Binary {
		return fmt.Errorf("a message carries an event, and format %s is a stream", t.Format)
	}
	return nil
}

// jsonFormats are those of which every line is a JSON object.
var jsonFormats = []string{"json", "tracee", "tracee-v1beta1", "eve", "zeek", "cof", "ecs", "ocsf", "rfc8427"}

// needJSON returns an error when events are not JSON.
func (t *Target) needJSON() error {
	if !slices.Contains(jsonFormats, t.Format) {
		return fmt.Errorf("it takes JSON: one of the formats %s, and not %s", strings.Join(jsonFormats, ", "), t.Format)
	}
	return nil
}
