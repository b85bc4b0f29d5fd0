package detect

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/internal/kind"
)

// literals are what the detectors' sources write into alerts.
type literals struct {
	kinds, techniques map[string]bool // of kinds also what is assigned later
	evidence          map[string]map[string]bool
}

// sources reads the files of the room, and returns the evidence keys by the file's detector.
func sources(t *testing.T) literals {
	t.Helper()
	l := literals{map[string]bool{}, map[string]bool{}, map[string]map[string]bool{}}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		threat := ""
		text := func(e ast.Expr) string {
			lit, ok := e.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return ""
			}
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "Threat" && n.Body != nil && len(n.Body.List) == 1 {
					threat = text(n.Body.List[0].(*ast.ReturnStmt).Results[0])
					l.evidence[threat] = map[string]bool{}
				}
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if s, ok := left.(*ast.SelectorExpr); ok && s.Sel.Name == "Kind" && i < len(n.Rhs) {
						l.kinds[text(n.Rhs[i])] = true
					}
				}
			case *ast.KeyValueExpr:
				key, ok := n.Key.(*ast.Ident)
				if s := text(n.Value); ok && s != "" {
					switch key.Name {
					case "Kind":
						l.kinds[s] = true
					case "Technique":
						l.techniques[s] = true
					case "Name":
						l.evidence[threat][s] = true
					}
				}
			case *ast.CompositeLit: // tunnelRule{kind, ...}, and what is passed to report
				if id, ok := n.Type.(*ast.Ident); ok && id.Name == "tunnelRule" {
					l.kinds[text(n.Elts[0])] = true
				}
			case *ast.CallExpr:
				for _, arg := range n.Args {
					if s := text(arg); kindOf(s) {
						l.kinds[s] = true
					}
				}
			}
			return true
		})
	}
	return l
}

func kindOf(s string) bool {
	return slices.ContainsFunc(kind.Incidents, func(in kind.Incident) bool { return in.Kind == s })
}

// The catalogue of incidents and the detectors know of each other: kinds, techniques,
// threats, numbers.
func TestCatalogue(t *testing.T) {
	l := sources(t)
	ids, catalogued := map[uint32]bool{}, map[string]bool{}
	techniques := map[string]bool{}
	for _, in := range kind.Incidents {
		catalogued[in.Kind], techniques[in.Technique] = true, true
		if ids[in.ID] || in.ID < 1000 || in.ID > 9999 || in.Seen == "" || in.Alike == "" {
			t.Errorf("%+v", in)
		}
		ids[in.ID] = true
		if !l.kinds[in.Kind] {
			t.Errorf("no detector makes %s", in.Name())
		}
		if kind.FindTechnique(in.Technique) == nil {
			t.Errorf("%s: technique %s is not listed", in.Name(), in.Technique)
		}
		if _, ok := l.evidence[in.Threat]; !ok {
			t.Errorf("%s: there is no such detector", in.Threat)
		}
	}
	delete(l.kinds, "") // assigned from another value
	for name := range l.kinds {
		if !catalogued[name] {
			t.Errorf("a detector makes %q, which kind.Incidents does not list", name)
		}
	}
	if !maps.Equal(techniques, l.techniques) {
		t.Errorf("techniques %v, detectors say %v", techniques, l.techniques)
	}
}

