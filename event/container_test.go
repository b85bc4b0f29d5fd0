package event

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestContainerJSON(t *testing.T) {
	for _, test := range []struct {
		c    Container
		want string
	}{
		{Container{ID: "a"}, `{"id":"a"}`},
		{Container{ID: "a", Runtime: "docker", Name: "n", Image: "i:1", Labels: []Label{}},
			`{"id":"a","runtime":"docker","name":"n","image":"i:1","labels":{}}`},
		{Container{ID: "a\"\n", Labels: []Label{{"k\\", "v\""}, {"l", ""}}, Pod: &Pod{UID: "u"}},
			`{"id":"a\"\\010","labels":{"k\\\\":"v\"","l":""},"pod":{"uid":"u"}}`},
		{Container{ID: "a", Pod: &Pod{UID: "u", Name: "p", Namespace: "s", Labels: []Label{{"app", "web"}}}},
			`{"id":"a","pod":{"uid":"u","name":"p","namespace":"s","labels":{"app":"web"}}}`},
	} {
		if got := string(appendContainer(nil, &test.c)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// Whatever a runtime says, a container takes little of an event's room.
func TestContainerBounds(t *testing.T) {
	const limit = 5 << 10
	for _, octet := range []string{"a", "\xff", `"`, `\`} {
		long := strings.Repeat(octet, 5000)
		for _, n := range []int{1, 20, 300} {
			var labels []Label
			for i := range n {
				labels = append(labels, Label{fmt.Sprint(i, long[:n]), long[:n]})
			}
			c := Container{ID: long, Runtime: long, Name: long, Image: long, Labels: labels,
				Pod: &Pod{UID: long, Name: long, Namespace: long, Labels: labels}}
			text := appendContainer(nil, &c)
			var got struct {
				Labels  map[string]string
				Omitted int `json:"labels_omitted"`
			}
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if len(text) > limit {
				t.Errorf("%d octets, want at most %d", len(text), limit)
			}
			if len(got.Labels)+got.Omitted != n || n == 20 && octet == "a" && got.Omitted > 0 {
				t.Errorf("%d labels and %d omitted of %d", len(got.Labels), got.Omitted, n)
			}
		}
	}
}
