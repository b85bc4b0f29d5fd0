package web

import (
	"encoding/json"
	"net/http"
	"strings"
)

// endpoint is one of the API's: what /api/v1/openapi.json says of it, and what it
// does.
type endpoint struct {
	path    string // below /api/v1/
	doc     string
	params  []param
	answer  string // schema of the answer
	handler func(http.ResponseWriter, *http.Request, *parameters) error
	free    bool // counts not as a question to a store
}

// param is a parameter of a query, or of the path where that names it.
type param struct {
	name   string
	schema schema
	doc    string
}

type schema map[string]any

// Parameters that several endpoints have.
var (
	paramSince = param{"since", schema{"type": "string"}, "not before: ago, as -1h or -7d, or a time as 2026-01-31T12:00:00Z"}
	paramUntil = param{"until", schema{"type": "string"}, "not after"}
)

func limited(most int) param {
	return param{"limit", schema{"type": "integer", "minimum": 1, "maximum": most, "default": min(defaultList, most)}, "at most so many"}
}

func text(name, doc string) param { return param{name, schema{"type": "string"}, doc} }

func oneOf(name, doc string, values ...string) param {
	return param{name, schema{"type": "string", "enum": values}, doc}
}

// Shapes of answers. Objects have no other keys than these, and have all of them but
// those whose names end with a question mark.
func object(members schema) schema {
	properties, required := schema{}, []string{}
	for name, member := range members {
		short := strings.TrimSuffix(name, "?")
		if properties[short] = member; short == name {
			required = append(required, name)
		}
	}
	return schema{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

func list(of schema) schema { return schema{"type": "array", "items": of} }

func ref(name string) schema { return schema{"$ref": "#/components/schemas/" + name} }

var (
	typeText   = schema{"type": "string"}
	typeBool   = schema{"type": "boolean"}
	typeCount  = schema{"type": "integer", "minimum": 0}
	typeTime   = schema{"type": "string", "format": "date-time"}
	typeMillis = schema{"type": []string{"number", "null"}, "minimum": 0}
)

var schemas = map[string]schema{
	"Event": {
		"type": "object", "description": "An event, as a line of dnshark -o json; dnshark fields lists its keys. Names are in presentation format.",
		"properties": schema{"time": typeTime, "event": typeText, "host": typeText}, "required": []string{"time", "event", "host"},
	},
	"Events":  object(schema{"events": list(ref("Event")), "more": typeBool}),
	"Ranked":  object(schema{"rows": list(object(schema{"value": typeText, "count": typeCount}))}),
	"New":     object(schema{"rows": list(object(schema{"value": typeText, "count": typeCount, "first": typeTime}))}),
	"History": object(schema{"tuples": list(ref("Tuple")), "more": typeBool}),
	"Tuple": object(schema{
		"rrname": typeText, "rrtype": typeText, "rdata": typeText, "bailiwick": typeText, "sensor": typeText,
		"time_first": typeTime, "time_last": typeTime, "count": typeCount,
	}),
	"Asked": object(schema{"rows": list(object(schema{
		"process": typeText, "container": typeText, "client": typeText, "count": typeCount, "first": typeTime, "last": typeTime,
	}))}),
	"Series": object(schema{"step": typeCount, "points": list(object(schema{
		"time": typeTime, "events": typeCount, "nxdomain": typeCount, "servfail": typeCount,
		"latency_p50": typeMillis, "latency_p95": typeMillis, "latency_p99": typeMillis,
	}))}),
	"Status": object(schema{
		"version": typeText, "host": typeText, "started": typeTime, "capturing": typeBool, "source": typeText, "events": typeCount, "lost": typeCount,
		"store": object(schema{"tuples": typeCount, "names": typeCount, "octets": typeCount}), "subscribers": typeCount,
	}),
	"Problem": object(schema{"type": typeText, "title": typeText, "status": typeCount, "detail": typeText, "column?": typeCount}),
	"OpenAPI": {"type": "object", "required": []string{"openapi", "info", "paths"}},
}

// openapi is what describes all others.
func (s *Server) openapi(w http.ResponseWriter, _ *http.Request, _ *parameters) error {
	paths := schema{}
	for _, e := range s.endpoints() {
		params := []schema{}
		for _, p := range e.params {
			in := "query"
			if strings.Contains(e.path, "{"+p.name+"}") {
				in = "path"
			}
			params = append(params, schema{"name": p.name, "in": in, "required": in == "path" || p.schema["required"] == true, "description": p.doc, "schema": without(p.schema, "required")})
		}
		content := schema{"application/json": schema{"schema": ref(e.answer)}}
		if e.answer == "" {
			content = schema{"text/event-stream": schema{"schema": typeText}}
		}
		paths["/api/v1/"+e.path] = schema{"get": schema{
			"summary": e.doc, "parameters": params,
			"responses": schema{
				"200":     schema{"description": "the answer", "content": content},
				"default": schema{"description": "why there is none", "content": schema{"application/problem+json": schema{"schema": ref("Problem")}}},
			},
		}}
	}
	out, err := json.Marshal(schema{
		"openapi":  "3.1.0",
		"info":     schema{"title": "dnshark", "version": "1", "description": "What dnshark sees and has seen. Text from the wire is printable ASCII, with escapes as in master files."},
		"security": []schema{{"token": []string{}}, {}},
		"paths":    paths,
		"components": schema{
			"schemas": schemas, "securitySchemes": schema{"token": schema{"type": "http", "scheme": "bearer"}},
		},
	})
	if err != nil {
		return err
	}
	return answer(w, out)
}

func without(s schema, key string) schema {
	out := schema{}
	for k, v := range s {
		if k != key {
			out[k] = v
		}
	}
	return out
}