// TestAlertsPage compares docs/alerts.md with the tables that it is made of and with the
// detectors' sources. UPDATE=1 writes it.
func TestAlertsPage(t *testing.T) {
	l := sources(t)
	var b bytes.Buffer
	b.WriteString(alertsHead)
	for _, make := range detectors {
		threat := make(&Options{Rules: &Rules{}}).Threat()
		k, ok := kind.Find(threat)
		if !ok {
			t.Fatal(threat)
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s%s.\n\n| kind | number | ATT&CK | what is seen | what looks alike |\n|---|---|---|---|---|\n", threat, strings.ToUpper(k.Summary[:1]), k.Summary[1:])
		for _, in := range kind.Incidents {
			if in.Threat != threat {
				continue
			}
			tech := kind.FindTechnique(in.Technique)
			fmt.Fprintf(&b, "| `%s` | %d | [%s](https://attack.mitre.org/techniques/%s/) %s, %s | %s | %s |\n", in.Kind, in.ID, tech.ID,
				strings.ReplaceAll(tech.ID, ".", "/"), tech.Name, tech.Tactic, in.Seen, in.Alike)
		}
		b.WriteString("\n| threshold | default | least | most | what it is |\n|---|---|---|---|---|\n")
		for i := range Thresholds {
			if th := &Thresholds[i]; th.Threat == threat {
				fmt.Fprintf(&b, "| `%s` | %.0f | %.0f | %.0f | %s |\n", th, th.Default, th.Min, th.Max, th.Doc)
			}
		}
		b.WriteString("\n| figure | of | what it is |\n|---|---|---|\n")
		keys := map[string]bool{}
		for _, f := range Figures {
			if f.Threat != threat {
				continue
			}
			if !slices.Contains(alertsOwn, f.Name) {
				keys[f.Name] = true
			}
			of := f.Kinds
			if of == "" {
				of = "all"
			}
			for one := range strings.SplitSeq(f.Kinds, ", ") {
				if one != "" && !kindOf(one) {
					t.Errorf("%s: there is no kind %s", f.Name, one)
				}
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, of, f.Doc)
		}
		if !maps.Equal(keys, l.evidence[threat]) {
			t.Errorf("%s: Figures has the keys %v, detectors say %v", threat, slices.Sorted(maps.Keys(keys)), slices.Sorted(maps.Keys(l.evidence[threat])))
		}
		fmt.Fprintf(&b, "\nNot to be told of it for one host: `--alert-suppress 'threat=%s client=192.0.2.7'`", threat)
		if slices.Contains([]string{"dns_tunnel", "dns_dga", "dns_c2", "dns_hijacking"}, threat) {
			fmt.Fprintf(&b, ";\nthat names of a domain are no evidence: `--alert-allow %s:telemetry.example`", threat)
		}
		b.WriteString(".\n")
	}
	b.WriteString("\n## Lists of domains that come with dnshark\n\n`--no-shipped-allow-lists` leaves them out. Each domain has its reason and source in the file, in\n`internal/detect/allow/`.\n\n| list | domains | no evidence of |\n|---|---|---|\n")
	byList, threats, order := map[string][]string{}, map[string]map[string]bool{}, []string{}
	for _, a := range Shipped() {
		if byList[a.List] == nil {
			order, threats[a.List] = append(order, a.List), map[string]bool{}
		}
		byList[a.List] = append(byList[a.List], a.Domain)
		for _, th := range a.Threats {
			threats[a.List][th] = true
		}
	}
	for _, list := range order {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", list, strings.Join(byList[list], ", "), strings.Join(slices.Sorted(maps.Keys(threats[list])), ", "))
	}
	const page = "../../docs/alerts.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is old; write it with UPDATE=1 go test ./internal/detect -run TestAlertsPage", page)
	}
}

const alertsHead = "# Alerts\n" + `
Made from the detectors; do not edit. An alert tells of an incident: what was seen, who, what it was
compared with, and figures that can be recomputed from the packets. While the incident goes on, updates
have the same ` + "`alert.id`" + `. ` + "`dnshark explain`" + ` tells alerts in words.

## Which alerts are told

What is said of alerts stands in policy files, which are read again when they change, and in
flags of the same meaning (` + "`--alert-*`" + `, see [configuration](configuration.md)):

` + "```yaml" + `
alerts:
  minimum-severity: low            # info, low, medium, high, critical
  severity:                        # of a threat, or of one of its kinds
    dns_zone_transfer: high
    dns_tunnel/not_dns_on_port: info
  thresholds:
    dns_tunnel.octets-up: 5000
  secondaries: [192.0.2.53, 2001:db8::/64]
  allow:                           # these and what is below them is no evidence
    - corp.example
    - {domain: telemetry.example, threat: [dns_tunnel, dns_c2], reason: reports of crashes}
  suppress:                        # alerts for which all of it holds are not told
    - {name: scanner, threat: dns_dga, client: 192.0.2.66, reason: tries names}
    - {threat: dns_tunnel/two_way, domain: vpn.example, process: iodine, container: prod/vpn-*}
` + "```" + `

` + "`dnshark config check`" + ` says what is wrong, with line and column.

- A **suppression** holds back alerts. Its keys: ` + "`threat`" + ` (or THREAT/KIND), ` + "`domain`" + ` (and all below it), ` + "`client`" + ` and
  ` + "`server`" + ` (address or prefix), ` + "`process`" + ` (name, or path of the executable), ` + "`container`" + ` (name, id, image, or
  NAMESPACE/POD); names may end with ` + "`*`" + `. Of several values any will do. What an alert does not tell, no
  condition on it holds for: alerts about many domains have no domain.
- An **allowed domain** is no evidence: detectors pass over its messages. Cache poisoning and zone
  transfers know no such domains; suppress there.
- What was held back is counted: the summary, ` + "`--stats`" + ` and metrics say how many alerts each suppression held
  back (` + "`dnshark_alert_rules_total{did=\"suppressed\"}`" + `) and how many messages each list allowed.
- Thresholds that are not listed belong together and are not to be set.
- What detectors know of names is kept from run to run where ` + "`--state`" + ` or ` + "`--store`" + ` names a directory.

## How figures are counted

Numbers in ` + "`alert.evidence`" + `, the alert's value and its times follow from the packets by the definitions in the
tables below. A test (` + "`internal/detect/recompute`" + `) works each of them out again, with other
decoders, from labelled captures and some of its own; they are the same within 1 %. What is said
there of an alert holds for packets until its ` + "`end`" + `, the last message that counts. ` + "`start`" + ` is the first one,
if nothing else is said.

- **Messages** are those on DNS ports (` + "`--ports`" + `), in order of time. One of several packets has the time
  of the last. A query that finds no answer counts at the moment when its time is out (` + "`--timeout`" + `).
- A response is **answered** if it is the first one that has addresses, ports, protocol, id and question
  of a query that waits, or all of it but no question; **duplicate** if it is one more of these, **late** if the query's time was
  out; else **mismatched** if a query waits that differs in the question alone, **unsolicited** if none does.
- A **repeat** is a response with client, server, first question, code, state (as above) and data of the first
  16 records as one before; 65536 are remembered, and one may be forgotten earlier when two share a place.
- **New** is what did not come in the hour before. What came one to two hours before may be new or not, and
  of more than 1.6 million in an hour up to 3 % are missed.
- A **domain** is a registered one by the public suffix list, **labels** are what stands before it in
  a name. Octets of labels are those of the wire: with one for each dot between them. Octets of data are the record's RDLENGTH.
- **Networks** are a /24 of IPv4 or a /48 of IPv6, written as their first address. **Private networks** are private, loopback, link-local, shared
  (100.64.0.0/10) and unspecified addresses.
- **Addresses and digests** in names: labels that begin with the four numbers of an IPv4 address, or with sixteen labels of a
  hex digit; a first label of 32 or 40 hex digits with at most 32 octets behind it.
- A figure that ends with ` + "`_at_least`" + ` counts up to the bound that is said and no further.
- **Scores** are of a model that is part of dnshark (` + "`internal/namescore`" + `): no packet holds them. Which names they are
  of is said; they are the same for the same names.
- Keys without a number are samples, at most eight.
- ` + "`value`, `threshold`, `window_s` and `start`" + ` stand beside the evidence. Where nothing else is said, threshold is one of
  those that are listed or the rule's own, as are window and ` + "`confidence`" + `, and no value is below its threshold.
`
